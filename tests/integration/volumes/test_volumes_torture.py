"""A short form of ``tests/torture``; BASTIDE_TORTURE=1 runs the full counts."""

from __future__ import annotations

import os

import import_points
import mutations
import pytest
from torture_faults import Faults
from torture_mutators import MUTATORS

pytestmark = pytest.mark.integration

FULL = bool(os.environ.get("BASTIDE_TORTURE"))


def test_one_plain_rerun_reaches_the_good_state_from_any_point() -> None:
    counts = import_points.run(240 if FULL else 36, seed=3)
    assert not [key for key in counts if key[2] == "bad"], import_points.table(counts)
    stopped = sum(count for key, count in counts.items() if key[2] == "good")
    assert stopped > counts.total() / 2, "the faults hardly stopped an import"


def test_the_power_cut_would_catch_an_import_that_does_not_sync(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    real = Faults._synced

    def only_names(self: Faults, descriptor: int) -> None:
        real(self, descriptor)
        self._data.clear()

    monkeypatch.setattr(Faults, "_synced", only_names)
    scene_counts = import_points.run(36, seed=4)
    bad = {key for key in scene_counts if key[2] == "bad"}
    assert bad, "nothing that was not synced was ever missed"
    assert {kind for _, kind, _ in bad} == {"power cut"}


def test_random_mutations_of_signed_media_are_refused_or_mended() -> None:
    counts, codes = mutations.run(10_000 if FULL else 120, seed=5)
    bad = {key: n for key, n in counts.items() if key[1] not in mutations.GOOD}
    assert not bad, mutations.table(counts, codes)
    for kind in (*MUTATORS, mutations.BOMBS):
        assert counts[kind, "refused"], f"nothing was refused of the {kind}"
