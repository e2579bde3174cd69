"""Preflight's outcomes as JUnit's XML, which build servers and test reports read."""

from __future__ import annotations

import xml.etree.ElementTree as ET

from bastide.plan.preflight.check import Outcome
from bastide.plan.preflight.evaluate import counts


def junit(outcomes: tuple[Outcome, ...], seconds: float) -> bytes:
    """Return one test suite for each place, one test case for each check."""
    places = dict.fromkeys(outcome.where for outcome in outcomes)
    root = ET.Element("testsuites", name="bastide preflight", time=f"{seconds:.3f}")
    for place in places:
        mine = tuple(each for each in outcomes if each.where == place)
        totals = counts(mine)
        suite = ET.SubElement(
            root,
            "testsuite",
            name=place,
            tests=str(len(mine)),
            failures=str(totals["refused"]),
            errors="0",
            skipped=str(totals["skipped"]),
        )
        for outcome in mine:
            _case(suite, outcome)
    ET.indent(root)
    return bytes(ET.tostring(root, encoding="utf-8", xml_declaration=True)) + b"\n"


def _case(suite: ET.Element, outcome: Outcome) -> None:
    check = outcome.check
    case = ET.SubElement(suite, "testcase", classname=f"preflight.{outcome.where}", name=check.name)
    if outcome.skipped:
        ET.SubElement(case, "skipped", message=outcome.skipped)
        return
    lines = [f"{each.problem.what}\n  → {each.problem.hint}" for each in outcome.findings]
    if outcome.result == "refused":
        failure = ET.SubElement(case, "failure", type=check.code, message=check.cause)
        failure.text = "\n".join(lines)
    elif lines:
        ET.SubElement(case, "system-out").text = f"{check.code} (warning)\n" + "\n".join(lines)
