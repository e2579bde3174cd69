from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from bastide.errors import BastideError, LockedError
from bastide.host.lock import exclusive_lock, read_holder

HOLD = """
import os, sys
from pathlib import Path
from bastide.host.lock import exclusive_lock
with exclusive_lock(Path(sys.argv[1]), "a long job"):
    print("held", flush=True)
    sys.stdin.readline()
"""


def test_lock_is_taken_and_given_back(tmp_path: Path) -> None:
    path = tmp_path / "deep" / ".lock"
    with exclusive_lock(path, "work") as lock:
        assert lock.holder.pid == os.getpid()
        assert lock.abandoned_by is None
        assert read_holder(path) == lock.holder
    assert read_holder(path) is None
    with exclusive_lock(path, "again") as lock:
        assert lock.abandoned_by is None


def test_second_block_in_the_same_process_is_refused(tmp_path: Path) -> None:
    path = tmp_path / ".lock"
    with exclusive_lock(path, "first"), pytest.raises(LockedError) as caught:  # noqa: SIM117
        with exclusive_lock(path, "second"):
            pytest.fail("two held one lock")
    assert caught.value.code == "BAS-9001"
    assert f"process {os.getpid()}" in str(caught.value)
    assert "(first)" in str(caught.value)


def test_lock_is_given_back_after_an_error(tmp_path: Path) -> None:
    path = tmp_path / ".lock"
    with pytest.raises(ValueError, match="inside"), exclusive_lock(path, "first"):
        raise ValueError("inside")
    with exclusive_lock(path, "second") as lock:
        assert lock.abandoned_by is None


def test_holder_in_another_process_is_named_and_its_death_frees_the_lock(tmp_path: Path) -> None:
    path = tmp_path / ".lock"
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"held\n"
        with pytest.raises(LockedError, match=rf"process {process.pid} .*\(a long job\)"):  # noqa: SIM117
            with exclusive_lock(path, "mine"):
                pytest.fail("two held one lock")
        process.kill()
        process.wait()
        with exclusive_lock(path, "mine") as lock:
            assert lock.abandoned_by is not None
            assert lock.abandoned_by.pid == process.pid


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"pid": 1}', b"\xff\xfe", b"null"])
def test_unreadable_holder_never_breaks_the_lock(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / ".lock"
    path.write_bytes(content)
    assert read_holder(path) is None
    with exclusive_lock(path, "work") as lock:
        assert lock.abandoned_by is None
        assert json.loads(path.read_bytes())["purpose"] == "work"


def test_folder_that_cannot_be_made_is_an_error_with_a_code(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with (
        pytest.raises(BastideError, match="cannot be opened") as caught,
        exclusive_lock(tmp_path / "file" / ".lock", "work"),
    ):
        pytest.fail("held a lock that does not exist")
    assert caught.value.code == "BAS-1002"
