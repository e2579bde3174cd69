from __future__ import annotations

import hashlib
import io
import tarfile
import zipfile
from pathlib import Path

import pytest

from bastide.errors import BundleError
from bastide.sources.archive import join_members, member, sdist_member, unpack_flat_zip, zip_member
from bastide.sources.cache import Cache


def zipped(**files: bytes) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name, content in files.items():
            archive.writestr(name.replace("__", "/"), content)
    return stream.getvalue()


def make_sdist(path: Path) -> Path:
    with tarfile.open(path, "w:gz") as archive:
        for name in ("pkg-1.0/other.py", "pkg-1.0/examples/server.py"):
            info = tarfile.TarInfo(name)
            content = name.encode()
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return path


def test_a_member_of_a_member(tmp_path: Path) -> None:
    wheel = tmp_path / "x.whl"
    wheel.write_bytes(zipped(pkg__model=zipped(weights=b"12345")))
    cache = Cache(tmp_path / "cache")
    digest, size = zip_member(wheel, ["pkg/model", "weights"], cache)
    assert (digest, size) == (hashlib.sha256(b"12345").hexdigest(), 5)
    assert cache.path(digest).read_bytes() == b"12345"
    assert list((tmp_path / "cache/partial").iterdir()) == []


def test_an_sdists_file_without_its_top_folder(tmp_path: Path) -> None:
    sdist = make_sdist(tmp_path / "pkg-1.0.tar.gz")
    cache = Cache(tmp_path / "cache")
    digest, _ = member("https://x/pkg-1.0.tar.gz", sdist, ["examples/server.py"], cache)
    assert cache.path(digest).read_bytes() == b"pkg-1.0/examples/server.py"
    with pytest.raises(BundleError, match=r"has no file server\.py"):
        sdist_member(sdist, "server.py", cache)


def test_absent_and_damaged(tmp_path: Path) -> None:
    path, cache = tmp_path / "x.whl", Cache(tmp_path / "cache")
    path.write_bytes(zipped(a=b"1"))
    with pytest.raises(BundleError, match="has no file b"):
        zip_member(path, ["b"], cache)
    path.write_bytes(b"<html>")
    with pytest.raises(BundleError, match="not a readable zip"):
        zip_member(path, ["a"], cache)
    with pytest.raises(BundleError, match="not a readable tar"):
        sdist_member(path, "a", cache)


@pytest.mark.parametrize("name", ["../evil", "/evil", "a/../../evil"])
def test_members_that_lead_outside_are_refused(name: str, tmp_path: Path) -> None:
    path = tmp_path / "x.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(name, b"x")
    with pytest.raises(BundleError, match="holds the path"):
        unpack_flat_zip(path, tmp_path / "out")
    assert not (tmp_path / "evil").exists()


def zip_of(path: Path, name: str, content: bytes) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(name, content)
    return path


def test_parts_are_joined_in_their_order(tmp_path: Path) -> None:
    cache = Cache(tmp_path / "cache")
    pieces = [bytes([n]) * (1_500_000 + n) for n in range(4)]
    parts = [(zip_of(tmp_path / f"{n}.whl", "p", c), "p") for n, c in enumerate(pieces)]
    digest, size = join_members(parts, cache)
    assert cache.path(digest).read_bytes() == b"".join(pieces)
    assert size == sum(map(len, pieces))


def test_a_missing_or_damaged_part_is_named(tmp_path: Path) -> None:
    cache = Cache(tmp_path / "cache")
    whole = zip_of(tmp_path / "a.whl", "p", b"x" * 100)
    with pytest.raises(BundleError, match=r"a\.whl has no file q"):
        join_members([(whole, "p"), (whole, "q")], cache)
    damaged = tmp_path / "b.whl"
    damaged.write_bytes(whole.read_bytes().replace(b"PK\x01\x02", b"PK\x01\x09"))
    with pytest.raises(BundleError, match=r"b\.whl is not a readable zip"):
        join_members([(whole, "p"), (damaged, "p")], cache)
    assert not list((tmp_path / "cache" / "partial").glob("in.*"))
