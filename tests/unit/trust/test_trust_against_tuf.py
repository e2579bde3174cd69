"""What python-tuf's own client refuses is refused here too; what is honest both let pass.

That client judges expiry on the way and opens a socket when it is loaded (which is why it is not
used), so it is asked with a clock that suits the medium.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable
from datetime import timedelta
from functools import partial

import pytest
from trust_attacks import ATTACKS, Attack
from trust_factories import BUNDLE, NOW, Repo, Trial
from tuf.api.exceptions import EqualVersionNumberError, RepositoryError
from tuf.ngclient._internal.trusted_metadata_set import TrustedMetadataSet
from tuf.ngclient.config import EnvelopeType

from bastide.errors import TrustError


def tuf_accepts(trial: Trial) -> bool:
    """Return whether python-tuf's client accepts the metadata and the bundle of a trial."""
    state, medium = trial.state, trial.medium
    trusted = TrustedMetadataSet(state.root.encode(), EnvelopeType.METADATA)
    trusted.reference_time = trial.now
    try:
        while (root := medium.get(f"metadata/{trusted.root.version + 1}.root.json")) is not None:
            trusted.update_root(root)
        _load_stored(trusted.update_timestamp, state.timestamp)
        with contextlib.suppress(EqualVersionNumberError):
            trusted.update_timestamp(medium["metadata/timestamp.json"])
        _load_stored(partial(trusted.update_snapshot, trusted=True), state.snapshot)
        version = trusted.timestamp.snapshot_meta.version
        trusted.update_snapshot(medium[f"metadata/{version}.snapshot.json"])
        version = trusted.snapshot.meta["targets.json"].version
        trusted.update_targets(medium[f"metadata/{version}.targets.json"])
        entries = trusted.targets.targets.values()
        return any(_matches(entry, trial.content) for entry in entries)
    except (RepositoryError, KeyError):
        return False


def _matches(entry: object, content: bytes) -> bool:
    try:
        entry.verify_length_and_hashes(content)  # type: ignore[attr-defined]
    except RepositoryError:
        return False
    return True


def _load_stored(update: Callable[[bytes], object], stored: str | None) -> None:
    if stored is not None:
        # As python-tuf's own updater: what no longer verifies is left out.
        with contextlib.suppress(RepositoryError, RuntimeError):
            update(stored.encode())


def ours_accepts(trial: Trial) -> bool:
    try:
        trial.judge()
    except TrustError:
        return False
    return True


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.name)
def test_nothing_that_tuf_refuses_passes_here(attack: Attack) -> None:
    trial = attack.show()
    assert tuf_accepts(trial) or not ours_accepts(trial)


def test_tuf_refuses_most_of_the_attacks_as_well() -> None:
    """The oracle is awake: it is not one that accepts everything."""
    refused = [attack.name for attack in ATTACKS if not tuf_accepts(attack.show())]
    assert len(refused) >= 30, refused


@pytest.mark.parametrize("rotations", range(3))
def test_both_accept_what_is_honest(rotations: int) -> None:
    repo = Repo()
    state = repo.site()
    for _ in range(rotations):
        repo.rotate()
    trial = Trial(repo.medium(BUNDLE), state, now=NOW + timedelta(days=3))
    assert tuf_accepts(trial)
    assert ours_accepts(trial)
    assert json.loads(trial.judge().state.root)["signed"]["version"] == rotations + 1
