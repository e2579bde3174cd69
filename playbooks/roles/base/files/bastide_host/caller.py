"""Ends a long look at this host once nobody can hear the answer any more."""

from __future__ import annotations

import os
import select
import sys
import threading


def end_with_caller() -> None:
    """End this process when whoever reads its standard output is gone.

    For commands that only read: a control node that was stopped, or whose link is cut, must not
    leave somebody here who keeps the models busy. sshd closes the channel then, and the kernel says
    so of a pipe's or a socket's other end; of a file or a terminal it never does.
    """
    poller = select.poll()
    poller.register(sys.stdout.fileno(), 0)  # errors and hang-ups are always told

    def watch() -> None:
        poller.poll()
        os._exit(1)

    threading.Thread(target=watch, name="caller", daemon=True).start()
