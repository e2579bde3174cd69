"""``bastide keys`` and ``bastide audit`` as people run them, down to the real HAProxy.

Takes ssh's place only: the host agent is the real one and works on the folder of the gateway.
"""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from bastide_host import gateway
from bastide_host.places import secret_fingerprints
from click.testing import CliRunner, Result
from gateway_client import COLLECTIONS, SERVER, Client
from gateway_stand import Stand, short_folder
from haproxy_program import haproxy

from bastide.cli.main import main
from bastide.layout import Home, SiteFolder
from bastide.site.config import load_site
from bastide.site.secrets import open_secrets, planned_fingerprints

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(haproxy() is None, reason="no haproxy here, and Debian's cannot be had"),
]
SSH = """#!/bin/sh
for last; do :; done
printf '%s\\n' "$@" >> "$NOTES"
[ -e "$GATEWAY_ROOT/away" ] && { echo "no route to host" >&2; exit 255; }
exec sh -c "$last --root $GATEWAY_ROOT"
"""
JOURNALCTL = """#!/bin/sh
printf '%s\\n' "$@" >> "$NOTES"
exec cat "$GATEWAY_ROOT/gateway.log"
"""


class Site:
    """A site of one gateway, and its operator."""

    def __init__(self, folder: Path, stand: Stand) -> None:
        self.root, self.stand = folder, stand
        self.folder = SiteFolder(folder / "plant")

    def types(self, *arguments: str) -> Result:
        return CliRunner().invoke(main, [*arguments, "--site", str(self.folder.root)])

    def asks(self, *arguments: str) -> dict[str, Any]:
        done = self.types(*arguments, "--json")
        found: dict[str, Any] = json.loads(done.stdout)
        assert (done.exit_code == 0) == found["ok"], found
        return found

    def client(self, key: str) -> Client:
        return Client(self.stand, key)

    def works(self, key: str) -> bool:
        return self.client(key).chat().status == 200

    def ledger(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in Home.default().ledger.read_text().splitlines()]


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    programs = tmp_path / "bin"
    programs.mkdir()
    for name, text in (("ssh", SSH), ("journalctl", JOURNALCTL)):
        (programs / name).write_text(text)
        (programs / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("NOTES", str(tmp_path / "notes"))
    monkeypatch.setenv("BASTIDE_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("BASTIDE_VAULT_PASSWORD_FILE", raising=False)
    for name in ("id", "known"):
        (tmp_path / name).write_text("")
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(main, [
        "init", "plant", "--host", "host1=127.0.0.1", "--ssh-key", "id", "--known-hosts", "known",
    ])  # fmt: skip
    assert done.exit_code == 0, done.output
    with short_folder() as folder:
        monkeypatch.setenv("GATEWAY_ROOT", str(folder))
        stand = Stand(folder, server=SERVER)
        stand.paths.secrets.mkdir(parents=True)
        with stand.running():
            yield Site(tmp_path, stand)


def test_a_key_lives_its_life_without_a_restart(site: Site) -> None:
    worker = gateway.worker(site.stand.paths)
    made = site.asks("keys", "create", "app", "--role", "user", "--tokens-per-day", "1000")
    first = made["result"]["key"]
    assert made["result"]["gateways"] == [{"host": "host1", "state": "live", "why": ""}]
    assert site.works(first)

    turned = site.asks("keys", "rotate", "app", "--grace", "2s")["result"]
    second = turned["key"]
    assert site.works(second)
    assert gateway.wait_until(lambda: not site.works(first), 6), "it ends by itself"
    assert site.works(second)

    listed = site.asks("keys", "list")["result"]["clients"]
    assert [each["name"] for each in listed] == ["full", "read-only", "app"]
    assert listed[2]["limits"]["tokens_per_day"] == 1000
    assert len(listed[2]["digests"]) == 2

    gone = site.asks("keys", "revoke", "app")["result"]
    assert (gone["key"], gone["client"]["name"]) == (None, "app")
    assert not site.works(second)
    assert gateway.worker(site.stand.paths) == worker, "the same process all the time"
    done = [(e["operation"], e["outcome"]) for e in site.ledger() if e["outcome"] != "started"]
    assert done == [("init", "done"), *((f"keys {verb}", "done")
                                        for verb in ("create", "rotate", "revoke"))]  # fmt: skip


def test_no_key_is_kept_or_told_anywhere_but_where_it_was_asked_for(site: Site) -> None:
    shown = site.types("keys", "create", "app")
    out = site.root / "key"
    key = shown.stdout.strip()
    assert re.fullmatch(r"bst_[A-Za-z0-9_-]{43}", key)
    hidden = site.types("keys", "rotate", "app", "--out", str(out))
    assert hidden.stdout == ""
    assert out.stat().st_mode & 0o777 == 0o600
    other = out.read_text().strip()
    assert site.works(other)
    assert json.loads(site.types("keys", "rotate", "app", "--out", "o", "--json").stdout)[
        "result"]["key"] is None  # fmt: skip
    for place in (site.root, site.stand.folder):
        for path in place.rglob("*"):
            if path.is_file() and path != out:
                content = path.read_bytes()
                assert key.encode() not in content, path
                assert other.encode() not in content, path


def test_a_gateway_that_is_down_is_said_and_the_next_apply_brings_the_keys(site: Site) -> None:
    (site.stand.folder / "away").touch()
    made = site.types("keys", "create", "app")
    assert made.exit_code == 0
    assert "host1: does not know it yet: no route to host" in made.stderr
    key = made.stdout.strip()
    assert not site.works(key)
    assert _to_write(site) == {"/etc/bastide/secrets/gateway-keys.map"}
    (site.stand.folder / "away").unlink()
    site.asks("keys", "rotate", "app", "--grace", "1h")
    assert site.works(key)
    (site.stand.folder / "away").touch()
    revoked = site.types("keys", "revoke", "app", "--json")
    answer = json.loads(revoked.stdout)
    assert (revoked.exit_code, answer["error"]["code"]) == (6, "BAS-6100")
    assert answer["result"]["gateways"][0]["state"] == "pending"
    assert [e["outcome"] for e in site.ledger()][-1] == "failed"
    assert site.works(key), "that is why it ends with 6"


def test_after_keys_were_changed_there_is_nothing_to_plan(site: Site) -> None:
    for name in ("a", "b"):
        site.asks("keys", "create", name)
    site.asks("keys", "revoke", "a")
    assert _to_write(site) == set()


def _to_write(site: Site) -> set[str]:
    """Return the keys' files that a plan would write, by its fingerprints and the host's."""
    wanted = planned_fingerprints(
        site.folder, Home.default(), load_site(site.folder.root), datetime.now(UTC), "salt"
    )
    place = "/etc/bastide/secrets/gateway-keys.map"
    held = secret_fingerprints(site.stand.paths, {"salt": "salt"})
    return set() if held.get(place) == wanted.by_name["gateway_keys_map"] else {place}


def test_bastides_own_key_turns_and_the_vector_db_keeps_its_own(site: Site) -> None:
    before = open_secrets(site.folder, Home.default())
    assert site.asks("keys", "create", "x")["ok"]  # the gateway learns of all keys
    old = site.types("keys", "show").stdout.strip()
    assert site.works(old)
    refused = site.asks("keys", "revoke", "full")
    assert refused["error"]["code"] == "BAS-2112"
    new = site.asks("keys", "rotate", "full", "--grace", "0s")["result"]["key"]
    assert (site.works(old), site.works(new)) == (False, True)
    assert site.types("keys", "show").stdout.strip() == new
    after = open_secrets(site.folder, Home.default())
    assert after.vectordb_api_key == before.api_key
    assert site.client(new).ask("GET", COLLECTIONS).status == 200


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("create", "full"), "BAS-2110"),
        (("create", "Not A Name"), "BAS-2115"),
        (("create", "x", "--expires", "soon"), "BAS-2113"),
        (("rotate", "nobody"), "BAS-2111"),
        (("revoke", "nobody"), "BAS-2111"),
        (("create", "x", "--out", "id"), "BAS-2114"),
        (("usage", "--since", "yesterday"), "BAS-2113"),
    ],
)
def test_what_cannot_be_is_refused_and_changes_nothing(
    site: Site, arguments: tuple[str, ...], code: str
) -> None:
    sealed = site.folder.secrets.read_bytes()
    done = site.types("keys", *arguments, "--json")
    assert (done.exit_code, json.loads(done.stdout)["error"]["code"]) == (2, code)
    assert site.folder.secrets.read_bytes() == sealed


def test_the_audit_log_is_read_by_key_and_day(site: Site) -> None:
    key = site.types("keys", "create", "app").stdout.strip()
    other = site.types("keys", "create", "batch", "--requests-per-minute", "1").stdout.strip()
    app, batch = site.client(key), site.client(other)
    for _ in range(3):
        app.chat(10, 5)
    while batch.chat(2, 1, stream=True).status == 200:
        pass
    site.client("wrong").chat()
    assert gateway.wait_until(lambda: site.stand.log().count("bastide.access/1") >= 6, 5)

    found = site.asks("audit", "--since", "1h", "--limit", "4")["result"]
    assert len(found["entries"]) == 4
    assert {entry["gateway"] for entry in found["entries"]} == {"host1"}
    assert found["lost"] == {"host1": 0}
    rows = {row["identity"]: row for row in found["usage"]}
    app_row = {name: rows["app"][name] for name in ("requests", "refused", "prompt_tokens",
                                                    "completion_tokens")}  # fmt: skip
    assert app_row == {"requests": 3, "refused": 0, "prompt_tokens": 30, "completion_tokens": 15}
    assert rows["batch"]["refused"] == 1
    assert rows["batch"]["completion_tokens"] == rows["batch"]["requests"] - 1
    assert rows["-"]["refused"] == 1
    assert rows["app"]["day"] == time.strftime("%Y-%m-%d", time.gmtime())

    usage = site.asks("keys", "usage", "--key", "app")["result"]
    assert [row["identity"] for row in usage["usage"]] == ["app"]
    assert usage["entries"] == []
    text = site.types("audit").stdout
    assert "429 POST /v1/chat/completions" in text
    assert "rate_limit" in text
    assert "app" in site.types("keys", "usage").stdout

    (site.stand.folder / "away").touch()
    silent = site.asks("audit")
    assert silent["error"]["code"] == "BAS-2116"
    assert silent["result"]["silent"] == {"host1": "no route to host"}
