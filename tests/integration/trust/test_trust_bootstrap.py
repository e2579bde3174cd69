"""bootstrap.py against real signed bundles, tampered ones, and published test vectors."""

from __future__ import annotations

import ast
import hashlib
import importlib.util
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given, settings
from hypothesis import strategies as st

import bastide.bundle

pytestmark = pytest.mark.integration
SCRIPT = Path(bastide.bundle.__file__).with_name("bootstrap.py")


def load(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("bootstrap_under_test", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


BOOT = load(SCRIPT)


def test_it_is_short_and_needs_only_the_standard_library() -> None:
    lines = SCRIPT.read_text().splitlines()
    assert len(lines) <= 200
    assert max(map(len, lines)) <= 100
    tree = ast.parse(SCRIPT.read_text())
    names = {a.name for n in ast.walk(tree) if isinstance(n, ast.Import) for a in n.names}
    names |= {str(n.module) for n in ast.walk(tree) if isinstance(n, ast.ImportFrom)}
    assert {name.partition(".")[0] for name in names} <= set(sys.stdlib_module_names)


# RFC 8032, 7.1: tests 1, 2, 3, 1024 (shortened to its key) and SHA(abc).
RFC8032 = [
    (
        "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
        "",
        "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b",
    ),
    (
        "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
        "72",
        "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00",
    ),
    (
        "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025",
        "af82",
        "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a",
    ),
    (
        "ec172b93ad5e563bf4932c70e1245034c35467ef2efd4d64ebf819683467e2bf",
        "ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f",
        "dc2a4459e7369633a52b1bf277839a00201009a3efbf3ecb69bea2186c26b58909351fc9ac90b3ecfdfbc7c66431e0303dca179c138ac17ad9bef1177331a704",
    ),
]


@pytest.mark.parametrize(("key", "message", "signature"), RFC8032)
def test_ed25519_vectors_of_rfc_8032(key: str, message: str, signature: str) -> None:
    content, signed = bytes.fromhex(message), bytes.fromhex(signature)
    assert BOOT.ed25519(key, content, signed)
    assert not BOOT.ed25519(key, content + b"x", signed)
    s = int.from_bytes(signed[32:], "little") + BOOT.L  # the same signature, malleated
    assert not BOOT.ed25519(key, content, signed[:32] + s.to_bytes(32, "little"))


def refuses(verify: Callable[..., bool], key: str, message: bytes, signature: bytes) -> bool:
    try:
        return not verify(key, message, signature)
    except (ValueError, LookupError):
        return True


@settings(max_examples=25)
@given(st.binary(max_size=200), st.integers(0, 511))
def test_ed25519_agrees_with_openssl(message: bytes, bit: int) -> None:
    private = ed25519.Ed25519PrivateKey.generate()
    key, signature = private.public_key().public_bytes_raw().hex(), private.sign(message)
    assert BOOT.ed25519(key, message, signature)
    wrong = (int.from_bytes(signature, "big") ^ 1 << bit).to_bytes(64, "big")
    assert refuses(BOOT.ed25519, key, message, wrong)
    assert refuses(BOOT.ed25519, key, message + b"\0", signature)


@settings(max_examples=25)
@given(st.binary(max_size=200), st.integers(0, 29))
def test_p256_agrees_with_openssl(message: bytes, place: int) -> None:
    private = ec.generate_private_key(ec.SECP256R1())
    form = (Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    key = private.public_key().public_bytes(*form).decode()
    signature = private.sign(message, ec.ECDSA(SHA256()))
    assert BOOT.p256(key, message, signature)
    wrong = bytearray(signature)
    wrong[-1 - place] ^= 1  # in s: two bytes of DER before it have several spellings
    assert refuses(BOOT.p256, key, message, bytes(wrong))
    assert refuses(BOOT.p256, key, message + b"\0", signature)
    for r, s in ((0, 0), (0, 1), (1, 0), (BOOT.N, 1), (1, BOOT.N)):
        der = b"".join(b"\x02\x21" + number.to_bytes(33, "big") for number in (r, s))
        assert refuses(BOOT.p256, key, message, b"\x30" + bytes([len(der)]) + der)


# --- real bundles ---
@pytest.fixture
def signed(machine: Callable[[str], Any], make_bundle: Callable[..., Path]) -> tuple[Any, Path]:
    """Return a publisher with P-256 and Ed25519 keys and rotations, and a signed bundle."""
    acme = machine("acme")
    acme("trust", "init", "--owner", "alice", "--algorithm", "ecdsa-p256")
    first = acme("trust", "fingerprint")["result"]["fingerprint"]
    roles = acme("trust", "status")["result"]["publishes"]["roles"]
    acme("trust", "rotate", roles[-1]["keys"][0].split()[1])
    assert acme("trust", "fingerprint")["result"]["fingerprint"] != first
    bundle = make_bundle()
    acme("trust", "sign", bundle)
    (bundle / "first").write_text(first)
    return acme, bundle


def boot(bundle: Path, *options: str) -> str:
    """Run the bundle's bootstrap with the system's Python rules: no site, no user packages."""
    folder = bundle.parent / "venv"
    done = subprocess.run(
        [sys.executable, "-I", "-S", str(bundle / "bootstrap.py"), *options, str(folder)],
        check=False,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
    )
    assert done.returncode == 1
    assert not folder.exists()
    assert "Traceback" not in done.stderr
    return done.stderr


PROVED = "the bundle carries no uv"  # the first thing that is missed once everything is proved


def test_a_signed_bundle_is_proved_from_any_of_its_roots(signed: tuple[Any, Path]) -> None:
    acme, bundle = signed
    newest = acme("trust", "fingerprint")["result"]
    for fingerprint in (newest["fingerprint"], newest["groups"], (bundle / "first").read_text()):
        assert PROVED in boot(bundle, "--root", fingerprint)
    digest = hashlib.sha256((bundle / "bundle.json").read_bytes()).hexdigest()
    assert PROVED in boot(bundle, "--expect", digest)
    assert PROVED in boot(bundle, "--expect", digest, "--root", newest["fingerprint"])
    assert "bundle.json is damaged" in boot(
        bundle, "--expect", "0" * 64, "--root", newest["groups"]
    )


def test_without_a_fingerprint_nothing_is_believed(signed: tuple[Any, Path]) -> None:
    _, bundle = signed
    assert "give --root FINGERPRINT" in boot(bundle)
    assert "no root of this bundle" in boot(bundle, "--root", "0" * 64)


TAMPERED = [
    "bundle.json",
    "bootstrap.py",
    "manifest.json",
    "metadata/1.root.json",
    "metadata/2.root.json",
    "metadata/1.targets.json",
    "metadata/1.snapshot.json",
    "metadata/timestamp.json",
]


@pytest.mark.parametrize("name", TAMPERED)
def test_a_changed_byte_is_refused(signed: tuple[Any, Path], name: str) -> None:
    _, bundle = signed
    fingerprint = (bundle / "first").read_text()
    path = bundle / name
    content = path.read_bytes()
    for place in range(0, len(content), max(1, len(content) // 12)):
        changed = bytearray(content)
        if changed[place : place + 1].isalpha():
            continue  # hex of another case, or running a changed script: said in docs/security.md
        changed[place] ^= 2
        if name == "bootstrap.py":
            changed = bytearray(content + b"# changed\n")
        path.write_bytes(bytes(changed))
        assert PROVED not in boot(bundle, "--root", fingerprint), place
    path.unlink()
    if name not in {"bootstrap.py", "metadata/2.root.json"}:
        assert PROVED not in boot(bundle, "--root", fingerprint)


def test_another_publisher_below_the_right_root_is_refused(
    signed: tuple[Any, Path], machine: Callable[[str], Any], make_bundle: Callable[..., Path]
) -> None:
    _, bundle = signed
    other, theirs = machine("other"), make_bundle(text="evil\n")
    other("trust", "init", "--development")
    other("trust", "sign", theirs)
    fingerprint = (bundle / "first").read_text()
    assert "no root of this bundle" in boot(theirs, "--root", fingerprint)
    for number in (1, 2):
        shutil.copy(bundle / f"metadata/{number}.root.json", theirs / "metadata")
    assert "too few valid signatures" in boot(theirs, "--root", fingerprint)
    for name in ("timestamp.json", "1.snapshot.json", "1.targets.json"):
        shutil.copy(bundle / "metadata" / name, theirs / "metadata")
    assert "does not name this bundle" in boot(theirs, "--root", fingerprint)


def test_one_signature_twice_counts_once(signed: tuple[Any, Path]) -> None:
    _, bundle = signed
    path = bundle / "metadata/1.root.json"
    plain = json.loads(path.read_bytes())
    plain["signed"]["roles"]["root"]["threshold"] = 2
    says = BOOT.canonical(plain["signed"]).encode()
    plain["signatures"] *= 2
    path.write_text(json.dumps(plain))
    assert PROVED not in boot(bundle, "--root", hashlib.sha256(says).hexdigest())
