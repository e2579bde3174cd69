"""A leash for a long-lived child: it and all that it started die when this process dies.

``python -m bastide.host.leash PROGRAM ARG …`` runs the program and returns its exit code. If the
process that started the leash ends, however that happens (also by SIGKILL), the kernel tells the
leash, and the leash kills its whole process group. Without it a killed ``bastide apply`` would
leave Ansible changing hosts with nobody watching and the site's lock free.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import types

_PR_SET_PDEATHSIG = 1  # prctl(2)


def leashed(argv: list[str], python: str = sys.executable) -> list[str]:
    """Return the command that runs ``argv`` on a leash.

    The child must be started in a process group of its own, or the leash takes its starter's
    whole group with it.
    """
    return [python, "-I", "-S", __file__, *argv]


def _kill_group(signum: int, frame: types.FrameType | None) -> None:  # noqa: ARG001
    os.killpg(0, signal.SIGKILL)


def main(argv: list[str]) -> int:
    """Run ``argv`` to its end and return its exit code, or 128 + the signal that ended it."""
    parent = os.getppid()
    signal.signal(signal.SIGTERM, _kill_group)
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
    if os.getppid() != parent:  # it died before the kernel had taken note
        return 128 + signal.SIGTERM
    child = os.fork()
    if child == 0:
        try:
            os.execvp(argv[0], argv)  # noqa: S606 - no shell is the point
        finally:
            os._exit(127)
    _, status = os.waitpid(child, 0)
    code = os.waitstatus_to_exitcode(status)
    return code if code >= 0 else 128 - code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
