from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bastide.schema.artifact import Artifact, ArtifactKind, Component, Manifest
from bastide.store import Store
from bastide.store.opening import distinct_blobs
from bastide.store.results import kind_totals
from bastide.store.space import needed
from bastide.store.tree import scan
from bastide.trust.text import printable


def artifact(filename: str, sha256: str, size: int) -> Artifact:
    return Artifact(
        name=filename,
        kind=ArtifactKind.WHEEL,
        version="1",
        filename=filename,
        size=size,
        sha256=sha256,
        platform="any",
        licence="unknown",
        components=(Component.BASE,),
        source="test",
    )


def manifest(*artifacts: Artifact) -> Manifest:
    return Manifest(release="r", target="t", lock="0" * 64, artifacts=artifacts)


def test_artifacts_with_the_same_bytes_share_a_blob() -> None:
    listed = manifest(artifact("b", "b" * 64, 2), artifact("a", "a" * 64, 1))
    listed = manifest(*listed.artifacts, artifact("c", "b" * 64, 2))
    blobs = distinct_blobs(listed)
    assert [(blob.sha256[0], blob.size) for blob in blobs] == [("a", 1), ("b", 2)]
    assert blobs[1].label == "wheel b (b), wheel c (c)"
    assert blobs[0].path == f"sha256/aa/{'a' * 64}"
    (total,) = kind_totals(listed)
    assert (total.kind, total.artifacts, total.size) == (ArtifactKind.WHEEL, 3, 5)


@given(st.text())
def test_printable_hides_every_control(text: str) -> None:
    assert printable(text).isprintable()
    printable(text).encode()


def test_strangers_are_what_nobody_expects(tmp_path: Path) -> None:
    for name in ("a/b/wanted", "a/extra", "stray"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    (tmp_path / "empty" / "deep").mkdir(parents=True)
    tree = scan(tmp_path)
    found = [problem.where for problem in tree.strangers({"a/b/wanted"})]
    assert found == ["a/extra", "stray", "empty", "empty/deep"]
    assert tree.strangers({*tree.files, "empty/deep/file"}) == ()


@pytest.mark.parametrize(("size", "blocks"), [(0, 0), (1, 1), (4096, 1), (4097, 2)])
def test_need_is_rounded_up_to_blocks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int, blocks: int
) -> None:
    class Room:
        f_frsize = 4096
        f_bavail = 10

    monkeypatch.setattr("bastide.store.space.os.statvfs", lambda _: Room())
    assert needed(Store(tmp_path), [("a" * 64, size)], []) == blocks * 4096
    assert needed(Store(tmp_path), [], [size, size]) == 2 * blocks * 4096
