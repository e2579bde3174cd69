"""The order of a rehearsal's steps, and where it stops when one fails; the lab is left out."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any, cast

import pytest

from bastide.layout import RehearsalFolder
from bastide.progress import SilentProgress
from bastide.rehearsal import play as plays
from bastide.rehearsal.control import Answer
from bastide.rehearsal.play import Play
from bastide.rehearsal.steps import Steps
from bastide.schema.plan import Plan
from bastide.schema.rehearsal import Failure, RehearsedStep, StepName

SHA = "a" * 64
BAD = Failure(code="BAS-6006", message="alpha failed")


class Director(Steps):
    """Steps that say what they are told to say.

    Args:
        failing: The step that fails.
        changes: Whether the plan has any.
    """

    def __init__(self, failing: str = "", *, changes: bool = True) -> None:
        self.failing = failing
        self.client = {}
        self.expected = {}
        self.control = cast("Any", SimpleNamespace(bastide=self._bastide, asking=self._asking))
        self._plan = Plan(
            site="plant",
            release="starter-2026.12.0",
            bundle=SHA,
            site_digest=SHA,
            facts_digest=SHA,
            created="now",
            hosts=(_host(changes=changes),),
        )

    def _bastide(self, *_: str, tell: Callable[[str], None]) -> Answer:  # noqa: ARG002
        failure = BAD if self.failing == "plan" else None
        return Answer("bastide plan", {"plan": self._plan.model_dump(mode="json")}, failure)

    @contextmanager
    def _asking(self, _: Mapping[str, Any]) -> Iterator[None]:
        yield

    def _step(self, name: StepName) -> RehearsedStep:
        failure = BAD if name == self.failing else None
        return RehearsedStep(
            name=name, title=name, good=failure is None, seconds=1, failure=failure
        )

    def command(self, name: StepName, *_: object, **__: object) -> RehearsedStep:
        return self._step(name)

    def load(self) -> tuple[RehearsedStep, int]:
        return self._step("load"), 64

    def warm_up(self) -> Failure | None:
        return Failure(code="BAS-7055", message="no chat") if self.failing == "warm_up" else None

    def digests(self) -> dict[str, str]:
        return {"rehearsal": SHA}

    def compared(self, step: RehearsedStep, _: Mapping[str, str]) -> RehearsedStep:
        if self.failing == "data" and step.name == "rollback":
            lost = Failure(code="BAS-7053", message="other data")
            return step.replace(good=False, failure=lost)
        return step

    def settled(self) -> RehearsedStep:
        return self._step("settled")


def _host(*, changes: bool) -> dict[str, Any]:
    return {
        "host": "alpha",
        "address": "10.0.0.11",
        "groups": ["llm"],
        "generation_before": 1,
        "generation_after": 2,
        "generation_digest": SHA,
        "tree_sha256": SHA,
        "units": [{"name": "bastide-llm.service", "action": "restart"}] if changes else [],
        "drift": ["something"] if changes else [],
    }


@pytest.fixture
def begin(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> Callable[..., Play]:
    monkeypatch.setattr(plays, "seed", lambda *_: SimpleNamespace(id="20261126"))

    def make(director: Director, *, installed: bool = True) -> Play:
        release = SimpleNamespace(upgrade=SimpleNamespace(expected_interruption={}))
        players: Any = SimpleNamespace(
            present=object() if installed else None, wanted=SimpleNamespace(release=release)
        )
        return Play(players, RehearsalFolder(tmp_path), director, SilentProgress())

    return make


def names(play: Play) -> list[str]:
    return [step.name for step in play.found]


def test_the_whole_play(begin: Callable[..., Play]) -> None:
    play = begin(Director())
    assert play.go() is None
    assert names(play) == ["install", "load", "upgrade", "rollback", "upgrade_again", "settled"]


def test_an_empty_site_is_installed_and_has_no_way_back(begin: Callable[..., Play]) -> None:
    play = begin(Director(), installed=False)
    assert play.go() is None
    assert names(play) == ["upgrade", "load", "settled"]


def test_a_plan_without_changes_has_no_way_back(begin: Callable[..., Play]) -> None:
    play = begin(Director(changes=False))
    assert play.go() is None
    assert names(play) == ["install", "load", "upgrade", "settled"]


@pytest.mark.parametrize(
    ("failing", "code", "last"),
    [
        ("install", "BAS-7050", "install"),
        ("load", "BAS-7055", "load"),
        ("plan", "BAS-7051", "load"),
        ("warm_up", "BAS-7055", "load"),
        ("upgrade", "BAS-7051", "upgrade"),
        ("rollback", "BAS-7052", "rollback"),
        ("data", "BAS-7053", "rollback"),
        ("upgrade_again", "BAS-7054", "upgrade_again"),
        ("settled", "BAS-7054", "settled"),
    ],
)
def test_it_stops_at_the_first_failure(
    begin: Callable[..., Play], failing: str, code: str, last: str
) -> None:
    play = begin(Director(failing))
    failure = play.go()
    assert failure is not None
    assert failure.code == code
    assert names(play)[-1] == last
