"""What the host agent does with recorded prompts and answers: it knows of them, and reads none."""

from __future__ import annotations

import base64
import gzip
import json
import subprocess
from pathlib import Path

import pytest
from bastide_host import backup, facts, places, support
from bastide_host.host import Paths

CANARY = "the-words-of-somebody"
DAY = "/var/lib/bastide/texts/2026-11-26.jsonl"


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Paths:
    """Yield a host with texts recorded on it, whose programs say nothing."""
    paths = Paths(tmp_path)
    line = json.dumps({"event": "asked", "body": {"prompt": CANARY}})
    for name, words in (
        (DAY, line),
        ("/var/lib/bastide/vectordb/storage/collections/docs/data", "data"),
        ("/opt/bastide/generations/1/etc/llm.json", "{}"),
        ("/opt/bastide/generations/1/units/bastide-llm.service", "[Service]\n"),
        ("/opt/bastide/generations/1/generation.json", '{"digest": "x"}'),
        ("/etc/os-release", "ID=debian\n"),
        ("/etc/passwd", "root:x:0:0::/root:/bin/sh\n"),
    ):
        place = paths.at(name)
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(words)
    paths.at("/proc").mkdir()
    paths.current.symlink_to("generations/1")

    def run(argv: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        return subprocess.CompletedProcess(argv, 0, "nothing", "")

    for module in (support, facts):
        monkeypatch.setattr(module, "run", run)
    return paths


def test_a_support_bundle_has_none(host: Paths) -> None:
    packed = support.support(host)["packed"]
    texts = json.loads(gzip.decompress(base64.b64decode(packed)))
    assert "etc/llm.json" in texts  # it has read what it reads
    assert "/var/lib/bastide/texts" in texts["facts.json"]  # that they are kept may be known
    assert CANARY not in str(texts)
    assert not [name for name in texts if "texts" in name or "jsonl" in name]


def test_facts_say_that_they_are_there_and_nothing_of_them(host: Paths) -> None:
    assert places.places(host)["/var/lib/bastide/texts"] == "folder"
    assert "2026-11-26" not in json.dumps(facts.facts(host))


def test_a_backups_copy_has_none(host: Paths) -> None:
    backup.backup_begin(host, {"id": "backup-20261126"})
    copied = [path for path in host.snapshots.rglob("*") if path.is_file()]
    assert any(path.name == "data" for path in copied)
    assert not [path for path in copied if CANARY.encode() in path.read_bytes()]
