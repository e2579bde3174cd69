"""Finds a HAProxy, nft or keepalived to test with, or unpacks Debian's, with its libraries.

In this order: ``$BASTIDE_TEST_HAPROXY`` (``…_NFT``, ``…_KEEPALIVED``); what the system has; the
packages in the builder's cache, which a bundle build left there; Debian's, by apt. Nothing is
installed.
"""

from __future__ import annotations

import fcntl
import functools
import json
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from bastide.layout import blob_path, cache_directory

PACKAGES = {
    "haproxy": ("haproxy", "liblua5.3-0", "libopentracing-c-wrapper0", "libopentracing1"),
    "nft": ("nftables", "libnftables1", "libnftnl11", "libmnl0", "libjansson4", "libxtables12",
            "libedit2", "libbsd0", "libmd0"),
    "keepalived": ("keepalived", "libglib2.0-0", "libmnl0", "libnftnl11", "libnl-3-200",
                   "libnl-genl-3-200", "libpci3", "libperl5.36", "libsensors5", "libsnmp40",
                   "libwrap0"),
}  # fmt: skip


def haproxy() -> str | None:
    """Return the path of a HAProxy that runs here; None if none can be had."""
    return debian_program("haproxy")


def nft() -> str | None:
    """Return the path of an nft that runs here, with every library; None if none can be had."""
    return debian_program("nft")


def keepalived() -> str | None:
    """Return the path of a keepalived that runs here; None if none can be had."""
    return debian_program("keepalived")


@functools.cache
def debian_program(name: str) -> str | None:
    """Return the path of a program of ``PACKAGES``; None if none can be had."""
    given = os.environ.get(f"BASTIDE_TEST_{name.upper()}") or shutil.which(
        name, path="/usr/sbin:/usr/bin"
    )
    return given or _unpacked(name)


def _unpacked(name: str) -> str | None:
    place = cache_directory() / "tools" / f"{name}-for-tests"
    if not (shutil.which("dpkg-deb") and shutil.which("apt-get")):
        return None
    place.parent.mkdir(parents=True, exist_ok=True)
    with place.with_suffix(".lock").open("w") as lock:  # several test runs at once
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not _runs(place / name):
            _make(name, place)
    return str(place / name) if _runs(place / name) else None


def _make(name: str, place: Path) -> None:
    """Unpack the cache's packages, and Debian's where the program does not run with those."""
    with tempfile.TemporaryDirectory(dir=place.parent) as scratch:
        for find in (_cached, _downloaded):
            debs = find(name, Path(scratch))
            if debs:
                shutil.rmtree(place, ignore_errors=True)
                _unpack(name, debs, place)
            if _runs(place / name):
                return


def _runs(program: Path) -> bool:
    if not program.exists():
        return False
    return subprocess.run([program, "-v"], capture_output=True, check=False).returncode == 0


def _cached(program: str, _: Path) -> list[Path]:
    """Return the packages' files in the builder's cache; none unless the program is there.

    A bundle lacks libraries that its hosts have anyhow, and so may this machine.
    """
    blobs, wanted = cache_directory(), PACKAGES[program]
    for manifest in sorted(blobs.glob("bundles/*/manifest.json")):
        artifacts = json.loads(manifest.read_text()).get("artifacts", [])
        named = {each["name"]: each.get("sha256", "") for each in artifacts}
        found = [blobs / blob_path(named[name]) for name in wanted if named.get(name)]
        if named.get(wanted[0]) and all(path.is_file() for path in found):
            return found
    return []


def _downloaded(name: str, folder: Path) -> list[Path]:
    done = subprocess.run(
        ["apt-get", "-qq", "-o", "APT::Sandbox::User=root", "download", *PACKAGES[name]],
        cwd=folder,
        capture_output=True,
        check=False,
    )
    return sorted(folder.glob("*.deb")) if done.returncode == 0 else []


def _unpack(name: str, debs: list[Path], place: Path) -> None:
    place.mkdir(parents=True)
    for deb in debs:
        subprocess.run(["dpkg-deb", "-x", deb, place / "root"], check=True)
    libraries = next((place / "root/usr/lib").glob("*-linux-gnu"))
    also = place / "root/lib" / libraries.name
    program = place / name
    program.write_text(
        f'#!/bin/sh\nLD_LIBRARY_PATH={libraries}:{also} exec {place}/root/usr/sbin/{name} "$@"\n'
    )
    program.chmod(0o755)
