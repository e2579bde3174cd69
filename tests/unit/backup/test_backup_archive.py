"""Sealing, signing and opening: what is refused, and that nothing of it is used."""

from __future__ import annotations

import io
import json
import stat
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from bastide.backup import archive
from bastide.backup.keys import (
    RecoveryKey,
    add_recipients,
    is_sealed,
    make_recovery_key,
    read_recipients,
    read_recovery_key,
)
from bastide.backup.opening import known_signers, open_backup
from bastide.backup.sealing import seal, unseal
from bastide.errors import BastideError, ConfigError, TrustError
from bastide.layout import BackupFolder, Home
from bastide.progress import SilentProgress
from bastide.schema.backup_archive import (
    CONTENTS,
    CONTROL,
    BackupContents,
    BackupHeader,
    SignedHeader,
)
from bastide.schema.receipt import encode64
from bastide.store.receipt import receipt_key

PLAIN = bytes(range(256)) * 2000


@pytest.fixture
def key(tmp_path: Path) -> RecoveryKey:
    make_recovery_key(tmp_path / "plant.key", "plant", "")
    return read_recovery_key(tmp_path / "plant.key")


def make(out: Path, key: RecoveryKey, home: Home, **header: object) -> BackupFolder:
    partial = BackupFolder(out / ".partial-x")
    partial.root.mkdir(parents=True)
    contents = BackupContents(
        site="plant", release="r", target="t", bundles=(), files=(), data={}
    ).canonical()
    parts = [
        seal(io.BytesIO(PLAIN), partial.part(CONTROL), key.recipients),
        seal(io.BytesIO(contents), partial.part(CONTENTS), key.recipients),
    ]
    values = {
        "id": "plant-20261126T023000Z",
        "site": "plant",
        "created": datetime(2026, 11, 26, 2, 30, tzinfo=UTC),
        "creator": "0.1.0",
        "recipients": key.recipients,
        "parts": parts,
    }
    made = BackupHeader.model_validate({**values, **header})
    return archive.publish(partial, out, archive.sign(made, receipt_key(home.receipt_key)))


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "home")


@pytest.fixture
def backup(tmp_path: Path, key: RecoveryKey, home: Home) -> BackupFolder:
    return make(tmp_path / "out", key, home)


def opens(backup: BackupFolder, key: RecoveryKey, home: Home, signer: str = "") -> str:
    signers = known_signers(home, key, signer)
    return open_backup(backup.root, key, signers, SilentProgress()).signer


def test_a_whole_backup_opens(backup: BackupFolder, key: RecoveryKey, home: Home) -> None:
    assert opens(backup, key, home) == "this control node"
    assert stat.S_IMODE(backup.header.stat().st_mode) == 0o600
    assert [each.folder for each in archive.list_backups(backup.root.parent)] == [backup]


def test_what_was_sealed_comes_back_and_nothing_of_it_is_readable(
    tmp_path: Path, key: RecoveryKey
) -> None:
    path = tmp_path / "part.age"
    moved: list[int] = []
    part = seal(io.BytesIO(PLAIN), path, key.recipients, moved.append)
    assert (sum(moved), part.size) == (len(PLAIN), path.stat().st_size)
    assert PLAIN[:64] not in path.read_bytes()
    plain = io.BytesIO()
    unseal(path, part, key, plain)
    assert plain.getvalue() == PLAIN


def test_a_source_that_breaks_off_leaves_no_file(tmp_path: Path, key: RecoveryKey) -> None:
    class Broken:
        def read(self, size: int = -1, /) -> bytes:
            raise ConnectionError(f"no {size} bytes")

    with pytest.raises(ConnectionError):
        seal(Broken(), tmp_path / "part.age", key.recipients)
    assert not list(tmp_path.glob("*part*"))


def _flip(path: Path, at: int) -> None:
    content = bytearray(path.read_bytes())
    content[at] ^= 1
    path.write_bytes(content)


def _header(backup: BackupFolder, **changes: object) -> None:
    said = json.loads(backup.header.read_bytes())
    said["header"] |= changes
    backup.header.write_text(json.dumps(said))


ATTACKS: dict[str, tuple[Callable[[BackupFolder], object], str]] = {
    "a bit of a part": (lambda b: _flip(b.part(CONTROL), 5000), "BAS-4080"),
    "a part cut short": (
        lambda b: b.part(CONTROL).write_bytes(b.part(CONTROL).read_bytes()[:-1]),
        "BAS-4080",
    ),
    "a part longer": (
        lambda b: b.part(CONTROL).write_bytes(b.part(CONTROL).read_bytes() + b"x"),
        "BAS-4080",
    ),
    "a part gone": (lambda b: b.part(CONTENTS).unlink(), "BAS-4080"),
    "a strange file": (lambda b: b.part("data-x.tar.age").write_bytes(b""), "BAS-4080"),
    "parts exchanged": (
        lambda b: b.part(CONTENTS).write_bytes(b.part(CONTROL).read_bytes()),
        "BAS-4080",
    ),
    "another site in the header": (lambda b: _header(b, site="other"), "BAS-4081"),
    "another time": (lambda b: _header(b, created="2027-01-01T00:00:00Z"), "BAS-4081"),
    "a newer format": (lambda b: _header(b, format="bastide.backup/2"), "BAS-4083"),
    "an unknown field": (lambda b: _header(b, more=1), "BAS-4080"),
    "no JSON": (lambda b: b.header.write_bytes(b"\x00" * 40), "BAS-4080"),
    "an empty header": (lambda b: b.header.write_bytes(b""), "BAS-4080"),
}


@pytest.mark.parametrize("attack", ATTACKS)
def test_a_changed_backup_is_refused(
    attack: str, backup: BackupFolder, key: RecoveryKey, home: Home
) -> None:
    change, code = ATTACKS[attack]
    change(backup)
    with pytest.raises(TrustError) as refused:
        opens(backup, key, home)
    assert refused.value.code == code
    assert refused.value.exit_code == 4


def test_a_backup_of_another_signer_is_refused_unless_the_operator_knows_it(
    backup: BackupFolder, key: RecoveryKey, tmp_path: Path
) -> None:
    elsewhere = Home(tmp_path / "elsewhere")
    with pytest.raises(TrustError) as nobody:
        opens(backup, key, elsewhere)
    assert nobody.value.code == "BAS-4082"
    receipt_key(elsewhere.receipt_key)
    with pytest.raises(TrustError, match="is not the site's"):
        opens(backup, key, elsewhere)
    signer = archive.read_header(backup).key
    assert opens(backup, key, elsewhere, signer) == "--signer"


def test_a_header_signed_anew_by_a_thief_is_refused(
    backup: BackupFolder, key: RecoveryKey, home: Home, tmp_path: Path
) -> None:
    header = archive.read_header(backup).header.replace(site="other")
    thief = archive.sign(header, receipt_key(Home(tmp_path / "thief").receipt_key))
    backup.header.write_bytes(thief.canonical())
    with pytest.raises(TrustError) as refused:
        opens(backup, key, home)
    assert refused.value.code == "BAS-4082"


def test_a_receipts_signature_is_none_of_a_backup(
    backup: BackupFolder, key: RecoveryKey, home: Home
) -> None:
    own = receipt_key(home.receipt_key)
    found = archive.read_header(backup)
    other = SignedHeader(
        header=found.header,
        key=found.key,
        signature=encode64(own.sign(found.header.canonical())),
    )
    backup.header.write_bytes(other.canonical())
    with pytest.raises(TrustError, match="signature does not fit"):
        opens(backup, key, home)


def test_another_recovery_key_does_not_open_it(
    backup: BackupFolder, home: Home, tmp_path: Path
) -> None:
    make_recovery_key(tmp_path / "other.key", "plant", "")
    with pytest.raises(TrustError) as refused:
        opens(backup, read_recovery_key(tmp_path / "other.key"), home)
    assert refused.value.code == "BAS-4084"


def test_what_a_killed_backup_left_is_none(backup: BackupFolder) -> None:
    out = backup.root.parent
    (out / ".partial-y").mkdir()
    (out / ".partial-y" / "backup.json").write_bytes(backup.header.read_bytes())
    half = out / "plant-20261126T030000Z"
    half.mkdir()
    (half / CONTROL).write_bytes(b"x")  # a backup that is being removed has no header any more
    assert [each.folder for each in archive.list_backups(out)] == [backup]
    with pytest.raises(ConfigError, match="is no backup"):
        archive.read_header(BackupFolder(half))
    assert archive.sweep(out) == (".partial-y",)


def test_a_key_with_a_passphrase_opens_with_it_alone(tmp_path: Path) -> None:
    path = tmp_path / "sealed.key"
    public = make_recovery_key(path, "plant", "c2lnbmVy" * 5, "long words")
    assert is_sealed(path)
    assert b"AGE-SECRET-KEY" not in path.read_bytes()
    found = read_recovery_key(path, "long words")
    assert (found.recipients, found.signer) == ((public,), "c2lnbmVy" * 5)
    with pytest.raises(ConfigError, match="does not open with this passphrase"):
        read_recovery_key(path, "other words")
    assert "AGE" not in repr(found)
    with pytest.raises(ConfigError, match="never written over"):
        make_recovery_key(path, "plant", "")


@pytest.mark.parametrize("content", [b"", b"# nothing\n", b"AGE-SECRET-KEY-1BAD\n", b"\xff\xfe"])
def test_a_file_that_is_no_key_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "no.key"
    path.write_bytes(content)
    with pytest.raises(ConfigError) as refused:
        read_recovery_key(path)
    assert refused.value.code == "BAS-2161"


def test_recipients_are_kept_added_to_and_checked(tmp_path: Path, key: RecoveryKey) -> None:
    path = tmp_path / "backup-recipients.txt"
    with pytest.raises(ConfigError) as none:
        read_recipients(path)
    assert none.value.code == "BAS-2160"
    add_recipients(path, key.recipients)
    other = make_recovery_key(tmp_path / "other.key", "plant", "")
    assert add_recipients(path, [other, *key.recipients]) == (*key.recipients, other)
    assert read_recipients(path) == (*key.recipients, other)
    path.write_text("age1notakey\n")
    refused: type[BastideError] = ConfigError
    with pytest.raises(refused, match="is no public key"):
        read_recipients(path)
