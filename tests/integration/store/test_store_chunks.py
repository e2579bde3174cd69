"""A damaged file is named with the bytes that are wrong; chunks.json must fit the manifest."""

from __future__ import annotations

import hashlib
import itertools
import json
import random
from pathlib import Path
from typing import Any

import pytest
from damaging import flip
from hypothesis import given
from hypothesis import strategies as st

from bastide.errors import BundleError
from bastide.progress import SilentProgress
from bastide.schema.artifact import ArtifactKind
from bastide.schema.chunks import CHUNK, Chunks
from bastide.store import damage
from bastide.store.importer import check_bundle
from bastide.store.local import Store
from bastide.trust.verifier import DigestOnly

pytestmark = pytest.mark.integration


def large(make_bundle: Any) -> Any:
    contents = make_bundle.generated()
    content = random.Random(3).randbytes(4 * CHUNK + 77)  # noqa: S311
    return make_bundle({**contents, "big.bin": (ArtifactKind.BINARY, content)})


@pytest.mark.parametrize(
    ("offsets", "words"),
    [
        ([0], f"wrong are the bytes 0 to {CHUNK - 1}"),
        ([CHUNK - 1, CHUNK], f"wrong are the bytes 0 to {2 * CHUNK - 1}"),
        (
            [5, 4 * CHUNK + 76],
            f"wrong are the bytes 0 to {CHUNK - 1}, {4 * CHUNK} to {4 * CHUNK + 76}",
        ),
    ],
)
def test_import_and_verify_name_the_bad_bytes(
    make_bundle: Any, run_import: Any, offsets: list[int], words: str
) -> None:
    built = large(make_bundle)
    flip(built.blob("big.bin"), *offsets)
    with pytest.raises(BundleError) as caught:
        run_import(built.folder)
    (problem,) = caught.value.problems
    assert problem.what.count(words) == 1
    with pytest.raises(BundleError) as checked:
        check_bundle(built.folder, verifier=DigestOnly(), progress=SilentProgress())
    assert checked.value.problems == caught.value.problems


def test_the_store_tells_the_chunks_of_large_files_and_checks_its_copy(
    make_bundle: Any, run_import: Any, store: Store
) -> None:
    built = large(make_bundle)
    run_import(built.folder)
    bundle = store.latest()
    content = built.blob("big.bin").read_bytes()
    starts = range(0, len(content), CHUNK)
    wanted = tuple(hashlib.sha256(content[at : at + CHUNK]).hexdigest() for at in starts)
    assert store.read_chunks(bundle)[hashlib.sha256(content).hexdigest()] == wanted
    flip(bundle.folder / "chunks.json", 20)
    with pytest.raises(BundleError, match=r"copy of chunks\.json is damaged"):
        store.read_chunks(bundle)


def test_whole_bundle_is_not_read_again_for_one_bad_file(
    make_bundle: Any, run_import: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    built = large(make_bundle)
    flip(built.blob("big.bin"), 9)
    read: list[Path] = []
    real = damage.bad_ranges

    def bad_ranges(path: Path, blob: Any) -> Any:
        read.append(path)
        return real(path, blob)

    monkeypatch.setattr("bastide.store.importer.bad_ranges", bad_ranges)
    with pytest.raises(BundleError):
        run_import(built.folder)
    assert read == [built.blob("big.bin")]


def drop_chunk(chunks: Chunks) -> Chunks:
    plain = json.loads(chunks.canonical())
    plain["blobs"][0]["chunks"].pop()
    return Chunks.model_validate(plain)


def drop_blob(chunks: Chunks) -> Chunks:
    return chunks.replace(blobs=chunks.blobs[1:])


def twice(chunks: Chunks) -> Chunks:
    return chunks.replace(blobs=chunks.blobs + chunks.blobs[:1])


@pytest.mark.parametrize("change", [drop_chunk, drop_blob, twice])
def test_chunks_that_do_not_fit_the_manifest(
    make_bundle: Any, run_import: Any, change: Any
) -> None:
    built = make_bundle(change_chunks=change)
    with pytest.raises(BundleError) as caught:
        run_import(built.folder)
    assert caught.value.code == "BAS-3104"
    assert "chunks.json" in caught.value.problems[0].where


@given(
    ranges=st.lists(st.tuples(st.integers(0, 60), st.integers(1, 9)), max_size=12).map(
        lambda found: [(start, start + length) for start, length in found]
    )
)
def test_joined_ranges_cover_the_same_bytes_and_never_touch(ranges: list[tuple[int, int]]) -> None:
    joined = damage.join_ranges(ranges)
    covered = {byte for start, end in ranges for byte in range(start, end)}
    assert {byte for start, end in joined for byte in range(start, end)} == covered
    assert all(one[1] < two[0] for one, two in itertools.pairwise(joined))
