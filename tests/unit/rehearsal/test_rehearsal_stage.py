"""Whose lab is it that stands here: a rehearsal's, or somebody's of the same name?"""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest

from bastide.errors import ConfigError
from bastide.lab import manager
from bastide.lab import state as states
from bastide.lab.spec import LabSpec
from bastide.lab.state import LabState
from bastide.layout import Home
from bastide.progress import SilentProgress
from bastide.rehearsal import stage

NAME = "rehearsal"
KEYS = itertools.count()


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    """Labs without hosts: what ``up`` and ``down`` do beside keys and state is not done."""
    found = Home(tmp_path)
    monkeypatch.setattr(manager, "up", lambda spec, home, *_: raised(home, spec))
    monkeypatch.setattr(manager, "down", lambda home, name, *_: removed(home, name))
    return found


def raised(home: Home, spec: LabSpec) -> LabState:
    folder = states.folder_of(home, spec.name)
    folder.root.mkdir(parents=True, exist_ok=True)
    if not folder.private_key.exists():
        folder.private_key.parent.mkdir(parents=True, exist_ok=True)
        folder.private_key.write_text(f"key {next(KEYS)}")
    lab = manager.describe(spec, folder, 1)
    states.save(lab)
    return lab


def removed(home: Home, name: str) -> None:
    folder = states.folder_of(home, name)
    folder.state.unlink(missing_ok=True)
    folder.private_key.unlink(missing_ok=True)


def rehearse(home: Home) -> None:
    """Raise a rehearsal's lab, and keep it."""
    stage.claim(home, NAME, SilentProgress())
    stage.raise_lab(home, NAME, "bookworm", 1, SilentProgress())


def test_a_kept_lab_makes_room_for_the_next_rehearsal(home: Home) -> None:
    rehearse(home)
    before = states.load(home, NAME).ssh_private_key.read_text()
    rehearse(home)
    assert states.load(home, NAME).ssh_private_key.read_text() != before


def test_somebodys_lab_is_not_taken_even_if_a_kept_one_had_its_name(home: Home) -> None:
    rehearse(home)
    removed(home, NAME)  # `bastide lab down`
    theirs = raised(home, LabSpec(name=NAME))
    with pytest.raises(ConfigError, match="no rehearsal has raised"):
        stage.claim(home, NAME, SilentProgress())
    assert theirs.ssh_private_key.exists()


def test_a_lab_that_no_rehearsal_has_raised_is_refused(home: Home) -> None:
    raised(home, LabSpec(name=NAME))
    with pytest.raises(ConfigError, match="no rehearsal has raised"):
        stage.claim(home, NAME, SilentProgress())


def test_what_a_rehearsal_left_that_was_killed_early_is_removed(home: Home) -> None:
    stage.claim(home, NAME, SilentProgress())
    raised(home, LabSpec(name=NAME))  # killed before it could note whose lab it is
    stage.claim(home, NAME, SilentProgress())
    assert states.find(home, NAME) is None
