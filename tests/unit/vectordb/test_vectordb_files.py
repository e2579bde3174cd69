"""Frames, files, snapshots' archives, uploads."""

from __future__ import annotations

import asyncio
import io
import tarfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bastide_vectordb import archive, files, frames, upload
from bastide_vectordb.errors import BadRequestError

STAMP = archive.Stamp("0", "0.9.0", "c", {"vectors": {}}, 3, "2026-01-01T00:00:00")


@given(
    st.lists(st.tuples(st.sampled_from(frames.OPERATIONS), st.binary(max_size=99), st.booleans())),
    st.integers(1, 50),
)
def test_frames_survive_any_cut(rows: Any, cut: int) -> None:
    sent = b"".join(
        frames.request(number, operation, body, {"n": number} if meta else None)
        for number, (operation, body, meta) in enumerate(rows)
    )
    reader, got = frames.Requests(), []
    for start in range(0, len(sent), cut):
        reader.feed(sent[start : start + cut])
        got += list(reader)
    assert got == [
        (n, operation, {"n": n} if meta else {}, body)
        for n, (operation, body, meta) in enumerate(rows)
    ]
    answers = b"".join(frames.response(n, 200 + n, row[1]) for n, row in enumerate(rows))
    back, seen = frames.Responses(), []
    for start in range(0, len(answers), cut):
        seen += list(back.feed(answers[start : start + cut]))
    assert seen == [(n, 200 + n, row[1]) for n, row in enumerate(rows)]


def shard(folder: Path) -> Path:
    """Files as Edge makes them: preallocated, with holes at the end and within."""
    (folder / "wal").mkdir(parents=True)
    (folder / "edge_config.json").write_bytes(b"{}")
    (folder / "empty").write_bytes(b"")
    with (folder / "wal" / "open-1").open("wb") as file:
        file.write(b"x" * 5000)
        file.seek(1 << 20)
        file.write(b"y" * 10)
        file.truncate(32 << 20)
    with (folder / "hole").open("wb") as file:
        file.truncate(8 << 20)
    return folder


def content(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_copies_are_equal_and_keep_their_holes(tmp_path: Path) -> None:
    source = shard(tmp_path / "a")
    files.copy_tree(source, tmp_path / "b")
    assert content(tmp_path / "b") == content(source)
    assert files.used_bytes(tmp_path / "b") < 4 << 20


def test_a_snapshot_is_small_and_restores_every_byte(tmp_path: Path) -> None:
    source = shard(tmp_path / "a")
    digest = archive.pack(source, STAMP, tmp_path / "s")
    assert len(digest) == 64
    assert (tmp_path / "s").stat().st_size < 4 << 20
    assert archive.unpack(tmp_path / "s", tmp_path / "b") == STAMP
    assert content(tmp_path / "b") == content(source)


def crafted(path: Path, sizes: dict[str, int], *entries: tarfile.TarInfo) -> Path:
    manifest = orjson.dumps(
        {
            "format": 1,
            "creator": "0",
            "edge": "0.9.0",
            "collection": "c",
            "settings": {},
            "points": 0,
            "created": "",
            "files": sizes,
        }
    )
    with tarfile.open(path, "w") as tar:
        head = tarfile.TarInfo(archive.MANIFEST)
        head.size = len(manifest)
        tar.addfile(head, io.BytesIO(manifest))
        for entry in entries:
            tar.addfile(entry, io.BytesIO(b"x" * entry.size))
    return path


def entry(name: str, kind: bytes = tarfile.REGTYPE, link: str = "") -> tarfile.TarInfo:
    made = tarfile.TarInfo(name)
    made.type, made.linkname = kind, link
    made.size = 1 if kind == tarfile.REGTYPE else 0
    return made


@pytest.mark.parametrize(
    ("sizes", "member"),
    [
        ({"../x": 1}, entry("shard/../../x")),
        ({"x": 1}, entry("/shard/x")),
        ({"x": 1}, entry("other/x")),
        ({"x": 1}, entry("shard/x", tarfile.SYMTYPE, "/etc/passwd")),
        ({"x": 1}, entry("shard/x", tarfile.LNKTYPE, "shard/y")),
        ({"x": 1}, entry("shard/x", tarfile.CHRTYPE)),
        ({}, entry("shard/x")),
        ({"x": 0}, entry("shard/x")),
        ({"x": 1, "missing": 1}, entry("shard/x")),
    ],
)
def test_archives_that_lead_elsewhere_are_refused(
    tmp_path: Path, sizes: dict[str, int], member: tarfile.TarInfo
) -> None:
    path = crafted(tmp_path / "s", sizes, member)
    (tmp_path / "in").mkdir()
    with pytest.raises(BadRequestError):
        archive.unpack(path, tmp_path / "in" / "b")
    assert not (tmp_path / "x").exists()
    assert not (tmp_path / "in" / "x").exists()


@given(st.binary(max_size=2000))
def test_any_bytes_are_refused_as_a_snapshot(data: bytes) -> None:
    import tempfile  # noqa: PLC0415 - tmp_path and hypothesis do not mix

    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "s"
        path.write_bytes(data)
        with pytest.raises(BadRequestError):
            archive.unpack(path, Path(name) / "b")


def test_atomic_writes_leave_no_temporary_file(tmp_path: Path) -> None:
    files.write_atomic(tmp_path / "a", b"1")
    files.write_atomic(tmp_path / "a", b"2")
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
    assert (tmp_path / "a").read_bytes() == b"2"


def form(*parts: tuple[str, bytes]) -> bytes:
    out = b""
    for name, value in parts:
        head = f'--B\r\nContent-Disposition: form-data; name="{name}"; filename="f"\r\n\r\n'
        out += head.encode() + value + b"\r\n"
    return out + b"--B--\r\n"


@pytest.mark.parametrize("step", [1, 7, 100_000])
def test_an_upload_in_any_chunks(tmp_path: Path, step: int) -> None:
    value = b"\r\n-B \r\n--A \x00 not the end" * 50
    body = form(("other", b"ignored"), ("snapshot", value), ("snapshot", b"a second one"))

    async def chunks() -> AsyncIterator[bytes]:
        for start in range(0, len(body), step):
            yield body[start : start + step]

    kind = b"multipart/form-data; boundary=B"
    asyncio.run(upload.save(kind, chunks(), tmp_path / "got"))
    assert (tmp_path / "got").read_bytes() == value


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        (b"application/json", b"{}"),
        (b"multipart/form-data", b""),
        (b"multipart/form-data; boundary=B", form(("other", b"x"))),
        (b"multipart/form-data; boundary=B", b"nonsense"),
        (b"multipart/form-data; boundary=B", form(("snapshot", b"x"))[:30]),
        (b"multipart/form-data; boundary=B", form(("snapshot", b"x" * 999))[:500]),
    ],
)
def test_what_is_no_upload(tmp_path: Path, kind: bytes, body: bytes) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        yield body

    with pytest.raises(BadRequestError):
        asyncio.run(upload.save(kind, chunks(), tmp_path / "got"))
