"""Byte code is made once for a file that several generations have."""

from __future__ import annotations

import marshal
import os
import subprocess
import sys
from pathlib import Path

import pytest
from bastide_host.bytecode import compile_python
from bastide_host.host import Paths

PACKAGE = "venv/lib/python3.11/site-packages/pumps"


def build(paths: Paths, number: int, files: dict[str, str | Path]) -> Path:
    """Make a generation's files: of text, or linked to one of an earlier generation."""
    target = paths.generations / str(number)
    for name, content in files.items():
        path = target / PACKAGE / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, Path):
            os.link(content, path)
        else:
            path.write_text(content)
    (target / "venv/bin").mkdir(parents=True)
    (target / "venv/bin/python").symlink_to(sys.executable)
    (target / "lib").mkdir()
    return target


def byte_code(target: Path, module: str) -> Path:
    (found,) = (target / PACKAGE / "__pycache__").glob(f"{module}.*.pyc")
    return found


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    paths = Paths(tmp_path)
    first = build(paths, 1, {"same.py": "A = 1\n", "other.py": "B = 1\n", "bad.py": "def ("})
    compile_python(paths, first)
    paths.current.symlink_to("generations/1")
    return paths


def test_unchanged_files_share_their_byte_code_and_others_get_their_own(paths: Paths) -> None:
    first = paths.generations / "1"
    second = build(paths, 2, {"same.py": first / PACKAGE / "same.py", "other.py": "B = 22\n"})
    compile_python(paths, second)
    assert byte_code(second, "same").samefile(byte_code(first, "same"))
    assert not byte_code(second, "other").samefile(byte_code(first, "other"))
    say = "import sys; sys.path.insert(0, sys.argv[1]); import pumps.other as o; print(o.B)"
    said = subprocess.run(
        [sys.executable, "-Bc", say, second / PACKAGE / ".."], check=True, capture_output=True
    )
    assert said.stdout == b"22\n"


def test_an_equal_copy_is_compiled_again_because_its_time_differs(paths: Paths) -> None:
    first = paths.generations / "1"
    second = build(paths, 2, {"same.py": "A = 1\n"})
    compile_python(paths, second)
    assert not byte_code(second, "same").samefile(byte_code(first, "same"))


def test_a_file_that_is_no_good_python_is_left_alone(paths: Paths) -> None:
    assert [*(paths.generations / "1" / PACKAGE / "__pycache__").glob("bad.*")] == []


def test_paths_in_byte_code_lead_through_current(paths: Paths) -> None:
    code = marshal.loads(byte_code(paths.generations / "1", "same").read_bytes()[16:])  # noqa: S302
    assert code.co_filename == str(paths.current / PACKAGE / "same.py")


def test_a_generation_that_is_live_is_not_linked_to_itself(paths: Paths) -> None:
    first = paths.generations / "1"
    before = byte_code(first, "same").stat().st_ino
    compile_python(paths, first)
    assert byte_code(first, "same").stat().st_ino == before
