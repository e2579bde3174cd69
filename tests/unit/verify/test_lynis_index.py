"""What is read from Lynis' report, and when its index has fallen."""

from __future__ import annotations

import lynis_index
import pytest

REPORT = """\
# Lynis Report
hardening_index=64
lynis_tests_done=231
warning[]=FIRE-4512|iptables module(s) loaded, but no rules active|-|-|
suggestion[]=SSH-7408|Consider hardening SSH configuration|AllowTcpForwarding (set YES to NO)|-|
"""


def test_index_and_what_cost_points_are_read() -> None:
    found = lynis_index.parsed(REPORT)
    assert (found["index"], found["tests"]) == (64, 231)
    assert found["warnings"] == ["FIRE-4512 iptables module(s) loaded, but no rules active"]
    assert found["suggestions"][0].startswith("SSH-7408 Consider")


def test_a_report_without_an_index_has_none() -> None:
    assert lynis_index.parsed("nothing")["index"] == 0


@pytest.mark.parametrize(("after", "held"), [(64, True), (70, True), (63, False)])
def test_an_index_that_falls_is_told(after: int, held: bool) -> None:
    lines = [
        {"host": "host1", "label": "before", "index": 64},
        {"host": "host1", "label": "applied", "index": after},
    ]
    text, good = lynis_index.table(lines)
    assert f"| host1 | 64 | {after} |" in text
    assert good is held
