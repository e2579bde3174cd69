"""Patches of large files are made and used in bounded memory."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.integration
SIZE = 300 * 2**20  # bytes: more than the bound, so that holding a whole file would show
BOUND = 200 * 10**6

ENCODE = """
import resource, sys
from pathlib import Path
from bastide.bundle.delta_encode import encode_patch
with open(sys.argv[3], "wb+") as out:
    assert encode_patch(Path(sys.argv[1]), Path(sys.argv[2]), out, limit=10**6)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)
"""
DECODE = """
import hashlib, resource, sys
from pathlib import Path
from bastide.store.patched import PatchedSource
digest, offset, view = hashlib.sha256(), 0, memoryview(bytearray(2**20))
with PatchedSource(Path(sys.argv[1]), Path(sys.argv[3]), int(sys.argv[2])).open() as reader:
    while count := reader.read_into(offset, view):
        digest.update(view[:count])
        offset += count
print(digest.hexdigest())
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)
"""
# A process begins with the largest resident size of its parent, so a small one starts ours.
START = "import subprocess, sys; sys.exit(subprocess.call(sys.argv[1:]))"


def run(code: str, *args: object) -> list[str]:
    words = [sys.executable, "-c", code, *(str(each) for each in args)]
    done = subprocess.run(
        [sys.executable, "-S", "-c", START, *words], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def test_memory_does_not_grow_with_the_file(tmp_path: Path) -> None:
    old, new, patch = (tmp_path / name for name in ("old", "new", "patch"))
    digest = hashlib.sha256()
    with old.open("wb") as base, new.open("wb") as changed:
        changed.write(b"moved")
        digest.update(b"moved")
        for _ in range(SIZE // 2**22):
            block = os.urandom(2**22)
            base.write(block)
            changed.write(block[:-1])
            digest.update(block[:-1])
    (peak,) = run(ENCODE, old, new, patch)
    assert int(peak) < BOUND
    assert patch.stat().st_size < 10_000
    made, peak = run(DECODE, old, new.stat().st_size, patch)
    assert made == digest.hexdigest()
    assert int(peak) < BOUND
