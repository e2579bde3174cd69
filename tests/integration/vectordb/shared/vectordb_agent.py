"""The host agent's code in a process of its own, which is killed."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

from bastide_host import fence

AGENT = Path(fence.__file__).parents[1]


def agent_killed(program: str, seconds: float, *words: str) -> bool:
    """Run a program over the agent's modules, kill it; return whether it had not ended before.

    Args:
        program: Prints ``ready`` before, and something after what may be cut off.
        seconds: From ``ready`` until it is killed.
        words: Its arguments.
    """
    argv = [sys.executable, "-c", program, *words]
    process = subprocess.Popen(argv, env={"PYTHONPATH": str(AGENT)}, stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    time.sleep(seconds)
    process.kill()
    process.wait()
    with process.stdout:
        return process.stdout.read() == b""
