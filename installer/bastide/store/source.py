"""Where a blob's bytes come from: a plain file, or whatever else can yield them in order.

A source yields bytes and vouches for none: whoever reads compares the digest of all of them with
the one that the bundle's signed chain reaches.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

# Not blocking, so that a named pipe in place of a file is an error and not a wait for ever.
SOURCE_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


class Reader(Protocol):
    """An open source. It is asked for the bytes in order, and may be asked to start anywhere."""

    def read_into(self, offset: int, view: memoryview) -> int:
        """Fill ``view``, or its beginning, with the bytes from ``offset`` on.

        Args:
            offset: In bytes from the start of the blob.
            view: At least one byte; page-aligned when the pipeline asks.

        Returns:
            How many bytes were read; 0 at the end.

        Raises:
            OSError: The medium cannot be read; its text is shown to people.
        """
        ...


class ByteSource(Protocol):
    """Where the bytes of one blob come from."""

    def open(self) -> AbstractContextManager[Reader]:
        """Open it for reading.

        Raises:
            OSError: It is not there, or is not what it should be.
        """
        ...


@dataclass(frozen=True)
class DescriptorReader:
    """Reads an open file."""

    descriptor: int

    def read_into(self, offset: int, view: memoryview) -> int:
        """Read from ``offset`` on, straight into ``view``."""
        return os.preadv(self.descriptor, [view], offset)


@dataclass(frozen=True)
class FileSource:
    """The bytes of a plain file; a symbolic link in its place is an error."""

    path: Path

    @contextlib.contextmanager
    def open(self) -> Iterator[Reader]:
        """Open the file for reading from start to end."""
        descriptor = os.open(self.path, SOURCE_FLAGS)
        try:
            with contextlib.suppress(OSError):  # advice only
                os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_SEQUENTIAL)
            yield DescriptorReader(descriptor)
        finally:
            os.close(descriptor)
