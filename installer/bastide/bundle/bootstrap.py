#!/usr/bin/env python3
"""Install Bastide from this bundle, without a network.

It checks bundle.json, manifest.json and every file that it installs by SHA-256, then makes a
virtual environment in FOLDER (default: ./bastide-venv). It needs Python 3.11 and nothing else.
--expect DIGEST demands that the bundle is the one that you were told of by another way.
"""

import argparse
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

BUNDLE = Path(__file__).resolve().parent


def stop(message: str) -> NoReturn:
    """End with a message."""
    sys.exit(f"bootstrap: {message}")


def checked(path: str, sha256: str) -> bytes:
    """Return the file's content if its digest is right."""
    try:
        content = (BUNDLE / path).read_bytes()
    except OSError as error:
        stop(f"{path} cannot be read: {error.strerror}; the bundle is incomplete")
    found = hashlib.sha256(content).hexdigest()
    if sha256 and found != sha256:
        stop(f"{path} is damaged: expected SHA-256 {sha256}, found {found}")
    return content


def control_wheels(expect: str) -> Iterator[tuple[str, str, bytes]]:
    """Return name, file name and content of the control node's wheels, all checked."""
    root = json.loads(checked("bundle.json", expect))
    pins = {entry["path"]: entry["sha256"] for entry in root["documents"]}
    checked("bootstrap.py", pins["bootstrap.py"])
    manifest = json.loads(checked("manifest.json", pins["manifest.json"]))
    for artifact in manifest["artifacts"]:
        if artifact["kind"] == "wheel" and "control" in artifact["components"]:
            digest = artifact["sha256"]
            content = checked(f"sha256/{digest[:2]}/{digest}", digest)
            yield artifact["name"], Path(artifact["filename"]).name, content


def install(folder: Path, expect: str) -> None:
    """Make the virtual environment."""
    with tempfile.TemporaryDirectory(dir=folder.parent) as scratch:
        wheels = Path(scratch) / "wheels"
        wheels.mkdir()
        uv = Path(scratch) / "uv"
        for name, filename, content in control_wheels(expect):
            (wheels / filename).write_bytes(content)
            if name == "uv":
                with zipfile.ZipFile(wheels / filename) as wheel:
                    member = next(n for n in wheel.namelist() if n.endswith("/scripts/uv"))
                    uv.write_bytes(wheel.read(member))
                uv.chmod(0o700)
        if not uv.exists():
            stop("the bundle carries no uv for the control node")
        environment = {**os.environ, "UV_OFFLINE": "1", "UV_NO_CONFIG": "1"}
        environment |= {"UV_CACHE_DIR": scratch, "UV_LINK_MODE": "copy"}
        python = str(folder / "bin/python")
        files = [str(path) for path in sorted(wheels.iterdir())]
        for command in (
            ["venv", "--python", sys.executable, str(folder)],
            ["pip", "install", "--python", python, "--no-index", "--no-deps", *files],
        ):
            subprocess.run([str(uv), "--quiet", *command], env=environment, check=True)


def main() -> None:
    """Read the arguments and install."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", nargs="?", default="bastide-venv", type=Path)
    parser.add_argument("--expect", metavar="DIGEST", default="", help="the bundle's digest")
    arguments = parser.parse_args()
    if sys.version_info < (3, 11):  # noqa: UP036 - it runs before anything is installed
        stop(f"needs Python 3.11 or newer, this is {sys.version.split()[0]}")
    folder = arguments.folder.resolve()
    if folder.exists():
        stop(f"{folder} is there already; remove it or name another folder")
    folder.parent.mkdir(parents=True, exist_ok=True)
    try:
        install(folder, arguments.expect)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    digest = hashlib.sha256((BUNDLE / "bundle.json").read_bytes()).hexdigest()
    print(  # noqa: T201 - it is a program of its own
        f"bundle {digest}\nBastide is in {folder}; run {folder}/bin/bastide --help"
    )


if __name__ == "__main__":
    main()
