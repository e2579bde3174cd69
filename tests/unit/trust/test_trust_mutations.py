"""Every byte of a medium's metadata counts: whatever is changed, the medium is refused."""

from __future__ import annotations

import json
import random

from hypothesis import given
from hypothesis import strategies as st
from trust_factories import BUNDLE, Medium, Repo, Trial, ed25519

from bastide.errors import BastideError

REPO = Repo()
STATE = REPO.site()
REPO.rotate(lambda repo: repo.keys.update(targets=[ed25519(), ed25519()]))
MEDIUM = REPO.medium(BUNDLE, version=2)
NAMES = sorted(MEDIUM)


def refused(medium: Medium, content: bytes = BUNDLE) -> bool:
    try:
        Trial(medium, STATE, content).judge()
    except BastideError as error:
        return bool(error.exit_code in {3, 4} and error.hint)
    return False


def test_the_medium_itself_passes() -> None:
    assert not refused(MEDIUM)


def mutated(source: random.Random) -> Medium:
    """Return the medium with one change: a flip, a cut, an insertion, a swap or a loss."""
    name = source.choice(NAMES)
    data = bytearray(MEDIUM[name])
    place = source.randrange(len(data))
    match source.randrange(5):
        case 0:
            data[place] ^= 1 << source.randrange(8)
        case 1:
            del data[place:]
        case 2:
            data[place:place] = source.randbytes(source.randint(1, 9))
        case 3:
            del data[place : place + source.randint(1, 9)]
        case _:
            other = source.choice([each for each in NAMES if each != name])
            return {**MEDIUM, name: MEDIUM[other]}
    return {**MEDIUM, name: bytes(data)}


def test_a_thousand_random_changes_are_refused() -> None:
    source = random.Random(20261122)  # noqa: S311
    passed = []
    for number in range(1000):
        medium = mutated(source)
        if medium != MEDIUM and not refused(medium):
            passed.append(number)
    assert passed == []


def test_a_signature_in_upper_case_is_another_spelling() -> None:
    """Found by the changes above: hex of any case verifies."""
    name = "metadata/timestamp.json"
    plain = json.loads(MEDIUM[name])
    plain["signatures"][0]["sig"] = plain["signatures"][0]["sig"].upper()
    text = json.dumps(plain, separators=(",", ":"), sort_keys=True)
    assert refused({**MEDIUM, name: text.encode()})


def test_any_file_may_be_missing_and_is_missed() -> None:
    for name in NAMES:
        medium = {each: data for each, data in MEDIUM.items() if each != name}
        # Roots up to the trusted one are not needed.
        assert refused(medium) == (name != "metadata/1.root.json"), name


@given(st.binary(max_size=400), st.sampled_from(NAMES))
def test_no_bytes_lead_to_anything_but_a_refusal(content: bytes, name: str) -> None:
    assert refused({**MEDIUM, name: content})


@given(st.integers(0, len(BUNDLE) - 1), st.integers(1, 255))
def test_bundle_json_is_pinned_byte_by_byte(place: int, change: int) -> None:
    content = bytearray(BUNDLE)
    content[place] ^= change
    assert refused(MEDIUM, bytes(content))
