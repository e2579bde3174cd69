"""Clients and their keys: whatever is done to them in whatever order, what must hold holds."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pytest
from bastide_host.keys import _LINE
from hypothesis import given
from hypothesis import strategies as st

from bastide.errors import ConfigError
from bastide.schema.access import Limits, Role
from bastide.schema.client_key import ClientKey, OwnLimits
from bastide.site import keystore

START = datetime(2026, 11, 26, 12, tzinfo=UTC)
NAMES = st.sampled_from(["a", "app.one", "b-2", "c_3", "x" * 64])
COUNTS = st.none() | st.integers(0, 10**12)
LIMITS = st.builds(
    OwnLimits,
    requests_per_minute=COUNTS,
    vectordb_requests_per_minute=COUNTS,
    concurrent_requests=COUNTS,
    tokens_per_day=COUNTS,
)


@dataclass(frozen=True)
class Step:
    verb: str
    name: str
    role: Role
    limits: OwnLimits
    grace: timedelta
    lasts: timedelta | None
    pause: timedelta


def seconds(most: int) -> st.SearchStrategy[timedelta]:
    return st.integers(0, most).map(lambda count: timedelta(seconds=count))


STEPS = st.lists(
    st.builds(
        Step,
        verb=st.sampled_from(["create", "rotate", "revoke", "tidy"]),
        name=NAMES,
        role=st.sampled_from(list(Role)),
        limits=LIMITS,
        grace=seconds(100),
        lasts=st.none() | seconds(100),
        pause=seconds(60),
    ),
    max_size=25,
)


def entries(clients: keystore.Clients) -> dict[str, list[str]]:
    lines = keystore.keys_map(clients).splitlines()
    assert all(_LINE.fullmatch(line) for line in lines), "what the host agent lets in"
    found = [line.split(" ") for line in lines]
    assert len({digest for digest, _ in found}) == len(found)
    return {digest: entry.split(":") for digest, entry in found}


def accepted(clients: keystore.Clients, now: datetime) -> set[str]:
    """Return the digests that a gateway accepts: as its configuration decides it."""
    known = entries(clients).items()
    return {d for d, e in known if int(e[2]) == 0 or int(e[2]) > int(now.timestamp())}


@given(STEPS)
def test_exactly_the_keys_that_should_hold_are_accepted(steps: list[Step]) -> None:
    clients: keystore.Clients = ()
    now = START
    ends: dict[str, dict[str, datetime | None]] = {}  # what should be: name → digest → end
    for number, step in enumerate(steps):
        digest = keystore.digest_of(f"key {number}")
        end = None if step.lasts is None else now + step.lasts
        known = ends.get(step.name)
        if step.verb == "tidy":
            clients = keystore.without_dead(clients, now)
        elif step.verb == "create" and known is None:
            new = keystore.new_client(step.name, step.role, step.limits, digest, now, step.lasts)
            clients = keystore.create(clients, new)
            ends[step.name] = {digest: end}
        elif step.verb == "create":
            with pytest.raises(ConfigError):
                keystore.create(clients, keystore.find(clients, step.name))
        elif known is None:
            with pytest.raises(ConfigError):
                keystore.revoke(clients, step.name)
        elif step.verb == "revoke":
            clients = keystore.revoke(clients, step.name)
            del ends[step.name]
        else:
            before = keystore.find(clients, step.name)
            after = keystore.rotated(before, digest, now, step.grace, step.lasts)
            clients = tuple(after if each is before else each for each in clients)
            until = now + step.grace
            left: dict[str, datetime | None] = {d: min(until, e or until) for d, e in known.items()}
            ends[step.name] = left | {digest: end}
        held = {d: e for each in ends.values() for d, e in each.items()}
        assert accepted(clients, now) == {d for d, e in held.items() if e is None or e > now}
        assert {each.name for each in clients} == set(ends)
        now += step.pause


@given(LIMITS, st.sampled_from(list(Role)), NAMES)
def test_what_stands_in_the_map_is_what_was_said(limits: OwnLimits, role: Role, name: str) -> None:
    client = keystore.new_client(name, role, limits, "ab" * 32, START, timedelta(seconds=5))
    (entry,) = entries((client,)).values()
    assert entry[:3] == [name, str(role), str(int(START.timestamp()) + 5)]
    values = [None if word == "-" else int(word) for word in entry[3:]]
    assert values == list(limits.model_dump().values())


@given(LIMITS)
def test_a_client_reads_back_as_it_was_written(limits: OwnLimits) -> None:
    client = keystore.new_client("a", Role.USER, limits, "ab" * 32, START, None)
    assert ClientKey.model_validate_json(client.model_dump_json()) == client


@given(st.integers(0, 999_999), st.sampled_from("smhdw"))
def test_durations_mean_what_they_say(number: int, unit: str) -> None:
    seconds = number * {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}[unit]
    if seconds > keystore.MOST.total_seconds():
        with pytest.raises(ConfigError):
            keystore.parse_duration(f"{number}{unit}")
    else:
        assert keystore.parse_duration(f"{number}{unit}") == timedelta(seconds=seconds)


@given(st.text().filter(lambda text: not re.fullmatch(r"[0-9]+[smhdw]", text.strip())))
def test_any_other_text_is_refused_with_a_hint(text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        keystore.parse_duration(text)
    assert caught.value.code == "BAS-2113"
    assert "24h" in caught.value.hint


def test_the_gateway_has_a_place_for_every_limit() -> None:
    assert set(OwnLimits.model_fields) == set(Limits.model_fields)
    assert len(OwnLimits.model_fields) == 4
