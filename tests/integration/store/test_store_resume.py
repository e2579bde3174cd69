"""Imports that stop half-way: killed, out of space, a medium or a disk that fails."""

from __future__ import annotations

import errno
import hashlib
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from bastide.errors import BundleError
from bastide.schema.artifact import ArtifactKind
from bastide.store import Store

pytestmark = pytest.mark.integration

MIB = 2**20
COMMAND = "from bastide.cli.main import main; main()"


def big(make_bundle: Any, sizes: tuple[int, ...] = (24 * MIB, 5 * MIB)) -> Any:
    source = random.Random(7)  # noqa: S311
    contents = make_bundle.generated()
    for number, size in enumerate(sizes):
        contents[f"big{number}.bin"] = (ArtifactKind.BINARY, source.randbytes(size))
    return make_bundle(contents)


def start(folder: Path, home: Path) -> subprocess.Popen[bytes]:
    digest = hashlib.sha256((folder / "bundle.json").read_bytes()).hexdigest()
    arguments = ["import", str(folder), "--expect-digest", digest, "--json"]
    return subprocess.Popen(
        [sys.executable, "-c", COMMAND, *arguments],
        env={**os.environ, "BASTIDE_HOME": str(home)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def bytes_below(folder: Path) -> int:
    found = 0
    for path in folder.rglob("*"):
        try:
            found += path.stat().st_size if path.is_file() else 0
        except FileNotFoundError:
            continue  # renamed just now
    return found


@pytest.mark.parametrize("seed", range(5))
def test_killed_at_any_point_then_a_plain_rerun_completes(
    make_bundle: Any, run_import: Any, store: Store, seed: int
) -> None:
    built = big(make_bundle)
    before = built.fingerprint()
    home = store.root.parent
    chance = random.Random(seed)  # noqa: S311
    points = sorted(chance.sample(range(1, built.root.blob_bytes), 2))
    killed = 0
    for point in points:
        with start(built.folder, home) as process:
            while process.poll() is None and bytes_below(store.root) < point:
                time.sleep(0.002)  # poll; the kill depends on bytes, not on time
            if process.poll() is None:
                process.send_signal(signal.SIGKILL)
                killed += 1
            process.wait()
        assert built.fingerprint() == before
        for blob in (store.root / "sha256").rglob("*/*"):
            assert hashlib.sha256(blob.read_bytes()).hexdigest() == blob.name
    assert killed >= 1
    if not store.bundles():
        result = run_import(built.folder)
        total = result.bytes_copied + result.bytes_continued + result.bytes_present
        assert total == built.root.blob_bytes
        assert result.bytes_copied < total
    run_import.assert_holds(built)


@pytest.mark.parametrize("kept", [1, 4 * MIB, 9 * MIB - 1, 9 * MIB])
def test_half_a_blob_is_continued_and_not_read_again(
    make_bundle: Any, run_import: Any, store: Store, kept: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    built = big(make_bundle, (9 * MIB,))
    blob = built.blob("big0.bin")
    leave_partial(store, blob.name, blob.read_bytes()[:kept])
    counted = count_reads(monkeypatch, blob)
    result = run_import(built.folder)
    assert result.bytes_continued == kept
    assert sum(counted) == 9 * MIB - kept
    run_import.assert_holds(built)


def leave_partial(store: Store, digest: str, content: bytes) -> None:
    store.incoming.mkdir(parents=True)
    (store.incoming / digest).write_bytes(content)


def count_reads(monkeypatch: pytest.MonkeyPatch, path: Path) -> list[int]:
    """Record how many bytes each read of ``path`` returned."""
    real, counted = os.preadv, []

    def preadv(descriptor: int, buffers: Any, offset: int) -> int:
        length = real(descriptor, buffers, offset)
        if os.path.samestat(os.fstat(descriptor), path.stat()):
            counted.append(length)
        return length

    monkeypatch.setattr(os, "preadv", preadv)
    return counted


def test_every_byte_of_the_medium_is_read_once(
    make_bundle: Any, run_import: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    built = big(make_bundle)
    counted = count_reads(monkeypatch, built.blob("big0.bin"))
    run_import(built.folder)
    assert sum(counted) == 24 * MIB


@pytest.mark.parametrize("what", ["zeros", "other bytes", "too long"])
def test_partial_with_wrong_bytes_costs_a_full_copy_and_not_a_failure(
    make_bundle: Any, run_import: Any, store: Store, what: str
) -> None:
    built = big(make_bundle, (9 * MIB,))
    blob = built.blob("big0.bin")
    size = 10 * MIB if what == "too long" else 5 * MIB
    leave_partial(store, blob.name, b"\0" * size if what == "zeros" else b"x" * size)
    result = run_import(built.folder)
    assert result.bytes_continued == 0
    assert result.bytes_copied == built.root.blob_bytes
    run_import.assert_holds(built)


def test_partial_that_cannot_be_read_back_costs_a_full_copy(
    make_bundle: Any, run_import: Any, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    built = big(make_bundle, (9 * MIB,))
    blob = built.blob("big0.bin")
    leave_partial(store, blob.name, blob.read_bytes()[: 5 * MIB])
    partial = (store.incoming / blob.name).stat()
    fail_reads(monkeypatch, partial, 0)
    assert run_import(built.folder).bytes_continued == 0
    run_import.assert_holds(built)


def fail_reads(monkeypatch: pytest.MonkeyPatch, victim: os.stat_result, start: int) -> None:
    real = os.preadv

    def preadv(descriptor: int, buffers: Any, offset: int) -> int:
        if os.path.samestat(os.fstat(descriptor), victim) and offset >= start:
            raise OSError(errno.EIO, "Input/output error")
        return real(descriptor, buffers, offset)

    monkeypatch.setattr(os, "preadv", preadv)


def test_unreadable_medium_names_file_and_bytes_and_keeps_what_was_good(
    make_bundle: Any, run_import: Any, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    built = big(make_bundle)
    blob = built.blob("big0.bin")
    with monkeypatch.context() as patch:
        fail_reads(patch, blob.stat(), 8 * MIB)
        with pytest.raises(BundleError) as caught:
            run_import(built.folder)
    (problem,) = caught.value.problems
    assert problem.where == str(blob.relative_to(built.folder))
    assert f"between bytes {8 * MIB} and {9 * MIB}: Input/output error" in problem.what
    assert store.bundles() == ()
    result = run_import(built.folder)
    assert result.bytes_continued == 8 * MIB
    assert result.bytes_present == built.root.blob_bytes - 24 * MIB
    run_import.assert_holds(built)


def test_partials_of_other_bundles_are_dropped(
    make_bundle: Any, run_import: Any, store: Store
) -> None:
    leave_partial(store, "0" * 64, b"x" * 1000)
    run_import(make_bundle().folder)
    assert list(store.incoming.iterdir()) == []


class Room:
    """A file system with ``free`` bytes in blocks of 4096."""

    def __init__(self, free: int) -> None:
        self.f_frsize = 4096
        self.f_bavail = free // 4096


def test_too_little_space_is_refused_before_anything_is_copied(
    make_bundle: Any, run_import: Any, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    built = big(make_bundle)
    files = [each.stat().st_size for each in built.folder.rglob("*") if each.is_file()]
    need = sum(-(-size // 4096) * 4096 for size in files)
    monkeypatch.setattr(os, "statvfs", lambda _: Room(need - 4096))
    with pytest.raises(BundleError) as caught:
        run_import(built.folder)
    assert caught.value.code == "BAS-3105"
    assert f"needs {need} bytes more, {need - 4096} are free, 4096 are missing" in str(caught.value)
    assert not list((store.root / "incoming").iterdir())
    monkeypatch.setattr(os, "statvfs", lambda _: Room(need))
    run_import(built.folder)
    monkeypatch.setattr(os, "statvfs", lambda _: Room(12 * 4096))
    run_import(built.folder)  # what is there needs no space
    run_import.assert_holds(built)


def test_what_is_half_copied_needs_only_the_rest(
    make_bundle: Any, run_import: Any, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    built = big(make_bundle, (9 * MIB,))
    blob = built.blob("big0.bin")
    leave_partial(store, blob.name, blob.read_bytes()[: 8 * MIB])
    os.sync()  # so that the file system has allocated it
    rest = built.root.blob_bytes - 8 * MIB + 100_000
    monkeypatch.setattr(os, "statvfs", lambda _: Room(rest))
    assert run_import(built.folder).bytes_continued == 8 * MIB


def test_disk_that_fills_up_on_the_way(
    make_bundle: Any, run_import: Any, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    built = big(make_bundle)
    fail_writes(monkeypatch, errno.ENOSPC, after=8 * MIB)
    with pytest.raises(BundleError, match="filled up while") as caught:
        run_import(built.folder)
    assert caught.value.code == "BAS-3105"
    assert store.bundles() == ()
    monkeypatch.undo()
    result = run_import(built.folder)
    assert result.bytes_copied < built.root.blob_bytes
    run_import.assert_holds(built)


def test_disk_that_fails_is_not_blamed_on_the_medium(
    make_bundle: Any, run_import: Any, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    built = big(make_bundle)
    fail_writes(monkeypatch, errno.EIO, after=0)
    with pytest.raises(BundleError, match=r"the store .* cannot be written") as caught:
        run_import(built.folder)
    assert caught.value.code == "BAS-3106"
    assert caught.value.problems == ()
    assert store.bundles() == ()


def fail_writes(monkeypatch: pytest.MonkeyPatch, number: int, after: int) -> None:
    real = os.pwrite
    written = [0]

    def pwrite(descriptor: int, content: Any, offset: int) -> int:
        if written[0] + len(content) > after:
            raise OSError(number, os.strerror(number))
        written[0] += len(content)
        return real(descriptor, content, offset)

    monkeypatch.setattr(os, "pwrite", pwrite)


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small file system needs root")
def test_real_full_file_system(make_bundle: Any, tmp_path: Path) -> None:
    built = big(make_bundle)
    home = tmp_path / "small"
    home.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=20m", "tmpfs", str(home)], check=True)
    try:
        with start(built.folder, home) as process:
            output, _ = process.communicate()
        assert process.returncode == 3
        assert b"BAS-3105" in output
        assert Store(home / "store").bundles() == ()
    finally:
        subprocess.run(["umount", str(home)], check=True)
