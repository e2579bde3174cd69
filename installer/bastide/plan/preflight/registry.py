"""All checks, in the order in which they are made and shown."""

from __future__ import annotations

from bastide.plan.preflight.check import Check
from bastide.plan.preflight.control import CHECKS as CONTROL
from bastide.plan.preflight.floating import CHECKS as FLOATING
from bastide.plan.preflight.leftovers import CHECKS as LEFTOVERS
from bastide.plan.preflight.machine import CHECKS as MACHINE
from bastide.plan.preflight.names import CHECKS as NAMES
from bastide.plan.preflight.needs_met import CHECKS as NEEDS_MET
from bastide.plan.preflight.network import CHECKS as NETWORK
from bastide.plan.preflight.packages import CHECKS as PACKAGES
from bastide.plan.preflight.places import CHECKS as PLACES
from bastide.plan.preflight.reach import CHECKS as REACH
from bastide.plan.preflight.system import CHECKS as SYSTEM

SECTIONS: tuple[tuple[str, tuple[Check, ...]], ...] = (
    ("The site and the control node", CONTROL),
    ("The way to a host", REACH),
    ("What the site wants", NEEDS_MET),
    ("The machine", MACHINE),
    ("The operating system", SYSTEM),
    ("Folders and file systems", PLACES),
    ("OS packages", PACKAGES),
    ("Users and units", NAMES),
    ("What earlier runs left", LEFTOVERS),
    ("The network", NETWORK),
    ("The floating address", FLOATING),
)
CHECKS = tuple(check for _, checks in SECTIONS for check in checks)


def table() -> str:
    """Return all checks as the Markdown of docs/preflight.md."""
    parts = []
    for title, checks in SECTIONS:
        rows = (
            f"| {check.title} | {check.cause.rstrip('.')} | {check.fix.rstrip('.')} "
            f"| {check.code} | {check.severity} |"
            for check in checks
        )
        head = ("| holds | else | what to do | code | |", "|---|---|---|---|---|")
        parts.append("\n".join((f"### {title}", "", *head, *rows)))
    return "\n\n".join(parts) + "\n"


def error_rows() -> tuple[str, ...]:
    """Return the rows of docs/reference/errors.md that belong to checks, by code."""
    rows = {
        check.code: f"| {check.code} | {check.cause} | {check.fix} |"
        for check in sorted(CHECKS, key=lambda each: each.code)
        if check.code >= "BAS-5100"
    }
    return tuple(rows.values())
