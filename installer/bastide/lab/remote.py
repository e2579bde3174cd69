"""Commands on the control node and on hosts; argument lists only, pure."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from bastide.lab.state import LabState


def control_argv(state: LabState, command: Sequence[str]) -> list[str]:
    """Return what runs ``command`` here, but in the control node's network."""
    return ["ip", "netns", "exec", state.control_namespace, *command]


def ssh_argv(
    state: LabState, host: str, command: Sequence[str], *, options: Sequence[str] = ()
) -> list[str]:
    """Return what runs ``command`` on a host, from the control node.

    Args:
        state: The lab.
        host: The host's name.
        command: Program and arguments; empty for a login shell.
        options: More options of ssh.

    Raises:
        LabError: The lab has no such host.
    """
    name = state.host(host).name
    ssh = ["ssh", "-F", str(state.ssh_config), *options, name]
    return control_argv(state, [*ssh, "--", shlex.join(command)] if command else ssh)
