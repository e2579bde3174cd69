"""The licence gate of a command: which policy, and whose acceptances."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from bastide.layout import Home
from bastide.trust.acceptance import load_acceptances
from bastide.trust.licences import LicenceGate, load_policy

_FILE = click.Path(path_type=Path, dir_okay=False)


def with_licences(action: Callable[..., Any]) -> Callable[..., Any]:
    """Add ``--licence-policy`` and ``--acceptances``, and hand the gate over as ``licences``.

    Goes directly above the function, below ``reports``, which turns errors into messages.
    """

    @click.option(
        "--licence-policy",
        metavar="FILE",
        type=_FILE,
        envvar="BASTIDE_LICENCE_POLICY",
        help="Which licences may come in; otherwise $BASTIDE_HOME/licences.yaml, or Bastide's own "
        "policy if there is no such file.",
    )
    @click.option(
        "--acceptances",
        metavar="FILE",
        type=_FILE,
        envvar="BASTIDE_ACCEPTANCES",
        help="Record of accepted licence terms; otherwise $BASTIDE_HOME/acceptances.json.",
    )
    @functools.wraps(action)
    def body(
        *args: Any,  # noqa: ANN401 - click calls it
        licence_policy: Path | None,
        acceptances: Path | None,
        **kwargs: Any,  # noqa: ANN401
    ) -> Any:  # noqa: ANN401
        return action(*args, licences=licence_gate(licence_policy, acceptances), **kwargs)

    return body


def licence_gate(policy: Path | None, acceptances: Path | None) -> LicenceGate:
    """Return the gate of this machine.

    Args:
        policy: A policy file named on the command line, if any.
        acceptances: A record of acceptances named there, if any.

    Raises:
        TrustError: A file cannot be read or has mistakes; nothing is allowed by guess.
    """
    home = Home.default()
    if policy is None and home.licence_policy.exists():
        policy = home.licence_policy
    return LicenceGate(load_policy(policy), load_acceptances(acceptances or home.acceptances))
