"""The only module that starts processes."""

from __future__ import annotations

import collections
import os
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from bastide.errors import BastideError
from bastide.host.leash import leashed

LOOK_SECONDS = 0.2  # how soon a cancelled program is noticed
STOPPED = "stopped on request"


@dataclass(frozen=True)
class Completed:
    """A finished process: its exit code and what it printed, as text."""

    returncode: int
    stdout: str
    stderr: str


class ProcessError(BastideError):
    """A program that Bastide needs could not be run or failed."""

    default_code = "BAS-1001"

    def __init__(self, argv: Sequence[str], returncode: int, output: str) -> None:
        tail = "\n".join(output.strip().splitlines()[-20:])
        super().__init__(
            f"{argv[0]} ended with exit code {returncode}: {' '.join(argv)}\n{tail}",
            hint="the lines above are the program's own last words",
        )
        self.returncode = returncode


def run(
    argv: Sequence[str],
    *,
    check: bool = True,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    stdin: str | None = None,
    timeout: float | None = None,
) -> Completed:
    """Run ``argv`` to its end and return what it printed.

    Args:
        argv: Program and arguments; never a shell line, never a secret.
        check: Raise if the exit code is not 0.
        cwd: Working directory.
        env: Variables added to this process's own environment.
        stdin: Text for its standard input; none means it gets an empty one.
        timeout: Seconds after which it is killed.

    Raises:
        ProcessError: It is not installed, ran out of time, or failed while ``check`` is set.
    """
    try:
        done = subprocess.run(
            list(argv),
            check=False,
            cwd=cwd,
            env={**os.environ, **env} if env else None,
            input=stdin if stdin is not None else "",
            capture_output=True,
            text=True,
            errors="replace",
            timeout=timeout,
        )
    except FileNotFoundError as error:
        raise ProcessError(argv, 127, f"{argv[0]} is not installed on this machine") from error
    except subprocess.TimeoutExpired as error:
        raise ProcessError(argv, 124, f"it did not end within {timeout} s") from error
    if check and done.returncode != 0:
        raise ProcessError(argv, done.returncode, done.stderr or done.stdout)
    return Completed(done.returncode, done.stdout, done.stderr)


def converse(
    argv: Sequence[str], text: str, *, timeout: float, cancelled: threading.Event
) -> Completed:
    """Give ``argv`` a text, wait for its end and return what it printed, whatever its exit code.

    Args:
        argv: Program and arguments; never a shell line, never a secret.
        text: For its standard input.
        timeout: Seconds after which it is killed.
        cancelled: Once it is set, the program is killed within a fraction of a second.

    Raises:
        ProcessError: It is not installed, ran out of time, or was cancelled.
    """
    deadline = time.monotonic() + timeout
    with tempfile.TemporaryFile() as stdin:
        # A file, because `communicate` forgets the rest of a pipe's input when it times out.
        stdin.write(text.encode())
        stdin.seek(0)
        process = _start(argv, stdin)

    def reason() -> str:
        if cancelled.is_set():
            return STOPPED
        return f"no end in {timeout} s" if time.monotonic() > deadline else ""

    return _await(process, argv, reason)


@dataclass(frozen=True)
class Wishes:
    """How somebody elsewhere says that a program shall end.

    Args:
        stop: Once it is set, the program is asked to end in order (SIGINT).
        kill: Once it is set, it is killed.
        grace: Seconds from the first to the second.
    """

    stop: threading.Event
    kill: threading.Event
    grace: float


def supervise(
    argv: Sequence[str],
    wishes: Wishes,
    *,
    cwd: Path,
    env: Mapping[str, str],
    timeout: float,
) -> Completed:
    """Run ``argv`` to its end, or as long as somebody wishes; return what it printed.

    It is out of a terminal's reach: Ctrl-C comes to this process alone, which decides. It dies
    with this process, however that ends, and all that it has started with it.

    Args:
        argv: Program and arguments; never a shell line, never a secret.
        wishes: How its end is asked for.
        cwd: Working directory.
        env: Variables added to this process's own environment.
        timeout: Seconds after which it is killed.

    Raises:
        ProcessError: It ran out of time, or was killed.
    """
    process = subprocess.Popen(
        leashed(list(argv)),
        cwd=cwd,
        env={**os.environ, **env},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        start_new_session=True,
    )
    deadline, asked = time.monotonic() + timeout, False

    def reason() -> str:
        nonlocal deadline, asked
        if wishes.stop.is_set() and not asked:
            process.send_signal(signal.SIGINT)
            asked, deadline = True, time.monotonic() + wishes.grace
        if not wishes.kill.is_set() and time.monotonic() <= deadline:
            return ""
        return STOPPED if asked or wishes.kill.is_set() else f"no end in {timeout} s"

    return _await(process, argv, reason)


def _await(
    process: subprocess.Popen[str], argv: Sequence[str], reason: Callable[[], str]
) -> Completed:
    """Return what a program printed, once it has ended.

    Args:
        process: The program.
        argv: What it was started with.
        reason: Asked every so often: why it must be killed now; empty if it need not.

    Raises:
        ProcessError: It was killed.
    """
    with process:
        while True:
            try:
                stdout, stderr = process.communicate(timeout=LOOK_SECONDS)
                return Completed(process.returncode, stdout, stderr)
            except subprocess.TimeoutExpired as error:
                if why := reason():
                    process.kill()
                    raise ProcessError(argv, 124, why) from error
            except BaseException:
                process.kill()
                raise


def _start(argv: Sequence[str], stdin: IO[bytes]) -> subprocess.Popen[str]:
    try:
        return subprocess.Popen(
            list(argv),
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
        )
    except FileNotFoundError as error:
        raise ProcessError(argv, 127, f"{argv[0]} is not installed on this machine") from error


def stream(
    argv: Sequence[str],
    on_line: Callable[[str], None],
    *,
    env: Mapping[str, str] | None = None,
) -> None:
    """Run ``argv`` to its end and hand over each line that it prints, as it prints it.

    Args:
        argv: Program and arguments; never a shell line, never a secret.
        on_line: Called with every line of output and error output, in order.
        env: Variables added to this process's own environment.

    Raises:
        ProcessError: It is not installed or failed; the message holds its last lines.
    """
    last: collections.deque[str] = collections.deque(maxlen=20)
    try:
        process = subprocess.Popen(
            list(argv),
            env={**os.environ, **env} if env else None,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        )
    except FileNotFoundError as error:
        raise ProcessError(argv, 127, f"{argv[0]} is not installed on this machine") from error
    try:
        with process:
            for line in process.stdout or ():
                last.append(line.rstrip("\n"))
                on_line(last[-1])
    except BaseException:
        process.kill()
        raise
    if process.returncode != 0:
        raise ProcessError(argv, process.returncode, "\n".join(last))
