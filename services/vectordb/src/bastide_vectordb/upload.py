"""A snapshot's upload: multipart form data, streamed to a file."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

from python_multipart.exceptions import MultipartParseError
from python_multipart.multipart import MultipartParser, parse_options_header

from bastide_vectordb.errors import BadRequestError

FIELD = "snapshot"


class _Part:
    """Writes the one part that we want; ignores the rest."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("xb")
        self._name = b""
        self._value = b""
        self._wanted = False
        self.found = False
        self.ended = False

    def on_part_begin(self) -> None:
        self._name = self._value = b""
        self._wanted = False

    def on_header_field(self, data: bytes, start: int, end: int) -> None:
        self._name += data[start:end]

    def on_header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def on_header_end(self) -> None:
        if self._name.lower() == b"content-disposition":
            _, options = parse_options_header(self._value)
            self._wanted = options.get(b"name") == FIELD.encode() and not self.found
            self.found = self.found or self._wanted
        self._name = self._value = b""

    def on_part_data(self, data: bytes, start: int, end: int) -> None:
        if self._wanted:
            self._file.write(memoryview(data)[start:end])

    def on_end(self) -> None:
        self.ended = True

    def close(self) -> None:
        self._file.close()


async def save(content_type: bytes, chunks: AsyncIterator[bytes], path: Path) -> None:
    """Write the form's ``snapshot`` file to ``path``.

    Raises:
        BadRequestError: not multipart form data, or without such a file.
    """
    kind, options = parse_options_header(content_type)
    boundary = options.get(b"boundary")
    if kind != b"multipart/form-data" or not boundary:
        raise BadRequestError("expected multipart/form-data with a file named snapshot")
    part = _Part(path)
    names = (
        "on_part_begin",
        "on_header_field",
        "on_header_value",
        "on_header_end",
        "on_part_data",
        "on_end",
    )
    try:
        parser = MultipartParser(boundary, {name: getattr(part, name) for name in names})  # type: ignore[arg-type]
        async for chunk in chunks:
            parser.write(chunk)
        parser.finalize()
    except MultipartParseError as error:
        raise BadRequestError(f"broken multipart form data: {error}") from error
    finally:
        part.close()
    if not part.ended:
        raise BadRequestError("the form ends in the middle")
    if not part.found:
        raise BadRequestError("the form has no file named snapshot")
