"""``bastide init`` and ``bastide keys`` as people run them, and Ansible's own view of the vault."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from bastide.cli.main import main
from bastide.host.process import run

pytestmark = pytest.mark.integration


@pytest.fixture
def bastide(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("BASTIDE_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("BASTIDE_VAULT_PASSWORD_FILE", raising=False)
    monkeypatch.chdir(tmp_path)

    def invoke(*arguments: str) -> Result:
        return CliRunner().invoke(main, arguments)

    return invoke


def test_init_then_keys(bastide: Any, tmp_path: Path) -> None:
    done = bastide("init", "plant", "--host", "host1=127.0.0.1")
    assert done.exit_code == 0, done.stderr
    assert "bst_" not in done.output, "no key on the screen unless it is asked for"
    key = bastide("keys", "show", "--site", "plant").stdout.strip()
    read_only = json.loads(
        bastide("keys", "show", "--site", "plant", "--read-only", "--json").stdout
    )
    assert key.startswith("bst_")
    assert read_only["result"]["key"].startswith("bst_ro_")
    assert read_only["result"]["base_urls"] == ["https://127.0.0.1:8443/v1"]
    assert read_only["result"]["ca_file"] == str(tmp_path / "plant" / "ca.pem")


def test_the_control_address_is_found_out(bastide: Any, tmp_path: Path) -> None:
    bastide("init", "plant", "--host", "host1=127.0.0.1")
    assert "control_address: 127.0.0.1\n" in (tmp_path / "plant" / "site.yaml").read_text()


def test_init_twice_is_refused(bastide: Any) -> None:
    arguments = ("init", "plant", "--host", "host1=127.0.0.1", "--json")
    assert json.loads(bastide(*arguments).stdout)["ok"]
    again = bastide(*arguments)
    assert again.exit_code == 2
    assert json.loads(again.stdout)["error"]["code"] == "BAS-2021"
    assert bastide(*arguments, "--force").exit_code == 0


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        ((), "BAS-2022"),
        (("--host", "host1"), "BAS-2022"),
        (("--host", "host1=127.0.0.1", "--llm", "smollm"), "BAS-2020"),
        (("--host", "host1=127.0.0.1", "--release", "stater"), "BAS-2027"),
        (("--host", "host1=127.0.0.1", "--name", "A B"), "BAS-2020"),
        (("--lab", "absent"), "BAS-1017"),
    ],
)
def test_wrong_options(bastide: Any, tmp_path: Path, arguments: tuple[str, ...], code: str) -> None:
    done = bastide("init", "plant", *arguments, "--json")
    assert json.loads(done.stdout)["error"]["code"] == code
    assert not (tmp_path / "plant").exists(), "nothing is left of a refused init"


def test_verbs_that_need_a_bundle_say_how_to_get_one(bastide: Any, tmp_path: Path) -> None:
    for name in ("id", "known"):
        (tmp_path / name).write_text("")
    bastide(
        "init", "plant", "--host", "host1=127.0.0.1", "--ssh-key", "id", "--known-hosts", "known"
    )
    for verb in ("plan", "preflight"):
        done = bastide(verb, "--site", "plant", "--json")
        error = json.loads(done.stdout)["error"]
        assert (done.exit_code, error["code"]) == (2, "BAS-2027")
        assert "bastide import" in error["hint"]


def test_missing_ssh_files_are_all_named(bastide: Any) -> None:
    bastide("init", "plant", "--host", "host1=127.0.0.1", "--ssh-key", "no", "--known-hosts", "no")
    error = json.loads(bastide("status", "--site", "plant", "--json").stdout)["error"]
    assert error["code"] == "BAS-2029"
    assert [each["where"] for each in error["problems"]] == ["ssh.private_key", "ssh.known_hosts"]


def test_ansible_vault_opens_the_secrets(bastide: Any, tmp_path: Path) -> None:
    bastide("init", "plant", "--host", "host1=127.0.0.1")
    (password,) = (tmp_path / "home" / "vault").iterdir()
    program = Path(sys.executable).with_name("ansible-vault")
    label = f"{password.stem}@{password}"
    secrets = tmp_path / "plant" / "secrets.vault.yaml"
    shown = run([str(program), "view", "--vault-id", label, str(secrets)])
    key = bastide("keys", "show", "--site", "plant").stdout.strip()
    assert json.loads(shown.stdout)["api_key"] == key
