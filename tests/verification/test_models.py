"""The model files are those of the bundle's manifest, byte for byte."""

from __future__ import annotations

import json

import pytest

from bastide.verify.suite import Machine, Saw

pytestmark = pytest.mark.area("Models")

# hashlib uses OpenSSL, which is five times as fast as sha256sum on common processors.
INSPECT = """
import hashlib, json, os, sys
found = {}
for path in sys.argv[1:]:
    digest = hashlib.sha256()
    with open(path, "rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    about = os.stat(path)
    found[path] = {"sha256": digest.hexdigest(), "size": about.st_size, "uid": about.st_uid,
                   "mode": about.st_mode & 0o7777}
print(json.dumps(found))
"""


def test_model_files_match_the_manifest(machine: Machine, saw: Saw) -> None:
    """Every model file has the manifest's SHA-256 and size, and only root can change it"""
    models = machine.expected.models
    if not models:
        pytest.skip("this host serves no model")
    paths = [model.path for model in models]
    output = machine.host.check_output("python3 -c %s" + " %s" * len(paths), INSPECT, *paths)
    found = json.loads(output)
    wrong = []
    for model in models:
        file = found[model.path]
        saw(f"{model.name}: {file['size']:,} bytes, SHA-256 {file['sha256'][:16]}…")
        if (file["sha256"], file["size"]) != (model.sha256, model.size):
            wrong.append(
                f"{model.name}: expected {model.sha256} with {model.size} bytes, "
                f"found {file['sha256']} with {file['size']} bytes"
            )
        if file["uid"] != 0 or file["mode"] & 0o022:
            wrong.append(f"{model.path}: uid {file['uid']}, mode {file['mode']:04o}")
    assert not wrong, "; ".join(wrong)


def test_generation_uses_these_files(machine: Machine) -> None:
    """The current generation's links lead to these very files"""
    if not machine.expected.models:
        pytest.skip("this host serves no model")
    for model in machine.expected.models:
        target = machine.host.check_output("readlink -f %s", model.link)
        assert target == model.path, f"{model.link}: expected {model.path}, found {target}"
