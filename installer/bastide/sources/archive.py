"""Takes single files out of fetched archives: a wheel or zip's member, an sdist's file."""

from __future__ import annotations

import contextlib
import tarfile
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import IO

from bastide.errors import BundleError
from bastide.sources.cache import Cache

_OTHER_FILE = "let the catalogue name another file; its digest is right, so it was made like this"


def member(url: str, archive: Path, path: Sequence[str], cache: Cache) -> tuple[str, int]:
    """Store an archive's member in the cache; ``url`` says what kind of archive it is."""
    if url.endswith((".tar.gz", ".tgz")):
        return sdist_member(archive, path[0], cache)
    return zip_member(archive, path, cache)


def zip_member(archive: Path, path: Sequence[str], cache: Cache) -> tuple[str, int]:
    """Store the member at ``path`` in the cache and return its digest and size.

    Args:
        archive: A zip file, such as a wheel.
        path: Path inside it; each further entry is a path inside that member, a zip itself.
        cache: Where to put it.

    Raises:
        BundleError: The archive is damaged or has no such member.
    """
    first, *rest = path
    try:
        with zipfile.ZipFile(archive) as opened, opened.open(first) as stream:
            digest, size = cache.put_stream(stream)
    except KeyError as error:
        raise _absent(archive, first) from error
    except (zipfile.BadZipFile, OSError, ValueError) as error:
        raise _unreadable(archive, error) from error
    return zip_member(cache.path(digest), rest, cache) if rest else (digest, size)


def join_members(parts: Sequence[tuple[Path, str]], cache: Cache) -> tuple[str, int]:
    """Store what zips' members give one after the other; return its digest and size.

    Args:
        parts: Archive and path inside it, in order.
        cache: Where to put it.

    Raises:
        BundleError: An archive is damaged or has no such member.
    """
    with contextlib.closing(_Chain(iter(parts))) as chain:
        return cache.put_stream(chain)  # type: ignore[arg-type]


class _Chain:
    """Members of archives as one stream; one archive is open at a time."""

    def __init__(self, parts: Iterator[tuple[Path, str]]) -> None:
        self._parts = parts
        self._archive: zipfile.ZipFile | None = None
        self._open: IO[bytes] | None = None
        self._where = Path()

    def read(self, size: int) -> bytes:
        while True:
            if self._open is None:
                following = next(self._parts, None)
                if following is None:
                    return b""
                self._open = self._next(*following)
            try:
                block = self._open.read(size)
            except (zipfile.BadZipFile, zlib.error, EOFError, OSError) as error:
                raise _unreadable(self._where, error) from error
            if block:
                return block
            self.close()

    def close(self) -> None:
        for each in (self._open, self._archive):
            if each is not None:
                each.close()
        self._open = self._archive = None

    def _next(self, archive: Path, path: str) -> IO[bytes]:
        self._where = archive
        try:
            self._archive = zipfile.ZipFile(archive)
            return self._archive.open(path)
        except KeyError as error:
            raise _absent(archive, path) from error
        except (zipfile.BadZipFile, OSError, ValueError) as error:
            raise _unreadable(archive, error) from error


def sdist_member(archive: Path, path: str, cache: Cache) -> tuple[str, int]:
    """Store the file at ``path`` of a tar, or below its top folder; return its digest and size.

    Source distributions have a top folder, release archives of programs often none.

    Raises:
        BundleError: The archive is damaged or has no such file.
    """
    try:
        with tarfile.open(archive) as opened:
            for entry in opened:
                inside = PurePosixPath(entry.name)
                places = (inside, PurePosixPath(*inside.parts[1:]))
                if PurePosixPath(path) in places and entry.isreg():
                    stream = opened.extractfile(entry)
                    if stream is not None:
                        return cache.put_stream(stream)
    except (tarfile.TarError, OSError) as error:
        raise BundleError(
            f"{archive.name} is not a readable tar: {error}", code="BAS-3032", hint=_OTHER_FILE
        ) from error
    raise _absent(archive, path)


def unpack_flat_zip(archive: Path, folder: Path) -> None:
    """Unpack all files of a zip below ``folder``; members that lead elsewhere are refused."""
    with zipfile.ZipFile(archive) as opened:
        for info in opened.infolist():
            path = PurePosixPath(info.filename)
            if path.is_absolute() or ".." in path.parts:
                raise BundleError(
                    f"{archive.name} holds the path {path}", code="BAS-3032", hint=_OTHER_FILE
                )
            opened.extract(info, folder)


def _unreadable(archive: Path, error: Exception) -> BundleError:
    return BundleError(
        f"{archive.name} is not a readable zip: {error}", code="BAS-3032", hint=_OTHER_FILE
    )


def _absent(archive: Path, path: str) -> BundleError:
    return BundleError(
        f"{archive.name} has no file {path}",
        code="BAS-3032",
        hint="correct the path in the catalogue",
    )
