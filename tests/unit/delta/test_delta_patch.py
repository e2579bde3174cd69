"""Patches: what is encoded comes back, and whatever is done to a patch does no harm."""

from __future__ import annotations

import contextlib
import hashlib
import tracemalloc
from pathlib import Path
from random import Random

import pytest
from backports import zstd
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bastide.bundle.delta_encode import encode_patch
from bastide.bundle.delta_match import FileBytes, chunk_size, find_matches
from bastide.store.patch import (
    HEAD,
    MAGIC,
    OPERATIONS,
    SEGMENT,
    Method,
    Operation,
    PatchError,
    encode_table,
    parse_head,
    parse_table,
)
from bastide.store.patched import PatchedSource

QUICK = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def noise(seed: int, size: int) -> bytes:
    return Random(seed).randbytes(size)  # noqa: S311 - reproducible, not secret


def rebuild(base: Path, patch: Path, size: int, step: int = 65536) -> bytes:
    made = bytearray()
    view = memoryview(bytearray(step))
    with PatchedSource(base, patch, size).open() as reader:
        while count := reader.read_into(len(made), view):
            made += view[:count]
            assert len(made) <= size
    return bytes(made)


def make(folder: Path, old: bytes, new: bytes, limit: int = 2**40) -> Path | None:
    (folder / "base").write_bytes(old)
    (folder / "new").write_bytes(new)
    with (folder / "patch").open("wb+") as out:
        encoded = encode_patch(folder / "base", folder / "new", out, limit=limit)
    if encoded is None:
        return None
    assert encoded.size == (folder / "patch").stat().st_size
    assert encoded.sha256 == hashlib.sha256(new).hexdigest()
    assert encoded.base_sha256 == hashlib.sha256(old).hexdigest()
    return folder / "patch"


def edited(old: bytes, edits: list[tuple[float, int, int]]) -> bytes:
    new = bytearray(old)
    for where, drop, add in edits:
        place = int(where * len(new))
        new[place : place + drop] = noise(add, add)
    return bytes(new)


EDITS = st.lists(
    st.tuples(st.floats(0, 1), st.integers(0, 5000), st.integers(0, 5000)), min_size=0, max_size=8
)


@QUICK
@given(seed=st.integers(0, 9), size=st.integers(1, 200_000), edits=EDITS, step=st.integers(1, 9999))
def test_what_is_encoded_comes_back(
    tmp_path: Path, seed: int, size: int, edits: list[tuple[float, int, int]], step: int
) -> None:
    old = noise(seed, size)
    new = edited(old, edits) or b"x"
    patch = make(tmp_path, old, new)
    assert patch is not None
    assert rebuild(tmp_path / "base", patch, len(new), step) == new
    assert patch.stat().st_size <= len(new) + 64 * (len(edits) + 1)


@QUICK
@given(edits=EDITS)
def test_runs_are_equal_ranges_in_order(
    tmp_path: Path, edits: list[tuple[float, int, int]]
) -> None:
    old = noise(3, 100_000)
    new = edited(old, edits)
    (tmp_path / "base").write_bytes(old)
    (tmp_path / "new").write_bytes(new)
    with FileBytes(tmp_path / "base") as base, FileBytes(tmp_path / "new") as file:
        runs = find_matches(base, file).runs
    end = 0
    for run in runs:
        assert run.start >= end
        assert old[run.base : run.base_end] == new[run.start : run.end]
        end = run.end


def test_an_insertion_costs_itself_and_a_few_bytes(tmp_path: Path) -> None:
    old = noise(1, 2_000_000)
    new = old[:777_777] + b"a few new words" + old[777_777:]
    patch = make(tmp_path, old, new)
    assert patch is not None
    assert patch.stat().st_size < 100


def test_small_changes_everywhere_pay_by_their_difference(tmp_path: Path) -> None:
    """Every second byte changes a little, as in merged 16-bit weights: no range is equal."""
    old = noise(1, 1_000_000)
    new = bytes(b ^ (n % 4 == 0) if n % 2 else b for n, b in enumerate(old))
    new = bytes(b ^ (i & 1 & (b >> 3)) for i, b in enumerate(new))
    patch = make(tmp_path, old, new)
    assert patch is not None
    assert patch.stat().st_size < 0.3 * len(new)


def test_what_does_not_pay_is_no_patch(tmp_path: Path) -> None:
    assert make(tmp_path, noise(1, 300_000), noise(2, 300_000), limit=270_000) is None


def test_a_large_file_that_does_not_pay_is_given_up_after_a_few_probes(tmp_path: Path) -> None:
    size = 20 * SEGMENT
    assert make(tmp_path, noise(1, SEGMENT), noise(2, size), limit=int(0.9 * size)) is None
    assert (tmp_path / "patch").stat().st_size == 0, "nothing was encoded"


def test_any_byte_can_be_asked_for_first(tmp_path: Path) -> None:
    old = noise(1, 500_000)
    new = edited(old, [(0.1, 10, 400), (0.5, 3000, 2), (0.9, 0, 4000)])
    patch = make(tmp_path, old, new)
    assert patch is not None
    with PatchedSource(tmp_path / "base", patch, len(new)).open() as reader:
        for offset in range(7, len(new), 2503):
            view = memoryview(bytearray(100))
            count = reader.read_into(offset, view)
            assert count > 0
            assert view[:count] == new[offset : offset + count]
        assert reader.read_into(len(new), memoryview(bytearray(1))) == 0


@settings(
    max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    flips=st.lists(
        st.tuples(st.floats(0, 1), st.integers(1, 255), st.booleans()), min_size=1, max_size=5
    ),
    cut=st.floats(0, 1),
    whole=st.booleans(),
)
def test_a_mutated_patch_never_yields_other_bytes_as_if_right(
    tmp_path: Path, flips: list[tuple[float, int, bool]], cut: float, *, whole: bool
) -> None:
    """Refused, or bytes of the right length whose digest then tells: nothing else may happen."""
    if not (tmp_path / "good").exists():
        old = noise(1, 60_000)
        new = edited(old, [(0.1, 10, 400), (0.5, 300, 2), (0.7, 200, 200), (0.9, 0, 900)])
        made = make(tmp_path, old, new)
        assert made is not None
        made.rename(tmp_path / "good")
    content = bytearray((tmp_path / "good").read_bytes())
    # Most bytes of a patch are data; the table and the head are where harm could be done.
    table = int.from_bytes(content[HEAD.size - 4 : HEAD.size], "little")
    for where, change, head in flips:
        places = range(HEAD.size) if head else range(len(content) - table, len(content))
        content[places[min(int(where * len(places)), len(places) - 1)]] ^= change
    if not whole:
        content = content[: int(cut * len(content))]
    (tmp_path / "bad").write_bytes(content)
    size = (tmp_path / "new").stat().st_size
    with contextlib.suppress(OSError):  # which the import shows as a damaged medium
        assert len(rebuild(tmp_path / "base", tmp_path / "bad", size)) == size


@QUICK
@given(content=st.binary(max_size=300))
def test_any_table_is_refused_or_adds_up(content: bytes) -> None:
    try:
        patch = parse_table(content, base_size=1000, size=500, patch_size=HEAD.size + len(content))
    except PatchError:
        return
    assert sum(each.length for each in patch.operations) == 500
    for each in patch.operations:
        assert 0 <= each.base <= each.base + each.base_length <= 1000


@QUICK
@given(content=st.binary(max_size=60))
def test_any_head_is_refused_or_agrees(content: bytes) -> None:
    with pytest.raises(PatchError):
        parse_head(content, base_size=10, size=10, patch_size=len(content))


def write_patch(path: Path, operations: list[Operation], stored: bytes, base: int) -> Path:
    table = encode_table(operations)
    size = sum(each.length for each in operations)
    path.write_bytes(HEAD.pack(MAGIC, base, size, len(table)) + stored + table)
    return path


def test_a_bomb_is_stopped_at_the_size_it_claims(tmp_path: Path) -> None:
    """A frame that expands to 1 GiB, declared as 100 bytes: not even its first megabyte is made."""
    compressor = zstd.ZstdCompressor()
    parts = [compressor.compress(bytes(2**20)) for _ in range(1024)]
    bomb = b"".join([*parts, compressor.flush()])
    assert len(bomb) < SEGMENT
    (tmp_path / "base").write_bytes(b"base")
    length = max(len(bomb), 100)
    operation = Operation(Method.ZSTD, length, len(bomb))
    patch = write_patch(tmp_path / "patch", [operation], bomb, 4)
    tracemalloc.start()
    with pytest.raises(OSError, match="damaged"):
        rebuild(tmp_path / "base", patch, length)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 2 * 2**20


def test_a_frame_that_wants_a_huge_window_is_refused(tmp_path: Path) -> None:
    content = noise(1, 1000)
    options = {int(zstd.CompressionParameter.window_log): 30}
    compressor = zstd.ZstdCompressor(options=options)
    frame = compressor.compress(content) + compressor.flush()
    (tmp_path / "base").write_bytes(b"base")
    patch = write_patch(tmp_path / "patch", [Operation(Method.ZSTD, 2000, len(frame))], frame, 4)
    with pytest.raises(OSError, match="damaged"):
        rebuild(tmp_path / "base", patch, 2000)


@pytest.mark.parametrize(
    ("operation", "words"),
    [
        (Operation(Method.COPY, 100, 0, 0, 100), "wants bytes 0 to 100 of a base of 50"),
        (Operation(Method.COPY, 10, 0, 45, 10), "wants bytes 45 to 55"),
        (Operation(Method.XOR, SEGMENT + 1, 1, 0, SEGMENT + 1), "at most"),
        (Operation(Method.RAW, 0, 0), "makes nothing"),
        (Operation(Method.ZSTD, 5, 6), "stores more than it makes"),
    ],
)
def test_operations_out_of_bounds_are_refused(operation: Operation, words: str) -> None:
    table = encode_table([operation])
    with pytest.raises(PatchError, match=words):
        parse_table(
            table,
            base_size=50,
            size=operation.length,
            patch_size=HEAD.size + operation.stored + len(table),
        )


def test_a_jump_before_the_base_is_refused() -> None:
    table = encode_table([Operation(Method.COPY, 5, 0, 10, 5)]) + bytes([0, 5, 0x7F])
    with pytest.raises(PatchError, match="wants bytes -"):
        parse_table(table, base_size=50, size=10, patch_size=HEAD.size + len(table))


def test_a_patch_that_reads_the_base_for_ever_is_refused() -> None:
    """A hundred bytes, each with four megabytes of the base before it."""
    operations = [Operation(Method.PREFIX, 1, 1, 0, SEGMENT) for _ in range(100)]
    table = encode_table(operations)
    with pytest.raises(PatchError, match="far too often"):
        parse_table(table, base_size=SEGMENT, size=100, patch_size=HEAD.size + 100 + len(table))


def test_too_many_operations_are_refused() -> None:
    table = encode_table(Operation(Method.COPY, 1, 0, 0, 1) for _ in range(OPERATIONS + 1))
    with pytest.raises(PatchError, match="more than"):
        parse_table(table, base_size=9, size=OPERATIONS + 1, patch_size=HEAD.size + len(table))


def test_a_patch_for_another_base_is_refused_by_its_size(tmp_path: Path) -> None:
    patch = make(tmp_path, noise(1, 5000), noise(1, 5000) + b"more")
    assert patch is not None
    (tmp_path / "base").write_bytes(noise(1, 4999))
    with pytest.raises(OSError, match="is for a base of 5000 bytes, this one has 4999"):
        rebuild(tmp_path / "base", patch, 5004)


def test_chunks_are_powers_of_two_within_bounds() -> None:
    sizes = [chunk_size(size) for size in (0, 1, 10**6, 10**8, 2 * 10**10, 10**13)]
    assert sizes == sorted(sizes)
    assert all(size & (size - 1) == 0 and 512 <= size <= 2**18 for size in sizes)
