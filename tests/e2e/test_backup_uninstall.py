"""A site with data: saved, taken off its host, put back; onto another host; and a drill."""

from __future__ import annotations

import json
import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from site_operator import ROOT, Operator, brings

pytestmark = [pytest.mark.e2e, pytest.mark.long]

LAB = "e2erestore"
# What logs, package managers and the kernel's own cache leave; nothing of it is Bastide's.
TOLERATED = re.compile(
    r"/var/log(/.*)?|/etc/(group|gshadow|passwd|shadow|subuid|subgid)-|/var/lib/dpkg/.*-old"
    r"|/var/cache/(apt|ldconfig|debconf)(/.*)?|/var/lib/apt/lists/(auxfiles|partial)"
    r"|/var/cache/apt/archives/partial|/var/lib/systemd/(timers|random-seed|timesync).*"
)
FILL = """
import sys, httpx
url, ca, key, points = sys.argv[1:]
vectors = httpx.Client(base_url=url, verify=ca, headers={"api-key": key}, timeout=60)
made = {"vectors": {"size": 4, "distance": "Dot"}}
vectors.put("/collections/docs", json=made).raise_for_status()
batch = [
    {"id": n, "vector": [n % 7, n % 5, n % 3, 1], "payload": {"n": n}} for n in range(int(points))
]
query = {"wait": "true"}
vectors.put("/collections/docs/points", params=query, json={"points": batch}).raise_for_status()
"""
REDIRECTS = (
    "sh -c 'grep -H . /proc/sys/net/ipv[46]/conf/*/accept_redirects "
    "/proc/sys/net/ipv4/conf/*/send_redirects'"
)
INVENTORY = """
import base64, gzip, json, sys
from pathlib import Path
from bastide.run.ask import Line, ask
from bastide.site.config import load_site
folder, host = Path("site").absolute(), sys.argv[1]
reply = ask(Line(load_site(folder), folder), "inventory", {host: {}})[host].answer
packed = reply.get("packed")
print(gzip.decompress(base64.b64decode(packed)).decode() if packed else json.dumps(dict(reply)))
"""


class Keeper(Operator):
    """Somebody who saves a site and brings it back."""

    def hardening(self, label: str) -> tuple[int, set[str]]:
        """Return host1's hardening index and what Lynis finds wrong; 0 without a Lynis here."""
        if shutil.which("lynis") is None:
            sys.stdout.write(f"no hardening index {label}: apt-get install lynis\n")
            return 0, set()
        line = (
            f"python {ROOT}/tests/torture/lynis_index.py --lab {LAB} --host host1 --label {label} "
            "--into lynis.jsonl"
        )
        found: dict[str, Any] = json.loads(self.types(line).stdout)
        sys.stdout.write(f"hardening index {label}: {found['index']}\n")
        wrong = {text.split()[0] for text in (*found["warnings"], *found["suggestions"])}
        return found["index"], wrong

    def redirects(self) -> str:
        """Return what host1 does with ICMP redirects, by network interface."""
        return self.types(f"bastide lab exec --host host1 -- {REDIRECTS}").stdout

    def inventory(self, host: str) -> dict[str, Any]:
        done = self.types(f"bastide lab exec -- python inventory.py {host}")
        found: dict[str, Any] = json.loads(done.stdout)
        return found


@pytest.fixture(scope="module")
def site(lab_tools: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Keeper]:  # noqa: ARG001
    site = Keeper(tmp_path_factory.mktemp("restore"), LAB)
    (site.folder / "fill.py").write_text(FILL)
    (site.folder / "inventory.py").write_text(INVENTORY)
    setup = (*brings("starter"), "bastide lab up --hosts 2", "bastide init site --lab")
    with site.with_lab(*setup):
        leave_out_host2(site.site / "site.yaml")
        yield site


def leave_out_host2(config: Path) -> None:
    """Take the second host out of a site; it stays up, bare."""
    text = config.read_text()
    alone = re.sub(r"\n  host2:\n    address: \S+\n    groups: \[.*?\]", "", text, flags=re.DOTALL)
    assert alone.count("address: ") == text.count("address: ") - 1
    config.write_text(alone)


def test_what_was_saved_comes_back_and_nothing_else_stays(site: Keeper) -> None:
    index, findings = site.hardening("before")
    before, redirects = site.inventory("host1"), site.redirects()
    site.asks("apply --yes")
    hardened, found = site.hardening("applied")
    assert hardened >= index
    assert found <= findings
    assert site.redirects() != redirects
    key = site.asks("keys show")["result"]
    url = key["base_urls"][0].removesuffix("/v1") + "/vectordb"
    fill = f"python fill.py {url} site/ca.pem {key['key']} 500"
    site.types(f"bastide lab exec -- {fill}")
    site.types("bastide backup init --site site --key-out recovery.key")
    saved = site.asks("backup create")["result"]
    assert saved["points"] == {"host1": {"docs": 500}}
    backup = saved["path"]
    assert site.asks("uninstall --yes")["result"]["done"][0]["left"]["data"] != []
    answer = site.asks("uninstall --yes --delete-data --confirm wrong", expect=2)
    assert answer["error"]["code"] == "BAS-2168"
    name = site.asks("uninstall --dry-run")["result"]["site"]
    site.asks(f"uninstall --yes --delete-data --confirm {name}")
    after = site.inventory("host1")
    bare, found = site.hardening("uninstalled")
    assert bare == index
    assert found <= findings
    assert site.redirects() == redirects
    for what in ("users", "groups", "packages", "sockets", "mounts", "firewall"):
        assert after[what] == before[what], what
    enabled = {unit: state[2] for unit, state in before["units"].items()}
    assert {unit: state[2] for unit, state in after["units"].items()} == enabled
    names = {*before["files"], *after["files"]}
    differing = {n for n in names if before["files"].get(n) != after["files"].get(n)}
    assert {name for name in differing if not TOLERATED.fullmatch(name)} == set()
    restored = site.asks(f"restore {backup} --key recovery.key --yes")["result"]
    (data,) = restored["data"]
    assert (data["points"], data["asked"], data["aside"]) == ({"docs": 500}, True, "")
    assert data["probes"] == 5
    again = site.asks(f"restore {backup} --key recovery.key --only data --yes", expect=6)
    assert again["error"]["code"] == "BAS-6132"


def test_the_same_site_on_another_host(site: Keeper) -> None:
    text = (site.folder / "site/site.yaml").read_text()
    found = re.search(r"address: (10\.213\.\d+)\.11", text)
    assert found
    (site.folder / "other.yaml").write_text(text.replace(f"{found[1]}.11", f"{found[1]}.12"))
    backup = site.asks("backup list")["result"]["backups"][-1]["path"]
    words = f"restore {backup} --key recovery.key --with-site other.yaml --yes"
    (data,) = site.asks(words, site="elsewhere")["result"]["data"]
    assert data["points"] == {"docs": 500}
    assert site.asks("status", site="elsewhere")["result"]["healthy"]


def test_a_drill_in_one_command(site: Keeper) -> None:
    backup = site.asks("backup list")["result"]["backups"][-1]["path"]
    done = site.types(f"bastide backup drill {backup} --key recovery.key --name e2edrill --json")
    result = json.loads(done.stdout)["result"]
    assert (result["verified"], result["failure"]) == (True, None)
    assert result["data"][0]["points"] == {"docs": 500}
