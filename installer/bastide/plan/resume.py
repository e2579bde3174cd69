"""What a run does about switches that an earlier run left open. Pure: facts in, a decision out."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

from bastide.errors import PreflightError, Problem
from bastide.schema.facts import HostFacts, Transition

OTHER_SWITCH = "BAS-5082"


class Move(StrEnum):
    """What is to be done with the site as a whole."""

    FRESH = "fresh"  # nothing is open
    FORWARD = "forward"  # go on to the wanted generations and their gates
    PROMOTE = "promote"  # the gates were passed: only marks are left
    REVERT = "revert"  # it was decided to go back: only that is left


def next_move(
    facts: Mapping[str, HostFacts], wanted: Mapping[str, str], *, undo: bool = False
) -> Move:
    """Return how a site with open transitions is brought to one declared state, old or new.

    A host on which a revert has begun decides for all: some may be back already. A host that was
    marked good by a run whose transitions are open decides for all as well, also against an undo:
    marking begins only after every gate has passed, and a host that is marked has no way back.

    Args:
        facts: Every host.
        wanted: The content digest of each host's wanted generation.
        undo: The operator wants back what was there before the transitions.

    Raises:
        PreflightError: A transition is open that leads elsewhere than to what is wanted.
    """
    opened = {host: each.transition for host, each in facts.items() if each.transition}
    if not opened:
        return Move.REVERT if undo else Move.FRESH
    if any(transition.reverting for transition in opened.values()):
        return Move.REVERT
    runs = {transition.run for transition in opened.values()}
    marked = any(each.good and each.good[-1].run in runs for each in facts.values())
    if undo and not marked:
        return Move.REVERT
    _require_wanted(opened, wanted, marked=marked)
    everywhere = all(facts[host].generation_digest == digest for host, digest in wanted.items())
    return Move.PROMOTE if marked and everywhere else Move.FORWARD


def _require_wanted(
    opened: Mapping[str, Transition], wanted: Mapping[str, str], *, marked: bool
) -> None:
    foreign = {host: t for host, t in opened.items() if t.content != wanted.get(host)}
    if not foreign:
        return
    run = next(iter(foreign.values())).run
    back = f"bring site.yaml and bundle back to what run {run} wanted, and apply finishes it"
    raise PreflightError(
        "a switch of generations is open that does not lead to what is wanted now; nothing "
        "was changed",
        code=OTHER_SWITCH,
        hint=back if marked else f"`bastide rollback` undoes it; or {back}",
        problems=tuple(
            Problem(host, f"run {t.run} was on the way to generation {t.after}")
            for host, t in foreign.items()
        ),
    )
