from __future__ import annotations

import hashlib
import hmac
import stat
from dataclasses import fields, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import plan_factories as make
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization

from bastide.errors import ConfigError
from bastide.layout import Home, SiteFolder
from bastide.schema.site import Site
from bastide.site import pki, vault
from bastide.site.create import CreatedSite, create_site
from bastide.site.material import Secrets
from bastide.site.secrets import (
    host_secrets,
    keep_certificates,
    open_secrets,
    planned_fingerprints,
    renew_in_memory,
)

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)


@pytest.fixture(autouse=True)
def _no_override(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(vault.PASSWORD_FILE_VARIABLE, raising=False)


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "home")


@pytest.fixture
def folder(tmp_path: Path) -> SiteFolder:
    return SiteFolder(tmp_path / "site")


def create(folder: SiteFolder, home: Home, site: Site | None = None) -> CreatedSite:
    return create_site(folder, site or make.make_site(), home, NOW)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_new_site_keeps_its_secrets_to_itself(folder: SiteFolder, home: Home) -> None:
    created = create(folder, home)
    secrets = open_secrets(folder, home)
    assert mode(folder.root) == mode(home.vault_passwords) == 0o700
    assert mode(folder.secrets) == mode(folder.config) == 0o600
    assert mode(created.vault_password_file) == 0o600
    assert folder.authority.read_text() == secrets.ca_certificate_pem
    sealed = folder.secrets.read_bytes()
    for name in ("api_key", "read_only_api_key", "ca_key_pem"):
        assert getattr(secrets, name).encode() not in sealed
    assert secrets.api_key not in f"{secrets!r} {secrets}"


def test_keys_are_long_differ_and_can_be_recognised(folder: SiteFolder, home: Home) -> None:
    create(folder, home)
    secrets = open_secrets(folder, home)
    assert secrets.api_key.startswith("bst_")
    assert secrets.read_only_api_key.startswith("bst_ro_")
    assert len(secrets.api_key) >= 47
    assert secrets.api_key[4:] != secrets.read_only_api_key[7:]


def test_an_existing_site_is_never_overwritten(folder: SiteFolder, home: Home) -> None:
    create(folder, home)
    before = {path.name: path.read_bytes() for path in folder.root.iterdir()}
    with pytest.raises(ConfigError, match="already holds a site") as caught:
        create(folder, home)
    assert caught.value.code == "BAS-2021"
    assert {path.name: path.read_bytes() for path in folder.root.iterdir()} == before


def test_force_starts_anew_and_loses_nothing(folder: SiteFolder, home: Home) -> None:
    create(folder, home)
    old = open_secrets(folder, home)
    for _ in range(2):  # in one second, even
        created = create_site(folder, make.make_site(), home, NOW, force=True)
    assert open_secrets(folder, home).api_key != old.api_key
    assert len(list(folder.root.glob("*.bak*"))) == 6
    backup = min(folder.root.glob("secrets.vault.yaml.*"), key=lambda path: len(path.name))
    sealed = backup.read_bytes()
    password = vault.read_password(home, vault.label_of(sealed, where="x"))
    assert old.api_key.encode() in vault.unseal(sealed, password, where="x")
    assert len(created.backups) == 3


def test_what_a_killed_init_left_is_kept_too(folder: SiteFolder, home: Home) -> None:
    folder.root.mkdir()
    folder.secrets.write_text("from a cut-off init")
    created = create(folder, home)
    assert created.backups[0].read_text() == "from a cut-off init"


def test_a_given_password_file_is_used(
    folder: SiteFolder, home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = tmp_path / "password"
    given.write_text("from the operator\n")
    created = create_site(folder, make.make_site(), home, NOW, password_file=given)
    assert created.vault_password_file == given
    assert not home.vault_passwords.exists()
    with pytest.raises(ConfigError, match="cannot be read"):
        open_secrets(folder, home)
    monkeypatch.setenv(vault.PASSWORD_FILE_VARIABLE, str(given))
    assert open_secrets(folder, home).api_key


def test_two_sites_of_one_name_do_not_share_a_password(tmp_path: Path, home: Home) -> None:
    for name in ("a", "b"):
        create(SiteFolder(tmp_path / name), home)
    keys = {open_secrets(SiteFolder(tmp_path / name), home).api_key for name in ("a", "b")}
    assert len(keys) == 2


def test_unwritable_folder_is_said(tmp_path: Path, home: Home) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="cannot be written") as caught:
        create(SiteFolder(tmp_path / "file" / "site"), home)
    assert caught.value.code == "BAS-2035"


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (None, "BAS-2023"),
        (b"api_key: plain\n", "BAS-2025"),
        (b"", "BAS-2025"),
        ("cut", "BAS-2025"),
        ("flip", "BAS-2025"),
    ],
)
def test_secrets_that_do_not_open(
    folder: SiteFolder, home: Home, content: bytes | str | None, code: str
) -> None:
    create(folder, home)
    sealed = folder.secrets.read_bytes()
    folder.secrets.unlink()
    if content is not None:
        damaged = {"cut": sealed[:-200], "flip": _flip(sealed)}
        folder.secrets.write_bytes(content if isinstance(content, bytes) else damaged[content])
    with pytest.raises(ConfigError) as caught:
        open_secrets(folder, home)
    assert caught.value.code == code
    assert caught.value.hint


@pytest.mark.parametrize(
    ("content", "code"),
    [(None, "BAS-2024"), (b"\n", "BAS-2024"), (b"\xff\xfe", "BAS-2024"), (b"no\n", "BAS-2025")],
)
def test_a_vault_password_that_does_not_open(
    folder: SiteFolder, home: Home, content: bytes | None, code: str
) -> None:
    create(folder, home)
    (password,) = home.vault_passwords.iterdir()
    if content is None:
        password.unlink()
    else:
        password.write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        open_secrets(folder, home)
    assert caught.value.code == code
    assert caught.value.hint


def _flip(content: bytes) -> bytes:
    middle = len(content) // 2
    other = b"31" if content[middle : middle + 2] != b"31" else b"32"
    return content[:middle] + other + content[middle + 2 :]


def test_a_vault_of_another_format_is_refused(folder: SiteFolder, home: Home) -> None:
    create(folder, home)
    label = vault.label_of(folder.secrets.read_bytes(), where="x")
    for plain in (b"[]", b"{}", b'{"format": "bastide.secrets/9"}', b"not json"):
        folder.secrets.write_bytes(vault.seal(plain, vault.read_password(home, label), label))
        with pytest.raises(ConfigError, match="does not hold secrets"):
            open_secrets(folder, home)


# --- certificates ----------------------------------------------------------------------------
def test_certificates_are_for_the_right_names(folder: SiteFolder, home: Home) -> None:
    create(folder, home)
    secrets = open_secrets(folder, home)
    assert pki.names_of(secrets.gateway_certificate_pem) == {"bastide.internal", "10.0.0.11"}
    assert pki.names_of(secrets.depot_certificate_pem) == {"10.0.0.1"}
    for pem in (secrets.gateway_certificate_pem, secrets.depot_certificate_pem):
        certificate = x509.load_pem_x509_certificate(pem.encode())
        assert certificate.not_valid_before_utc == NOW - timedelta(days=1)
        assert certificate.not_valid_after_utc == NOW + timedelta(days=397)


def test_the_gateway_key_belongs_to_its_certificate(folder: SiteFolder, home: Home) -> None:
    create(folder, home)
    pem = host_secrets(open_secrets(folder, home), make.make_site(), "t")["gateway_pem"]
    certificate = x509.load_pem_x509_certificate(pem.encode())
    key = serialization.load_pem_private_key(pem.encode(), password=None)
    assert key.public_key() == certificate.public_key()


def changed(before: Secrets, after: Secrets) -> set[str]:
    names = (field.name for field in fields(Secrets))
    return {name for name in names if getattr(before, name) != getattr(after, name)}


GATEWAY = {"gateway_certificate_pem", "gateway_key_pem"}
DEPOT = {"depot_certificate_pem", "depot_key_pem"}


@pytest.mark.parametrize(
    ("site", "days", "renewed"),
    [
        (make.make_site(), 0, set()),
        (make.make_site(), 366, set()),
        (make.make_site(), 368, GATEWAY | DEPOT),
        (make.make_site(), 5000, set()),  # the site's CA itself has ended, or the clock is wrong
        (make.make_site(), -2, set()),  # nothing is valid before the CA was made
        (make.make_site(gateway_name="ai.plant"), 0, GATEWAY),
        (make.make_site(control_address="10.0.0.2"), 0, DEPOT),
        (make.make_site(control_address="fd00::1"), 0, DEPOT),
    ],
)
def test_certificates_are_renewed_when_they_must(
    folder: SiteFolder, home: Home, site: Site, days: int, renewed: set[str]
) -> None:
    create(folder, home)
    sealed = folder.secrets.read_bytes()
    found = renew_in_memory(folder, home, site, NOW + timedelta(days=days))
    assert changed(found.before, found.after) == renewed
    assert len([each for each in found.dues if each.action != "warn"]) == len(renewed) / 2
    assert folder.secrets.read_bytes() == sealed, "nothing is written before a plan is agreed to"
    keep_certificates(folder, home, found.after)
    assert open_secrets(folder, home) == found.after, "what was renewed is kept"
    again = renew_in_memory(folder, home, site, NOW + timedelta(days=days))
    assert changed(again.before, again.after) == set()


def test_what_was_made_with_a_clock_ahead_is_renewed(folder: SiteFolder, home: Home) -> None:
    create(folder, home)
    secrets = open_secrets(folder, home)
    ahead = pki.issue_gateway(secrets.authority, make.make_site(), NOW + timedelta(days=300))
    keep_certificates(
        folder,
        home,
        replace(
            secrets,
            gateway_certificate_pem=ahead.certificate_pem,
            gateway_key_pem=ahead.key_pem,
        ),
    )
    found = renew_in_memory(folder, home, make.make_site(), NOW + timedelta(days=1))
    assert [(each.name, each.action) for each in found.dues] == [("gateway", "renew")]
    assert "valid only from" in found.dues[0].why


def test_a_certificate_of_another_ca_is_renewed(folder: SiteFolder, home: Home) -> None:
    create(folder, home)
    secrets = open_secrets(folder, home)
    other = pki.make_authority("other", NOW)
    why = pki.why_renew(
        secrets.gateway_certificate_pem,
        pki.gateway_names(make.make_site()),
        other.certificate_pem,
        NOW,
    )
    assert why == "it was not issued by the site's CA"


# --- what hosts get --------------------------------------------------------------------------
def test_host_secrets_are_those_of_the_contract(folder: SiteFolder, home: Home) -> None:
    create(folder, home)
    secrets = open_secrets(folder, home)
    carried = host_secrets(secrets, make.make_site(), "token", "pass")
    assert carried["pass"] == "pass"
    assert set(carried) == {
        "api_key", "read_only_api_key", "depot_token", "pass", "gateway_pem", "gateway_keys_map",
        "ca_pem", "vectordb_keys_map",
    }  # fmt: skip
    assert carried["depot_token"] == "token"
    lines = dict(line.split(" ") for line in carried["gateway_keys_map"].splitlines())
    assert lines == {
        make.sha(secrets.api_key): "full:admin:0:0:0:0:0",
        make.sha(secrets.read_only_api_key): "read-only:reader:0:0:0:0:0",
    }
    roles = dict(line.split(" ") for line in carried["vectordb_keys_map"].splitlines())
    assert roles == {
        "admin": secrets.api_key, "user": secrets.api_key, "reader": secrets.read_only_api_key,
    }  # fmt: skip
    assert secrets.ca_key_pem not in "".join(carried.values())


def test_host_secrets_refuse_a_certificate_for_other_names(folder: SiteFolder, home: Home) -> None:
    create(folder, home)
    site = make.make_site(gateway_name="ai.plant")
    with pytest.raises(ConfigError, match=r"ai\.plant") as caught:
        host_secrets(open_secrets(folder, home), site, "t")
    assert caught.value.code == "BAS-2026"


def test_a_plan_gets_salted_fingerprints_and_opens_without_changing(
    folder: SiteFolder, home: Home
) -> None:
    create(folder, home)
    sealed = folder.secrets.read_bytes()
    site, now = make.make_site(), datetime.now(UTC)
    found = planned_fingerprints(folder, home, site, now, "salt")
    again = planned_fingerprints(folder, home, site, now, "other salt")
    secrets = open_secrets(folder, home)
    expected = hmac.new(b"salt", secrets.api_key.encode(), hashlib.sha256).hexdigest()[:16]
    assert found.by_name["api_key"] == expected
    assert "depot_token" not in found.by_name
    assert all(found.by_name[name] != again.by_name[name] for name in found.by_name)
    assert planned_fingerprints(folder, home, site, now, "").by_name == {}
    assert folder.secrets.read_bytes() == sealed


def test_a_certificate_that_will_be_renewed_has_no_fingerprint(
    folder: SiteFolder, home: Home
) -> None:
    create(folder, home)
    later = NOW + timedelta(days=365 * 5)
    found = planned_fingerprints(folder, home, make.make_site(), later, "salt")
    assert found.by_name["gateway_pem"] == ""
    assert found.by_name["api_key"]
