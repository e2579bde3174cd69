"""Waiting until a booting host answers by SSH and has started all it wants to start."""

from __future__ import annotations

import threading
import time

from bastide.host import process
from bastide.lab import machine, process_record
from bastide.lab.errors import BOOT_TIMEOUT, HOST_DIED, LabError
from bastide.lab.remote import ssh_argv
from bastide.lab.state import LabState
from bastide.layout import LabFolder

BOOT_SECONDS = 150.0  # 2 to 8 s are usual; a machine that builds at the same time needs longer
_POLL_SECONDS = 0.1
_READY = frozenset({"running", "degraded"})


def wait(state: LabState, name: str, stop: threading.Event, seconds: float = BOOT_SECONDS) -> str:
    """Return a host's system state, ``running`` or ``degraded``, as soon as it has booted.

    Raises:
        LabError: It stopped, or was not up after ``seconds``; the message names its console log.
    """
    own = LabFolder(state.folder).host(name)
    argv = ssh_argv(
        state, name, ["systemctl", "is-system-running", "--wait"], options=["-o", "BatchMode=yes"]
    )
    deadline = time.monotonic() + seconds
    last = "no answer yet"
    while True:
        left = deadline - time.monotonic()
        if not process_record.alive(own.process):
            raise LabError(
                f"{name} stopped while it booted; the last lines of its console:\n"
                f"{machine.tail(own.console)}",
                code=HOST_DIED,
                hint=f"read {own.console}, then run `bastide lab up` again",
            )
        if left <= 0:
            raise LabError(
                f"{name} was not up after {seconds:.0f} s ({last}); its console log is "
                f"{own.console}",
                code=BOOT_TIMEOUT,
                hint=f"read {own.console}; `bastide lab kill --name {state.name} --host {name}`, "
                "then `bastide lab up`, boots it afresh",
            )
        last = _ask(argv, left)
        if last in _READY:
            return last
        if stop.wait(_POLL_SECONDS):
            raise LabError(f"waiting for {name} was given up", code=BOOT_TIMEOUT)


def _ask(argv: list[str], seconds: float) -> str:
    """Return the host's own word on its state, or why there is none."""
    try:
        done = process.run(argv, check=False, timeout=max(seconds, 1.0))
    except process.ProcessError:
        return "ssh did not return"
    word = (done.stdout.strip() or done.stderr.strip() or "no answer").splitlines()
    return word[-1]
