"""A plan on terminals of several kinds, and on request with every path."""

from __future__ import annotations

import io

import plan_factories as make
import pytest
from rich.console import Console

from bastide.cli.plan_view import print_plan
from bastide.plan.planner import make_plan
from bastide.schema.plan import DataStep, Plan
from bastide.schema.release import Gate


def shown(plan: Plan, *, width: int = 100, detail: bool = False, terminal: bool = False) -> str:
    stream = io.StringIO()
    console = Console(
        file=stream, width=width, soft_wrap=not terminal, highlight=False, force_terminal=terminal
    )
    print_plan(console, plan, detail=detail)
    return stream.getvalue()


def test_detail_lists_every_path_and_artifact() -> None:
    plan = make_plan(make.make_inputs())
    text, brief = shown(plan, detail=True), shown(plan)
    for change in plan.hosts[0].paths:
        assert change.path in text
    assert "haproxy-2.6.12-1+deb12u3.deb" in text
    assert "/etc/sysusers.d/bastide.conf" not in brief
    assert "that --detail lists" in brief


@pytest.mark.parametrize("width", [30, 40, 60, 80])
def test_no_line_is_wider_than_the_terminal(width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    plan = make_plan(make.make_inputs())
    lines = shown(plan, width=width, terminal=True, detail=True).replace("\x1b[0m", "").splitlines()
    lines = [line.replace("\x1b[1m", "") for line in lines]
    assert max(len(line) for line in lines) <= width
    assert any(line.startswith("    + bastide-llm") for line in lines)


def test_no_color_takes_the_colours_and_leaves_the_signs(monkeypatch: pytest.MonkeyPatch) -> None:
    plan = make_plan(make.make_inputs())
    assert "\x1b[32m" in shown(plan, terminal=True)
    monkeypatch.setenv("NO_COLOR", "1")
    text = shown(plan, terminal=True)
    assert "\x1b[32m" not in text
    assert "    + bastide-llm" in text


def test_canary_gates_and_what_cannot_be_undone_are_told() -> None:
    plan = make_plan(make.make_inputs())
    step = DataStep(
        kind="format", what="files of the vector DB", reversible=False, why="no way back"
    )
    host = plan.hosts[0].replace(data=(step,), collected=(3,))
    told = shown(plan.replace(hosts=(host,), canary="host1", gates=(Gate.HEALTH,)))
    assert "canary: host1 switches first" in told
    assert "gates: health" in told
    assert "~ format: files of the vector DB (irreversible: no way back)" in told
    assert "reversible: no: host1: files of the vector DB: no way back" in told
    assert "- 3, once 1 is good" in told


def test_a_plan_never_holds_a_secret() -> None:
    plan = make_plan(make.make_inputs())
    for secret in plan.hosts[0].secrets:
        assert len(secret.fingerprint) == 16
        assert secret.fingerprint in shown(plan)
