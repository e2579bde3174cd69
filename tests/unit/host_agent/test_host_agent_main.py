"""Commands that are put together of others: what is done in which order."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from bastide_host import main as agent

GATEWAY = "bastide-gateway.service"


@pytest.fixture
def done(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the names of what is called, in order."""
    called: list[str] = []

    def stand_in(name: str, **answer: Any) -> None:
        def call(_paths: object, *given: Any, **options: Any) -> dict[str, Any]:
            words = [str(each) for each in given if isinstance(each, list)]
            words += [name for name, value in options.items() if value is True]
            called.append(" ".join([name, *words]))
            return {"changed": False, **answer}

        monkeypatch.setattr(agent, name, call)

    stand_in("restart", changed=True)
    stand_in("rotate_in", changed=True)
    stand_in("health")
    stand_in("promote")
    return called


def run(tmp_path: Path, capsys: pytest.CaptureFixture[str], *argv: str) -> dict[str, Any]:
    assert agent.main([argv[0], f"--root={tmp_path}", *argv[1:]]) == 0
    answer: dict[str, Any] = json.loads(capsys.readouterr().out)
    return answer


@pytest.mark.parametrize(
    ("argv", "wanted"),
    [
        (("--unit=u",), ["restart ['u']"]),
        (("--unit=u", "--answers"), ["restart ['u']", "health ['u']"]),
        (
            (f"--unit={GATEWAY}", "--answers", "--partial"),
            [f"restart ['{GATEWAY}']", "rotate_in []", f"health ['{GATEWAY}'] partial"],
        ),
        (
            (f"--unit={GATEWAY}", "--answers", "--all"),
            [f"restart ['{GATEWAY}']", "rotate_in []", "health []"],
        ),
    ],
)
def test_a_restart_waits_for_what_it_is_asked_to(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    done: list[str],
    argv: tuple[str, ...],
    wanted: list[str],
) -> None:
    assert run(tmp_path, capsys, "restart", *argv)["changed"]
    assert done == wanted


def test_what_is_out_of_rotation_comes_back_when_a_generation_is_kept(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], done: list[str]
) -> None:
    stage = tmp_path / "stage.json"
    stage.write_text('{"format": "bastide.stage/1"}')
    assert run(tmp_path, capsys, "promote", f"--stage={stage}")["changed"]
    assert done == ["promote", "rotate_in []"]
