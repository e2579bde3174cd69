"""A leash for a long-lived child: it and all that it started die when this process dies.

``python leash.py PROGRAM ARG …`` runs the program and returns its exit code. If the process that
started the leash ends, or the leash itself is killed, however that happens (also by SIGKILL), all
processes that the program has started, and their own, are killed. Without it, a killed
``bastide apply`` would leave Ansible changing hosts with nobody watching and the site's lock free.

There are two processes: the leash, and a guard that the kernel wakes when the leash is gone.
Process groups would not do: Ansible's workers leave theirs.

SIGINT to the leash is passed on to the program, which may end in order; what it had started and
left is killed then.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import sys
import types
from pathlib import Path

_PR_SET_PDEATHSIG = 1  # prctl(2): a signal when the parent dies
_PR_SET_CHILD_SUBREAPER = 36  # prctl(2): orphans among the descendants become our children


def leashed(argv: list[str], python: str = sys.executable) -> list[str]:
    """Return the command that runs ``argv`` on a leash."""
    return [python, "-I", "-S", __file__, *argv]


def _die_with(parent: int, number: signal.Signals) -> None:
    """Ask for a signal when ``parent`` dies; send it at once if that has happened already."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(number), 0, 0, 0)
    if os.getppid() != parent:
        os.kill(os.getpid(), number)


def _children(pid: int) -> list[int]:
    found: list[int] = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        with contextlib.suppress(OSError):
            found += [int(word) for word in task.read_text().split()]
    return found


def _descendants(pid: int) -> list[int]:
    found = _children(pid)
    for child in list(found):
        found += _descendants(child)
    return found


def _kill_all(signum: int, frame: types.FrameType | None) -> None:  # noqa: ARG001
    """Kill every descendant, also those that appear while others die, and end."""
    while alive := _descendants(os.getpid()):
        _kill(alive)
        with contextlib.suppress(ChildProcessError):
            os.waitpid(-1, 0)
    os._exit(128 + signal.SIGKILL)


def _kill(processes: list[int]) -> None:
    for pid in processes:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def _pass_on(running: list[int], asked: list[int] | None = None) -> None:
    """Pass SIGINT on to the processes in ``running``; note it in ``asked``."""

    def send(signum: int, frame: types.FrameType | None) -> None:  # noqa: ARG001
        if asked is not None:
            asked.append(signum)
        for pid in running:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGINT)

    signal.signal(signal.SIGINT, send)


def _wait(child: int) -> int:
    _, status = os.waitpid(child, 0)
    code = os.waitstatus_to_exitcode(status)
    return code if code >= 0 else 128 - code


def _guard(leash: int, argv: list[str]) -> int:
    """Run ``argv``; kill it and all that came of it once the leash is gone."""
    os.setsid()  # out of the reach of those who kill the leash's group: somebody must be left
    signal.signal(signal.SIGTERM, _kill_all)
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    _die_with(leash, signal.SIGTERM)
    running: list[int] = []
    asked: list[int] = []
    _pass_on(running, asked)
    child = os.fork()
    if child == 0:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        try:
            os.execvp(argv[0], argv)  # noqa: S606 - no shell is the point
        finally:
            os._exit(127)
    running.append(child)
    code = _wait(child)
    if asked:
        _kill(_descendants(os.getpid()))
    return code


def main(argv: list[str]) -> int:
    """Run ``argv`` to its end and return its exit code, or 128 + the signal that ended it."""
    parent, leash = os.getppid(), os.getpid()
    running: list[int] = []
    _pass_on(running)
    guard = os.fork()
    if guard == 0:
        os._exit(_guard(leash, argv))
    running.append(guard)
    _die_with(parent, signal.SIGKILL)
    return _wait(guard)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
