from __future__ import annotations

import contextlib
import json
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bastide.errors import TrustError
from bastide.host.lock import exclusive_lock
from bastide.trust.acceptance import Acceptance, load_acceptances, record_acceptance

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
TERMS = "a" * 64


def accept(path: Path, **changes: object) -> Acceptance:
    fields: dict[str, object] = {
        "licence": "Gemma Terms of Use",
        "terms_sha256": TERMS,
        "by": "M. Ortiz",
        "reason": "evaluation on the test site",
        "now": NOW,
    }
    return record_acceptance(path, **{**fields, **changes})  # type: ignore[arg-type]


def test_what_is_recorded_is_loaded_in_order(tmp_path: Path) -> None:
    path = tmp_path / "acceptances.json"
    assert load_acceptances(path) == ()
    first = accept(path)
    second = accept(path, licence="Llama 3.2 Community License", terms_sha256=None)
    assert load_acceptances(path) == (first, second)
    assert first.at == NOW


def test_the_file_is_private_and_readable(tmp_path: Path) -> None:
    path = tmp_path / "acceptances.json"
    accept(path)
    assert path.stat().st_mode & 0o777 == 0o600
    plain = json.loads(path.read_text())
    assert plain["format"] == "bastide.acceptances/1"
    assert plain["acceptances"][0]["by"] == "M. Ortiz"


def test_saying_it_again_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "acceptances.json"
    first = accept(path)
    before = path.read_bytes()
    assert accept(path, now=NOW + timedelta(days=3)) == first
    assert path.read_bytes() == before
    accept(path, by="somebody else")
    assert len(load_acceptances(path)) == 2


def test_times_are_kept_in_utc(tmp_path: Path) -> None:
    elsewhere = NOW.astimezone(timezone(timedelta(hours=5)))
    accepted = accept(tmp_path / "a.json", now=elsewhere)
    assert accepted.at == NOW
    assert accepted.at.utcoffset() == timedelta(0)


@pytest.mark.parametrize("field", ["licence", "by", "reason"])
@pytest.mark.parametrize("value", ["", "  ", "two\nlines", "\x1b[2J", "x" * 1001])
def test_an_acceptance_says_who_and_why(tmp_path: Path, field: str, value: str) -> None:
    path = tmp_path / "acceptances.json"
    with pytest.raises(TrustError) as caught:
        accept(path, **{field: value})
    assert caught.value.code == "BAS-4051"
    assert [problem.where for problem in caught.value.problems] == [field]
    assert not path.exists()


def test_covers_the_licence_and_its_very_terms() -> None:
    pinned = Acceptance(licence="G", terms_sha256=TERMS, by="x", reason="y", at=NOW)
    assert pinned.covers("G", TERMS)
    assert pinned.covers("G", None)
    assert not pinned.covers("G", "b" * 64)
    assert not pinned.covers("H", TERMS)
    assert pinned.replace(terms_sha256=None).covers("G", "b" * 64)


@given(st.binary(max_size=300))
def test_a_damaged_file_is_refused_never_believed(
    tmp_path_factory: pytest.TempPathFactory, content: bytes
) -> None:
    path = tmp_path_factory.mktemp("acceptance") / "acceptances.json"
    path.write_bytes(content)
    with pytest.raises(TrustError) as caught:
        load_acceptances(path)
    assert caught.value.code == "BAS-4050"


@given(st.integers(0, 400), st.integers(0, 255))
def test_one_changed_byte_never_crashes(
    tmp_path_factory: pytest.TempPathFactory, place: int, value: int
) -> None:
    path = tmp_path_factory.mktemp("acceptance") / "acceptances.json"
    accept(path)
    content = bytearray(path.read_bytes())
    content[place % len(content)] = value
    path.write_bytes(content)
    with contextlib.suppress(TrustError):
        load_acceptances(path)


def test_a_folder_is_no_record(tmp_path: Path) -> None:
    with pytest.raises(TrustError):
        load_acceptances(tmp_path)


def test_two_writers_do_not_lose_each_other(tmp_path: Path) -> None:
    path = tmp_path / "acceptances.json"
    with (
        exclusive_lock(tmp_path / ".acceptances.json.lock", "test"),
        pytest.raises(Exception, match="locked by"),
    ):
        accept(path)
    assert load_acceptances(path) == ()
