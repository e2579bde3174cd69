"""Receipts: what is signed is what is read, and nothing else is."""

from __future__ import annotations

import json
import stat
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bastide.bundle.since import accept_key
from bastide.errors import BastideError, BundleError, TrustError
from bastide.progress import SilentProgress
from bastide.schema.receipt import (
    COMPACT_BUNDLES,
    COMPACT_PREFIX,
    CompactReceipt,
    HeldBlob,
    HeldBundle,
    Receipt,
    Statement,
    fingerprint,
    parse_compact,
)
from bastide.store.receipt import load_receipt, receipt_key, sign_compact, sign_receipt

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)


def statement(bundles: int = 2, blobs: int = 3) -> Statement:
    return Statement(
        site="north-3",
        issued_at=NOW,
        trusted_root=4,
        imports=bundles,
        bundles=tuple(
            HeldBundle(
                bundle=f"{n:064x}",
                release="starter-2026.11.0",
                target="debian12-x86_64",
                sequence=n + 1,
            )
            for n in range(bundles)
        ),
        blobs=tuple(HeldBlob(sha256=f"{n:064x}", size=n * 10**7) for n in range(blobs)),
    )


def save(folder: Path, content: bytes) -> Path:
    path = folder / "receipt"
    path.write_bytes(content)
    return path


def test_key_is_made_once_and_is_only_its_owners(tmp_path: Path) -> None:
    path = tmp_path / "home" / "receipt-key.pem"
    first = receipt_key(path).public_key().public_bytes_raw()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert receipt_key(path).public_key().public_bytes_raw() == first


def test_a_key_file_with_nonsense_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BastideError) as caught:
        receipt_key(save(tmp_path, b"nonsense"))
    assert caught.value.code == "BAS-1004"


def test_a_signed_receipt_is_read_back(tmp_path: Path) -> None:
    receipt = sign_receipt(statement(), receipt_key(tmp_path / "key"))
    assert load_receipt(save(tmp_path, receipt.canonical())) == receipt


def test_an_ordinary_site_fits_64_kibibytes(tmp_path: Path) -> None:
    receipt = sign_receipt(statement(bundles=8, blobs=400), receipt_key(tmp_path / "key"))
    assert len(receipt.canonical()) <= 64 * 1024


@pytest.mark.parametrize(
    "change", [{"imports": 9}, {"site": "south"}, {"trusted_root": 5}, {"blobs": []}]
)
def test_a_changed_statement_is_refused(tmp_path: Path, change: dict[str, object]) -> None:
    plain = json.loads(sign_receipt(statement(), receipt_key(tmp_path / "key")).canonical())
    plain["statement"].update(change)
    with pytest.raises(TrustError) as caught:
        load_receipt(save(tmp_path, json.dumps(plain).encode()))
    assert caught.value.code == "BAS-4060"


def test_the_signature_of_one_form_does_not_serve_the_other(tmp_path: Path) -> None:
    key = receipt_key(tmp_path / "key")
    receipt, compact = sign_receipt(statement(), key), sign_compact(statement(), key)
    with pytest.raises(TrustError):
        load_receipt(save(tmp_path, receipt.replace(signature=compact.signature).canonical()))


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b"\xff\xfe", b'{"format":"bastide.receipt/2"}', b"x" * 10**6]
)
def test_what_is_no_receipt_is_refused(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(BundleError) as caught:
        load_receipt(save(tmp_path, content))
    assert caught.value.code == "BAS-3060"


def test_a_file_that_is_not_there_is_said_so(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="No such file"):
        load_receipt(tmp_path / "none")


def test_the_compact_form_comes_back_from_its_text(tmp_path: Path) -> None:
    compact = sign_compact(statement(bundles=5), receipt_key(tmp_path / "key"))
    assert parse_compact(compact.text()) == compact
    wrapped = "\n".join(compact.text()[n : n + 40] for n in range(0, len(compact.text()), 40))
    assert load_receipt(save(tmp_path, wrapped.encode())) == compact


def test_of_many_bundles_the_compact_form_names_the_newest(tmp_path: Path) -> None:
    compact = sign_compact(statement(bundles=100), receipt_key(tmp_path / "key"))
    assert len(compact.bundles) == COMPACT_BUNDLES
    assert compact.bundles[-1] == f"{99:064x}"
    assert len(compact.text()) < 2_000, "a code of this size is read from a screen"


@settings(
    max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(where=st.integers(0, 2000), letter=st.sampled_from("ABCDEFGHIJKLMNOPQRSTUVWXYZ234567 -1"))
def test_a_misread_letter_is_noticed(tmp_path: Path, where: int, letter: str) -> None:
    text = sign_compact(statement(), receipt_key(tmp_path / "key")).text()
    place = len(COMPACT_PREFIX) + where % (len(text) - len(COMPACT_PREFIX))
    misread = text[:place] + letter + text[place + 1 :]
    path = save(tmp_path, misread.encode())
    try:
        found = load_receipt(path)
    except (BundleError, TrustError):
        return
    assert isinstance(found, CompactReceipt)
    assert found.text() == text, "bits that carry nothing may differ, nothing else"


@settings(max_examples=200, deadline=None)
@given(content=st.text(max_size=300))
def test_any_text_is_a_receipt_or_refused(content: str) -> None:
    try:
        parse_compact(content)
    except ValueError as error:
        assert str(error)  # noqa: PT017 - a message, not a bare exception


def note(heard: list[str]) -> SilentProgress:
    class Heard(SilentProgress):
        def note(self, text: str) -> None:
            heard.append(text)

    return Heard()


def test_the_first_key_of_a_site_is_remembered_with_a_word(tmp_path: Path) -> None:
    receipt = sign_receipt(statement(), receipt_key(tmp_path / "key"))
    known, heard = tmp_path / "known.json", list[str]()
    accept_key(receipt, known, None, note(heard))
    assert "compare it" in heard[0]
    assert json.loads(known.read_text()) == {"north-3": fingerprint(receipt.key_bytes)}
    accept_key(receipt, known, None, note(heard))
    assert len(heard) == 1, "the second receipt is a matter of course"


def _other(tmp_path: Path) -> Receipt:
    return sign_receipt(statement(), receipt_key(tmp_path / "other"))


def test_another_key_is_refused_until_the_operator_says_so(tmp_path: Path) -> None:
    known = tmp_path / "known.json"
    accept_key(sign_receipt(statement(), receipt_key(tmp_path / "key")), known, None, note([]))
    other = _other(tmp_path)
    with pytest.raises(TrustError) as caught:
        accept_key(other, known, None, note([]))
    assert caught.value.code == "BAS-4061"
    accept_key(other, known, fingerprint(other.key_bytes), note([]))
    accept_key(other, known, None, note([]))


def test_a_given_fingerprint_refuses_any_other_key(tmp_path: Path) -> None:
    with pytest.raises(TrustError) as caught:
        accept_key(_other(tmp_path), tmp_path / "known.json", "0" * 64, note([]))
    assert caught.value.code == "BAS-4061"
    assert not (tmp_path / "known.json").exists()


def test_damaged_memory_of_keys_is_not_taken_for_none(tmp_path: Path) -> None:
    (tmp_path / "known.json").write_text("[]")
    with pytest.raises(TrustError) as caught:
        accept_key(_other(tmp_path), tmp_path / "known.json", None, note([]))
    assert caught.value.code == "BAS-4061"
