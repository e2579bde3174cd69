from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bastide.errors import BundleError, TrustError
from bastide.schema.artifact import BundleRoot, RootEntry
from bastide.trust.verifier import DigestOnly, parse_root

ROOT = BundleRoot(
    release="starter-1",
    target="debian12-x86_64",
    documents=(RootEntry(path="manifest.json", size=1, sha256="a" * 64),),
    blobs=0,
    blob_bytes=0,
)


def read_nothing(path: str) -> bytes | None:
    assert path.startswith("metadata/")  # which files there are, not what they say
    return None


def test_unsigned_is_said_plainly() -> None:
    verified = DigestOnly().verify(ROOT.canonical(), read_nothing)
    assert verified.root == ROOT
    assert verified.digest == ROOT.digest()
    assert verified.files == ()
    assert not verified.trust.signed
    assert "no signature" in verified.trust.statement
    assert ROOT.digest() in verified.trust.statement
    assert "second channel" in verified.trust.statement


def test_expected_digest_is_accepted() -> None:
    verified = DigestOnly(ROOT.digest()).verify(ROOT.canonical(), read_nothing)
    assert not verified.trust.signed
    assert "the one you gave" in verified.trust.statement


def test_other_digest_is_refused_before_the_document_is_parsed() -> None:
    with pytest.raises(TrustError) as caught:
        DigestOnly("0" * 64).verify(b"not even JSON", read_nothing)
    assert caught.value.code == "BAS-4001"
    assert caught.value.exit_code == 4


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ((b"bastide.bundle/1", b"bastide.bundle/2"), "reads 'bastide.bundle/1'"),
        ((b'"blobs":0', b'"blobs":-1'), "wrong fields"),
        ((b'"blobs":0', b'"blobs":0,"more":1'), "wrong fields"),
        ((b'"blobs":0', b'"blobs":0,"blobs":0'), "changed after it was built"),
        ((b'"blobs":0', b'"blobs": 0'), "changed after it was built"),
        ((b'"blobs":0', b'"blobs":"0"'), "changed after it was built"),
        ((b"\n", b""), "changed after it was built"),
        ((b"{", b""), "not JSON"),
    ],
)
def test_root_in_any_other_spelling_is_refused(change: tuple[bytes, bytes], words: str) -> None:
    with pytest.raises(BundleError, match=words) as caught:
        parse_root(ROOT.canonical().replace(*change, 1))
    assert caught.value.code == "BAS-3102"


@given(st.binary())
def test_no_bytes_lead_to_anything_but_an_error_of_ours(content: bytes) -> None:
    with pytest.raises(BundleError):
        parse_root(content)
