#!/usr/bin/env python3
"""Installs Bastide from this bundle, without a network: python3 bootstrap.py [FOLDER]

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
from pathlib import Path

BUNDLE = Path(__file__).resolve().parent


def stop(message):
    """End with a message."""
    sys.exit(f"bootstrap: {message}")


def checked(path, sha256):
    """Return the file's content if its digest is right."""
    try:
        content = (BUNDLE / path).read_bytes()
    except OSError as error:
        stop(f"{path} cannot be read: {error.strerror}; the bundle is incomplete")
    found = hashlib.sha256(content).hexdigest()
    if sha256 and found != sha256:
        stop(f"{path} is damaged: expected SHA-256 {sha256}, found {found}")
    return content


def control_wheels(expect):
    """Return name, file name and content of the control node's wheels, all checked."""
    root = json.loads(checked("bundle.json", expect))
    pins = {entry["path"]: entry["sha256"] for entry in root["documents"]}
    checked("bootstrap.py", pins["bootstrap.py"])
    manifest = json.loads(checked("manifest.json", pins["manifest.json"]))
    for artifact in manifest["artifacts"]:
        if artifact["kind"] == "wheel" and "control" in artifact["components"]:
            digest = artifact["sha256"]
            content = checked(f"sha256/{digest[:2]}/{digest}", digest)
            yield artifact["name"], os.path.basename(artifact["filename"]), content


def install(folder, expect):
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
        offline = {**os.environ, "UV_OFFLINE": "1", "UV_NO_CONFIG": "1", "UV_CACHE_DIR": scratch}
        offline["UV_LINK_MODE"] = "copy"
        quiet = [str(uv), "--quiet"]
        subprocess.run(
            [*quiet, "venv", "--python", sys.executable, str(folder)], env=offline, check=True
        )
        command = [
            *quiet,
            "pip",
            "install",
            "--python",
            str(folder / "bin/python"),
            "--no-index",
            "--no-deps",
        ]
        subprocess.run([*command, *map(str, sorted(wheels.iterdir()))], env=offline, check=True)


def main():
    """Read the arguments and install."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", nargs="?", default="bastide-venv", type=Path)
    parser.add_argument("--expect", metavar="DIGEST", default="", help="the bundle's digest")
    arguments = parser.parse_args()
    if sys.version_info < (3, 11):
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
    print(f"bundle {digest}\nBastide is in {folder}; run {folder}/bin/bastide --help")


if __name__ == "__main__":
    main()
