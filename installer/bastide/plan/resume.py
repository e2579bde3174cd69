"""What a run does about switches that an earlier run left open. Pure: facts in, a decision out."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

from bastide.errors import PreflightError, Problem
from bastide.schema.facts import HostFacts

OTHER_SWITCH = "BAS-5082"


class Move(StrEnum):
    """What is to be done with the site as a whole."""

    FRESH = "fresh"  # nothing is open
    FORWARD = "forward"  # go on to the wanted generations and their gates
    PROMOTE = "promote"  # the gates were passed: only marks are left
    REVERT = "revert"  # it was decided to go back: only that is left


def next_move(facts: Mapping[str, HostFacts], wanted: Mapping[str, str]) -> Move:
    """Return how a site with open transitions is brought to one declared state, old or new.

    A host on which a revert has begun decides for all: some may be back already. A host that was
    marked good by the run whose transitions are open elsewhere decides for all as well: marking
    begins only after every gate has passed.

    Args:
        facts: Every host.
        wanted: The content digest of each host's wanted generation.

    Raises:
        PreflightError: A transition is open that leads elsewhere than to what is wanted.
    """
    opened = {host: each.transition for host, each in facts.items() if each.transition}
    if not opened:
        return Move.FRESH
    if any(transition.reverting for transition in opened.values()):
        return Move.REVERT
    foreign = {host: t for host, t in opened.items() if t.content != wanted.get(host)}
    if foreign:
        raise PreflightError(
            "a switch of generations is open that does not lead to what is wanted now; nothing "
            "was changed",
            code=OTHER_SWITCH,
            hint="`bastide rollback` undoes it; or bring site.yaml and bundle back to what run "
            f"{next(iter(foreign.values())).run} wanted, and apply finishes it",
            problems=tuple(
                Problem(host, f"run {t.run} was on the way to generation {t.after}")
                for host, t in foreign.items()
            ),
        )
    runs = {transition.run for transition in opened.values()}
    for host, each in facts.items():
        newest = each.good[-1] if each.good else None
        if host not in opened and newest is not None and newest.run in runs:
            return Move.PROMOTE
    return Move.FORWARD
