"""Streams to and from a program, in bounded memory: a backup is larger than this machine's."""

from __future__ import annotations

import contextlib
import os
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from typing import IO, BinaryIO

from bastide.host.process import ProcessError

WORDS = 8000  # characters of what a program said that are kept for a message


@contextlib.contextmanager
def reading(argv: Sequence[str], text: bytes) -> Iterator[BinaryIO]:
    """Start a program, give it a text, and yield its output while it runs.

    Args:
        argv: Program and arguments; never a shell line, never a secret.
        text: For its standard input.

    Raises:
        ProcessError: It is not installed or failed; raised when the block ends, whatever it read.
    """
    with tempfile.TemporaryFile() as stdin, tempfile.TemporaryFile() as stderr:
        stdin.write(text)
        stdin.seek(0)
        process = _start(argv, stdin, subprocess.PIPE, stderr)
        with _ended(process, argv, stderr):
            if process.stdout is None:
                raise ProcessError(argv, 1, "no output")
            yield process.stdout  # type: ignore[misc]


@contextlib.contextmanager
def writing(argv: Sequence[str], answer: list[str]) -> Iterator[BinaryIO]:
    """Start a program and yield its input; what it printed is in ``answer`` when the block ends.

    Args:
        argv: Program and arguments; never a shell line, never a secret.
        answer: Gets one text: the program's whole output, which must be short.

    Raises:
        ProcessError: It is not installed, or it failed and printed nothing.
    """
    with tempfile.TemporaryFile() as stdout, tempfile.TemporaryFile() as stderr:
        process = _start(argv, subprocess.PIPE, stdout, stderr)
        broken: OSError | None = None
        with _ended(process, argv, stderr, stdout):
            if process.stdin is None:
                raise ProcessError(argv, 1, "no input")
            try:
                yield process.stdin  # type: ignore[misc]
                process.stdin.close()
            except BrokenPipeError as error:  # it has said why, or the next lines do
                broken = error
                with contextlib.suppress(OSError):
                    process.stdin.close()
        stdout.seek(0)
        answer.append(stdout.read().decode("utf-8", "replace"))
        if broken is not None and not answer[-1].strip():
            raise ProcessError(argv, 1, "it went away while it was sent data")


def _start(
    argv: Sequence[str], stdin: int | IO[bytes], stdout: int | IO[bytes], stderr: IO[bytes]
) -> subprocess.Popen[bytes]:
    try:
        return subprocess.Popen(list(argv), stdin=stdin, stdout=stdout, stderr=stderr)
    except FileNotFoundError as error:
        raise ProcessError(argv, 127, f"{argv[0]} is not installed on this machine") from error


@contextlib.contextmanager
def _ended(
    process: subprocess.Popen[bytes],
    argv: Sequence[str],
    stderr: IO[bytes],
    stdout: IO[bytes] | None = None,
) -> Iterator[None]:
    """Wait for the end; a program that printed an answer has said itself what went wrong."""
    try:
        yield
    except BaseException:
        process.kill()
        raise
    finally:
        if process.stdout is not None:
            process.stdout.close()
        process.wait()
    if process.returncode != 0 and (stdout is None or not os.fstat(stdout.fileno()).st_size):
        stderr.seek(0)
        words = stderr.read(WORDS).decode("utf-8", "replace")
        raise ProcessError(argv, process.returncode, words)
