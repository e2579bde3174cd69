"""Has host agents watch for packets that leave the site, and takes their records."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bastide.errors import Problem, VerifyError
from bastide.plan.flows import watched_networks
from bastide.run.ask import Line, Reply, ask
from bastide.run.facts import explain_unreachable

NOT_WATCHED = "BAS-7061"
SECONDS = 180.0


def start_watch(line: Line) -> None:
    """Begin to watch every host of the site.

    Raises:
        VerifyError: A host could not be reached, is being watched already, or cannot be watched.
    """
    site = line.site
    given = {
        name: {"networks": [str(each) for each in watched_networks(site, name)]}
        for name in site.hosts
    }
    _answers(ask(line, "watch-start", given, seconds=SECONDS), "cannot be watched")


def stop_watch(line: Line) -> dict[str, Mapping[str, Any]]:
    """End the watch; return each host's record.

    Raises:
        VerifyError: A host could not be reached, or nobody watched it: what went on there is not
            known.
    """
    replies = ask(line, "watch-stop", {name: {} for name in line.site.hosts}, seconds=SECONDS)
    return {name: each["record"] for name, each in _answers(replies, "was not watched").items()}


def _answers(replies: Mapping[str, Reply], what: str) -> dict[str, Mapping[str, Any]]:
    problems = []
    for name, reply in replies.items():
        error = reply.answer.get("error")
        if isinstance(error, Mapping):
            hint = f" ({error['hint']})" if error.get("hint") else ""
            problems.append(Problem(name, f"{error.get('message')}{hint}"))
        elif not reply.answer:
            why = explain_unreachable(reply.words, "failed" if reply.reached else "unreachable")
            problems.append(Problem(name, why.reason))
    if problems:
        raise VerifyError(
            f"{len(problems)} of {len(replies)} hosts {what}",
            code=NOT_WATCHED,
            hint="put that right, then start anew: bastide verify --isolation --start",
            problems=tuple(problems),
        )
    return {name: reply.answer for name, reply in replies.items()}
