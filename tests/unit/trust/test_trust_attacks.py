"""Every named attack is refused, with the right code; what is honest passes."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from trust_attacks import ATTACKS, Attack
from trust_factories import (
    BUNDLE,
    NEWER,
    NOW,
    OLDER,
    Repo,
    Trial,
    bundle,
    digest,
    ed25519,
    seen,
)

from bastide.errors import TrustError
from bastide.trust.client import Policy

PAGE = Path(__file__).resolve().parents[3] / "docs" / "security.md"


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.name)
def test_attack_is_refused(attack: Attack) -> None:
    trial = attack.show()
    with pytest.raises(TrustError) as caught:
        trial.judge()
    assert caught.value.code == attack.code, str(caught.value)
    assert caught.value.exit_code == 4
    assert caught.value.hint


def test_there_are_at_least_forty() -> None:
    names = [attack.name for attack in ATTACKS]
    assert len(names) == len(set(names))
    assert len(names) >= 40


def test_page_and_suite_name_the_same_attacks() -> None:
    rows = re.findall(r"^\| ([^|]+) \| ([^|]+) \| (BAS-\d{4}) \|$", PAGE.read_text(), re.MULTILINE)
    assert sorted(rows) == sorted((each.kind, each.name, each.code) for each in ATTACKS)


# --- what must pass: the controls of the attacks above ---
def test_honest_medium_passes_and_says_what_was_proved() -> None:
    repo = Repo()
    verdict = Trial(repo.medium(BUNDLE), repo.site(), now=NOW + timedelta(days=12)).judge()
    proof = verdict.verified.trust.proof
    assert proof is not None
    assert (proof.root, proof.age_days) == (1, 12)
    assert (proof.clock, proof.authority) == ("plausible", "medium")
    assert len(proof.signers["targets"]) == 2
    assert set(verdict.verified.files) == set(repo.medium(BUNDLE))
    assert "12 days old" in verdict.verified.trust.statement


def test_rotations_travel_with_the_medium() -> None:
    repo = Repo()
    state = repo.site()
    for _ in range(4):
        repo.rotate(lambda r: r.keys.update({role: [ed25519(), ed25519()] for role in r.keys}))
    verdict = Trial(repo.medium(BUNDLE), state).judge()
    assert verdict.state.root == repo.roots[5].decode()
    assert verdict.verified.trust.proof is not None
    assert verdict.verified.trust.proof.root == 5


def test_an_expired_root_is_replaced_by_the_next_one() -> None:
    """RAUC's fleets were stranded by an expired certificate; a chain of roots is not."""
    repo = Repo()
    state = repo.site()
    repo.rotate(life=timedelta(days=5000))
    late = NOW + timedelta(days=1000)
    assert Trial(repo.medium(BUNDLE, signed=late), state, now=late).judge()


def test_the_same_medium_again_changes_nothing() -> None:
    repo = Repo()
    medium = repo.medium(BUNDLE)
    state = seen(repo, medium)
    assert Trial(medium, state).judge().state == state


def test_media_may_arrive_in_any_order() -> None:
    repo = Repo()
    other = bundle("starter-2026.11.0", "alma9-x86_64")
    late = repo.medium(BUNDLE, other, version=2)
    verdict = Trial(repo.medium(BUNDLE), seen(repo, late, other)).judge()
    assert verdict.verified.trust.proof is not None
    assert verdict.verified.trust.proof.authority == "site"
    assert verdict.state == seen(repo, late, other)  # and the ratchet did not move back


def test_fast_forward_is_recovered_by_rotating_the_key() -> None:
    repo = Repo()
    state = seen(repo, repo.medium(BUNDLE, versions={"timestamp": 2**31, "snapshot": 2**31}))
    repo.rotate(lambda r: r.keys.update(timestamp=[ed25519()], snapshot=[ed25519()]))
    verdict = Trial(repo.medium(NEWER, version=2), state, NEWER).judge()
    assert verdict.verified.trust.proof is not None
    assert verdict.verified.trust.proof.versions["timestamp"] == 2


def test_a_poisoned_floor_is_dropped_with_the_rotated_key() -> None:
    repo = Repo()
    far = NOW + timedelta(days=600)
    state = seen(repo, repo.medium(BUNDLE, signed=far))
    assert state.floor == far
    repo.rotate(lambda r: r.keys.update(timestamp=[ed25519()]))
    assert Trial(repo.medium(NEWER, version=2), state, NEWER).judge().state.floor == NOW


@pytest.mark.parametrize(
    "now",
    [
        datetime(1970, 1, 1, tzinfo=UTC),
        NOW - timedelta(days=400),
        NOW - timedelta(hours=20),
        NOW + timedelta(days=170),
    ],
)
def test_a_wrong_clock_is_no_dead_end(now: datetime) -> None:
    repo = Repo()
    proof = Trial(repo.medium(BUNDLE), repo.site(), now=now).judge().verified.trust.proof
    assert proof is not None
    behind = now < NOW - timedelta(days=1)
    assert proof.clock == ("behind" if behind else "plausible")
    assert (proof.age_days is None) == behind


@pytest.mark.parametrize("now", [NOW + timedelta(days=400), datetime(2038, 1, 20, tzinfo=UTC)])
def test_stale_is_taken_on_the_record(now: datetime) -> None:
    repo = Repo()
    policy = Policy(accept_stale="clock battery is dead")
    verdict = Trial(repo.medium(BUNDLE), repo.site(), now=now, policy=policy).judge()
    (override,) = verdict.verified.trust.overrides
    assert (override.what, override.reason) == ("stale", "clock battery is dead")
    assert "clock battery is dead" in verdict.verified.trust.statement
    # A clock that is ahead must not poison what comes later.
    assert verdict.state.floor == NOW


def test_going_back_on_purpose_is_on_the_record_and_leaves_the_ratchet() -> None:
    repo = Repo()
    old = repo.medium(OLDER)
    state = seen(repo, repo.medium(NEWER, version=2), NEWER)
    repo.rotate(lambda r: r.keys.update(timestamp=[ed25519()]))
    policy = Policy(accept_older="the new engine is slower", known=frozenset({digest(OLDER)}))
    verdict = Trial(old, state, OLDER, policy=policy).judge()
    assert verdict.state == state
    (override,) = verdict.verified.trust.overrides
    assert (override.what, override.reason) == ("older", "the new engine is slower")
    assert set(verdict.verified.files) == set(old)
