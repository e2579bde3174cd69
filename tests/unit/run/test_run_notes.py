"""The monitoring host is told how things ended; what is done does not depend on it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import plan_factories as make
import pytest

from bastide.errors import ConfigError
from bastide.progress import SilentProgress
from bastide.run import notes
from bastide.run.ask import Reply
from bastide.schema.site import SERVING, Group


class Told(SilentProgress):
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.words: list[str] = []

    def note(self, text: str) -> None:
        self.words.append(text)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Return what hosts are asked; each takes it, unless a test says otherwise."""
    found: list[dict[str, Any]] = []

    def ask(_line: object, command: str, given: dict[str, Any], **_: object) -> dict[str, Reply]:
        found.append({"command": command, **given})
        return {host: Reply({"changed": True}, 0, "") for host in given}

    monkeypatch.setattr(notes, "ask", ask)
    return found


MONITORED = {"a": SERVING, "b": (Group.LLM, Group.MONITORING)}


def test_only_the_monitoring_host_is_told(asked: list[dict[str, Any]]) -> None:
    assert notes.note(make.make_site(MONITORED), Path("/site"), "verify", ok=False)
    assert asked[0]["command"] == "note"
    assert set(asked[0]) == {"command", "b"}
    assert asked[0]["b"]["what"] == "verify"
    assert asked[0]["b"]["ok"] is False


@pytest.mark.parametrize("fails", [False, True])
def test_how_it_ended_is_told_and_the_end_stays_the_same(
    asked: list[dict[str, Any]], fails: bool
) -> None:
    told = Told()

    def work() -> None:
        with notes.noted(make.make_site(MONITORED), Path("/site"), "backup", told):
            if fails:
                raise ConfigError("no room")

    if fails:
        with pytest.raises(ConfigError, match="no room"):
            work()
    else:
        work()
    assert asked[0]["b"]["ok"] is not fails
    assert told.words == []


def test_a_host_that_cannot_be_told_is_only_mentioned(monkeypatch: pytest.MonkeyPatch) -> None:
    told = Told()
    monkeypatch.setattr(notes, "ask", lambda *_, **__: {"b": Reply({}, 255, "no route")})
    with notes.noted(make.make_site(MONITORED), Path("/site"), "backup", told):
        pass
    assert told.words == ["monitoring could not be told of this backup"]
