"""Which files are fetched in pieces, and by which hosts together."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bastide.plan.pieces import SHARED_FROM, PieceTable, fan_out
from bastide.schema.chunks import CHUNK
from bastide.schema.plan import HostPlan, Pull

LARGE = 40 * CHUNK + 1


def pull(name: str, size: int) -> Pull:
    return Pull(name=name, filename=name, sha256=name * 64, size=size, destination=f"/{name}")


def plan(host: str, *pulls: Pull) -> HostPlan:
    return HostPlan(
        host=host,
        address="10.0.0.1",
        groups=(),
        generation_before=None,
        generation_after=1,
        generation_digest="0" * 64,
        tree_sha256="0" * 64,
        pulls=pulls,
    )


CHUNKS = {"a" * 64: tuple("1" * 64 for _ in range(41))}


def test_what_two_hosts_lack_is_shared_and_numbered_through() -> None:
    large, middle = pull("a", LARGE), pull("b", SHARED_FROM)
    small = pull("c", SHARED_FROM - 1)
    found = fan_out([plan("x", large, middle, small), plan("y", middle, large)], CHUNKS, share=True)
    assert found.hosts == {"x", "y"}
    assert set(found.tables) == {"a" * 64, "b" * 64}
    assert found.tables["b" * 64] == PieceTable(41, SHARED_FROM, ("b" * 64,))
    assert found.sizes == (*[CHUNK] * 40, 1, SHARED_FROM)


def test_a_host_that_shares_nothing_takes_no_part() -> None:
    a, d, e = pull("a", LARGE), pull("d", CHUNK), pull("e", CHUNK)
    found = fan_out([plan("x", a, d), plan("y", a), plan("z", e)], CHUNKS, share=True)
    assert found.hosts == {"x", "y"}
    assert set(found.tables) == {"a" * 64}


def test_alone_or_switched_off_nobody_shares_but_pieces_are_known() -> None:
    a = pull("a", LARGE)
    for plans, share in (([plan("x", a)], True), ([plan("x", a), plan("y", a)], False)):
        found = fan_out(plans, CHUNKS, share=share)
        assert found.hosts == frozenset()
        assert set(found.tables) == {"a" * 64}


def test_a_bundle_without_chunks_shares_what_is_one_chunk_at_most() -> None:
    a, d = pull("a", LARGE), pull("d", CHUNK)
    found = fan_out([plan("x", a, d), plan("y", a, d)], {}, share=True)
    assert set(found.tables) == {"d" * 64}


@pytest.mark.parametrize(
    ("chunks", "piece"),
    [(1, 1), (128, 1), (129, 2), (256, 2), (257, 3), (10_000, 4)],
)
def test_pieces_of_large_files_are_larger(chunks: int, piece: int) -> None:
    assert PieceTable(0, chunks * CHUNK, ("0" * 64,) * chunks).piece == piece * CHUNK


@given(st.integers(1, 700 * CHUNK))
def test_pieces_cover_a_file_exactly(size: int) -> None:
    table = PieceTable(7, size, ("0" * 64,) * -(-size // CHUNK))
    assert sum(table.sizes) == size
    assert all(0 < each <= 4 * CHUNK for each in table.sizes)
    told = table.told()
    assert told["first"] == 7
    assert len(table.sizes) == -(-size // told["size"])
