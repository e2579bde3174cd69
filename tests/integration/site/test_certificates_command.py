"""`bastide certificates` as an operator and a CA's people use it, with OpenSSL as the CA."""

from __future__ import annotations

import json
import subprocess
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import plan_factories as make
import pytest
from click.testing import CliRunner

from bastide.cli.main import main
from bastide.layout import Home, SiteFolder
from bastide.run.control import authority_fault
from bastide.schema.site import Group, Site
from bastide.site import pki, vault
from bastide.site.create import create_site
from bastide.site.keyring import Keyring, Leaf
from bastide.site.secrets import (
    keep_certificates,
    keep_reached,
    open_secrets,
    renew_in_memory,
)

pytestmark = pytest.mark.integration
SERVED = (Group.LLM, Group.EMBEDDINGS, Group.VECTORDB)


class Desk:
    """A site's folder, and a CA beside it."""

    def __init__(self, root: Path, site: Site | None = None) -> None:
        self.root = root
        self.folder, self.home = SiteFolder(root / "site"), Home(root / "home")
        create_site(self.folder, site or make.make_site(), self.home, datetime.now(UTC))
        self.openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
                     "-nodes", "-subj", "/CN=Corp Root", "-days", "400", "-keyout", "root.key",
                     "-out", "root.pem")  # fmt: skip

    def openssl(self, *arguments: str) -> None:
        subprocess.run(["openssl", *arguments], cwd=self.root, check=True, capture_output=True)

    def types(self, *arguments: str, expect: int = 0) -> dict[str, Any]:
        site = ["--site", str(self.folder.root), "--json"]
        done = CliRunner().invoke(main, ["certificates", *arguments, *site])
        assert done.exit_code == expect, done.output
        answer: dict[str, Any] = json.loads(done.stdout)
        assert "PRIVATE KEY" not in done.output
        return answer

    def listed(self) -> dict[str, dict[str, Any]]:
        found = self.types("list", "--no-hosts")["result"]["certificates"]
        return {each["name"]: each for each in found}


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Desk:
    monkeypatch.setenv("BASTIDE_HOME", str(tmp_path / "home"))
    monkeypatch.delenv(vault.PASSWORD_FILE_VARIABLE, raising=False)
    return Desk(tmp_path)


def test_a_request_is_signed_by_openssl_and_taken_in(desk: Desk) -> None:
    request, signed = str(desk.root / "g.csr"), str(desk.root / "g.pem")
    desk.types("csr", "--out", request)
    before = open_secrets(desk.folder, desk.home)
    assert "BEGIN CERTIFICATE REQUEST" in Path(request).read_text()
    desk.openssl("x509", "-req", "-in", request, "-CA", "root.pem", "-CAkey", "root.key",
                 "-CAcreateserial", "-copy_extensions", "copy", "-days", "90",
                 "-out", signed)  # fmt: skip
    refused = desk.types("import", signed, expect=2)["error"]
    assert refused["code"] == "BAS-2120"
    assert "--anchor" in json.dumps(refused)
    assert open_secrets(desk.folder, desk.home) == before
    desk.types("import", signed, "--anchor", str(desk.root / "root.pem"))
    gateway = desk.listed()["gateway"]
    assert (gateway["issuer"], gateway["renewed_by"]) == ("CN=Corp Root", "request")
    assert gateway["days_left"] in {89, 90}
    assert desk.folder.authority.read_text().count("BEGIN CERTIFICATE") == 2
    assert authority_fault(desk.folder, desk.home) == "", "preflight takes both roots"
    assert desk.types("renew", "gateway", "--reason", "x", expect=2)["error"]["code"] == "BAS-2124"
    desk.types("import", "--site-ca")
    assert desk.listed()["gateway"]["state"] == "due"


def test_a_ca_of_the_organisation_is_taken_in(desk: Desk) -> None:
    desk.types("import", str(desk.root / "root.pem"), "--authority-key",
               str(desk.root / "root.key"))  # fmt: skip
    found = desk.listed()
    assert found["gateway"]["state"] == "due"
    assert found["authority"]["subject"] == "CN=Corp Root"


def test_a_renewal_is_asked_for_and_left_to_the_plan(desk: Desk) -> None:
    before = desk.listed()["gateway"]["sha256"]
    desk.types("renew", "gateway", "--reason", "a laptop was lost",
               "--clock", "2026-11-26T12:00:00Z")  # fmt: skip
    found = desk.listed()["gateway"]
    assert (found["sha256"], found["state"]) == (before, "due")
    assert "a laptop was lost" in found["why"]
    ledger = (desk.root / "home/ledger.jsonl").read_text()
    assert "a laptop was lost" in ledger
    assert "2026-11-26T12:00:00" in ledger


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("show", "nobody", "--no-hosts"), "BAS-2123"),
        (("renew", "nobody", "--reason", "x"), "BAS-2123"),
        (("renew", "gateway", "--reason", " "), "BAS-2125"),
        (("renew", "gateway", "--reason", "x", "--clock", "noon"), "BAS-2125"),
        (("import",), "BAS-2126"),
        (("import", "/nowhere.pem"), "BAS-2126"),
        (("csr", "--out", "/nowhere/g.csr"), "BAS-2126"),
        (("roll", "machines", "--reason", "x"), "BAS-2190"),
        (("roll", "machines", "--reason", " "), "BAS-2125"),
    ],
)
def test_what_cannot_be_done_is_said(desk: Desk, arguments: tuple[str, ...], code: str) -> None:
    assert desk.types(*arguments, expect=2)["error"]["code"] == code


def test_a_roll_of_the_machines_ca_is_kept_with_its_reason_and_goes_on_by_plan(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BASTIDE_HOME", str(tmp_path / "home"))
    monkeypatch.delenv(vault.PASSWORD_FILE_VARIABLE, raising=False)
    site = make.make_site({"svc": SERVED, "gate": (Group.GATEWAY,)})
    site = site.replace(certificates=site.certificates.replace(mutual_tls=True))
    desk = Desk(tmp_path, site)
    secrets = open_secrets(desk.folder, desk.home)
    ca = pki.make_machines_authority(site.name)
    now = datetime.now(UTC)
    leaf = Leaf(certificate_pem=ca.certificate_pem, key_pem=ca.key_pem, made=now)
    with_machines = replace(secrets, keyring=Keyring(machines_ca=leaf))
    keep_certificates(desk.folder, desk.home, with_machines)
    answer = desk.types("roll", "machines", "--reason", "host 3 was stolen")["result"]
    assert answer["certificate"] == "machines-ca"
    assert desk.types("roll", "machines", "--reason", "x", expect=2)["error"]["code"] == "BAS-2191"
    assert "host 3 was stolen" in (tmp_path / "home/ledger.jsonl").read_text()
    held = open_secrets(desk.folder, desk.home)
    assert held.keyring.roll is not None
    keep_reached(desk.folder, desk.home, held)
    keep_reached(desk.folder, desk.home, held)
    after = renew_in_memory(desk.folder, desk.home, site, now).after.keyring
    assert after.machines_ca == held.keyring.roll.other
    assert after.roll is not None
    assert after.roll.step == "sign"


def test_one_is_shown_with_everything_about_it(desk: Desk) -> None:
    (found,) = desk.types("show", "gateway", "--no-hosts")["result"]["certificates"]
    assert found["names"] == ["10.0.0.11", "bastide.internal"]
    assert found["used"][0]["path"] == "/etc/bastide/secrets/gateway.pem"
    plain = CliRunner().invoke(
        main, ["certificates", "show", "gateway", "--no-hosts", "--site", str(desk.folder.root)]
    )
    assert "bastide.internal" in plain.output
