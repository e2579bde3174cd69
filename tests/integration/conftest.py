"""The programs that a monitored host runs, out of Debian's own packages."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from bastide import layout

PACKAGES = ("prometheus", "prometheus-alertmanager", "prometheus-node-exporter")


def _fetch(folder: Path) -> None:
    """Unpack the packages into ``folder``; nothing is installed."""
    partial = folder.with_name(f"{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    for package in PACKAGES:
        subprocess.run(
            ["apt-get", "-qq", "download", package], cwd=partial, check=True, capture_output=True
        )
    for deb in partial.glob("*.deb"):
        subprocess.run(["dpkg-deb", "-x", str(deb), str(partial)], check=True)
        deb.unlink()
    partial.rename(folder)


@pytest.fixture(scope="session")
def programs() -> Path:
    """Return the folder with promtool, prometheus, amtool and so on; skip where there is none."""
    installed = shutil.which("promtool")
    if installed and shutil.which("prometheus-node-exporter"):
        return Path(installed).parent
    folder = layout.cache_directory() / "test-programs" / "monitoring"
    if not folder.is_dir():
        try:
            _fetch(folder)
        except (OSError, subprocess.CalledProcessError) as error:
            pytest.skip(f"no promtool here, and Debian's packages cannot be fetched: {error}")
    return folder / "usr/bin"
