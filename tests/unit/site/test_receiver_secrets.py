"""Passwords of alerts' receivers: from the vault to one host, and nowhere else."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import plan_factories as make
import pytest
from click.testing import CliRunner

from bastide.cli.receivers import command
from bastide.errors import ConfigError
from bastide.layout import Home, SiteFolder
from bastide.run.credentials import open_credentials
from bastide.schema.monitoring import Monitoring, Receiver
from bastide.schema.site import SERVING, Group, Site
from bastide.site import delivery, vault
from bastide.site.config import site_text
from bastide.site.create import create_site
from bastide.site.receivers import ReceiverSecrets, text_for_hosts, with_secret, without_secret
from bastide.site.secrets import open_secrets, planned_fingerprints

SALT = "s" * 43
SECRET = "correct horse battery"


@pytest.fixture
def site() -> Site:
    hook = Receiver(webhook="https://10.0.0.9/alerts", bearer=True)
    plain = make.make_site({"a": (*SERVING, Group.MONITORING), "b": (Group.LLM,)})
    return plain.replace(monitoring=Monitoring(receivers={"oncall": hook}))


@pytest.fixture
def folder(tmp_path: Path, site: Site, monkeypatch: pytest.MonkeyPatch) -> SiteFolder:
    monkeypatch.delenv(vault.PASSWORD_FILE_VARIABLE, raising=False)
    monkeypatch.setenv("BASTIDE_HOME", str(tmp_path / "home"))
    made = SiteFolder(tmp_path / "site")
    create_site(made, site, Home.default(), datetime.now(UTC))
    return made


def run(folder: SiteFolder, *argv: str, text: str | None = None) -> str:
    done = CliRunner().invoke(command, [*argv, "--site", str(folder.root)], input=text)
    assert done.exit_code == 0, done.output
    return done.output


def test_a_plan_is_refused_until_the_vault_has_it(folder: SiteFolder, site: Site) -> None:
    home, now = Home.default(), datetime.now(UTC)
    for refused in (
        lambda: planned_fingerprints(folder, home, site, now, "salt"),
        lambda: open_credentials(site, folder, home, "salt"),
    ):
        with pytest.raises(ConfigError, match="receiver oncall") as caught:
            refused()
        assert caught.value.code == "BAS-2200"
    open_credentials(site, folder, home, "salt", back=True)  # the way back is not barred
    assert SECRET not in run(folder, "set", "oncall", "--from", "-", text=f"{SECRET}\n")
    found = planned_fingerprints(folder, home, site, now, "salt")
    assert "alert_secrets" in found.of("a")
    assert "alert_secrets" not in found.of("b")
    assert SECRET.encode() not in folder.secrets.read_bytes()
    assert "has its secret" in run(folder, "list")


def test_it_reaches_the_monitoring_host_with_enough_chance_beside_it(
    folder: SiteFolder, site: Site
) -> None:
    run(folder, "set", "oncall", text=f"{SECRET}\n")  # asked for, without an echo
    secrets = open_secrets(folder, Home.default())
    files = delivery.host_files(secrets, site)
    told = json.loads(files["a"]["alert_secrets"])
    assert told["secrets"] == {"oncall": SECRET}
    assert len(told["salt"]) >= 43  # 256 bits: nobody tries guesses on a plan's fingerprint
    assert "alert_secrets" not in files["b"]
    assert SECRET not in f"{secrets!r}{secrets.receivers!r}"
    run(folder, "set", "oncall", text="another\n")
    again = open_secrets(folder, Home.default()).receivers
    assert again == ReceiverSecrets(salt=told["salt"], secrets={"oncall": "another"})


def test_what_was_forgotten_leaves_the_host_too(folder: SiteFolder, site: Site) -> None:
    run(folder, "set", "oncall", text=f"{SECRET}\n")
    run(folder, "forget", "oncall")
    held = open_secrets(folder, Home.default()).receivers
    assert json.loads(text_for_hosts(held, site))["secrets"] == {}


def test_a_vault_without_one_is_as_before(folder: SiteFolder, site: Site) -> None:
    secrets = open_secrets(folder, Home.default())
    assert secrets.receivers == ReceiverSecrets()
    assert "alert_secrets" not in delivery.host_files(secrets, site)["a"]
    sealed, label = (
        folder.secrets.read_bytes(),
        vault.label_of(folder.secrets.read_bytes(), where=""),
    )
    password = vault.read_password(Home.default(), label)
    assert b"receivers" not in vault.unseal(sealed, password, where="")


@pytest.mark.parametrize("secret", ["", "two\nlines", "tab\t", "x" * 4097])
def test_what_can_be_no_secret(site: Site, secret: str) -> None:
    with pytest.raises(ConfigError) as caught:
        with_secret(ReceiverSecrets(), site, "oncall", secret, SALT)
    assert caught.value.code == "BAS-2202"


def test_only_receivers_that_log_in_have_secrets(site: Site) -> None:
    with pytest.raises(ConfigError, match="those that do: oncall") as caught:
        with_secret(ReceiverSecrets(), site, "night", "x", SALT)
    assert caught.value.code == "BAS-2201"
    with pytest.raises(ConfigError) as caught:
        without_secret(ReceiverSecrets(), "oncall")
    assert caught.value.code == "BAS-2201"
    unmonitored = replace_hosts(site)
    assert unmonitored.monitoring.logins == ("oncall",)
    assert "bearer: true" in site_text(site)


def replace_hosts(site: Site) -> Site:
    """Return the site without monitoring, where the block does nothing."""
    plain = make.make_site({"a": SERVING})
    return plain.replace(monitoring=site.monitoring)
