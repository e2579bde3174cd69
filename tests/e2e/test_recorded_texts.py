"""Prompts and answers on a real host: recorded because site.yaml says so, and nowhere else."""

from __future__ import annotations

import json
import tarfile
from collections.abc import Iterator
from typing import Any

import pytest
from load_operator import until
from site_operator import ON_CONTROL, Operator, brings

pytestmark = [pytest.mark.e2e, pytest.mark.long]

LAB = "e2etexts"
TEXTS = "/var/lib/bastide/texts"
PHRASE = "heliotrope-7741"
ASK = """
import json, sys, httpx
url, key, phrase = sys.argv[1:]
asked = {"messages": [{"role": "user", "content": f"Say {phrase}"}], "max_tokens": 8,
         "model": "any", "stream": True}
client = httpx.Client(verify="site/ca.pem", headers={"Authorization": f"Bearer {key}"}, timeout=60)
answer = client.post(f"{url}/chat/completions", json=asked)
print(json.dumps({"status": answer.status_code, "id": answer.headers["x-request-id"],
                  "text": answer.text}))
"""


class Recorder(Operator):
    """An operator whose site has to know what was said."""

    def chats(self, phrase: str = PHRASE) -> dict[str, Any]:
        """Ask the model for something, through the gateway."""
        key = self.asks("keys show")["result"]
        line = f"{ON_CONTROL} python ask.py {key['base_urls'][0]} {key['key']} {phrase}"
        answer: dict[str, Any] = json.loads(self.types(line).stdout)
        return answer

    def lines(self, number: str) -> dict[str, dict[str, Any]]:
        """Return what is recorded of a request, by event."""
        text = self.on_host(f"sh -c 'grep -h {number} {TEXTS}/*.jsonl'", expect=None)
        return {each["event"]: each for each in map(json.loads, text.splitlines())}

    def keeps(self, was: str, days: str) -> None:
        """Change for how long texts are kept, and apply that."""
        self.describes(f"texts_days: {was}", f"texts_days: {days}")
        self.plans_and_applies()


@pytest.fixture(scope="module")
def recorder(lab_tools: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Recorder]:  # noqa: ARG001
    recorder = Recorder(tmp_path_factory.mktemp("texts"), LAB)
    (recorder.folder / "ask.py").write_text(ASK)
    setup = (*brings("starter"), "bastide lab up --hosts 1", "bastide init site --lab")
    with recorder.with_lab(*setup):
        recorder.asks("apply --yes")
        yield recorder


def test_nothing_is_recorded_unless_the_site_says_so(recorder: Recorder) -> None:
    assert recorder.chats()["status"] == 200
    assert recorder.on_host(f"sh -c 'ls -d {TEXTS} 2>&1'", expect=None).strip() != TEXTS


def test_what_is_asked_and_answered_is_recorded_whole(recorder: Recorder) -> None:
    recorder.describes("texts_days: null", "texts_days: 30")
    (host,) = recorder.asks("plan")["result"]["plan"]["hosts"]
    assert TEXTS in {each["path"] for each in host["paths"]}
    units = {unit["name"] for unit in host["units"]}
    assert units == {"bastide-llm.service", "bastide-gateway.service"}  # which only reloads
    recorder.applies()
    answer = recorder.chats()
    assert until(lambda: "answered" in recorder.lines(answer["id"]), 10) < 10
    told = recorder.lines(answer["id"])
    assert told["asked"]["identity"] == "full"
    assert PHRASE in told["asked"]["body"]["messages"][0]["content"]
    assert (told["answered"]["status"], told["answered"]["whole"]) == (200, True)
    assert told["answered"]["answer"][0]["content"]
    assert recorder.on_host(f"stat -c '%U %a' {TEXTS}").split() == ["bastide-llm", "700"]
    recorder.asks("verify")


def test_it_is_nowhere_else(recorder: Recorder) -> None:
    recorder.types(f"{ON_CONTROL} bastide support-bundle --site site --yes --out support.tar.gz")
    with tarfile.open(recorder.folder / "support.tar.gz") as archive:
        files = [archive.extractfile(each) for each in archive.getmembers() if each.isfile()]
        assert files
        assert not [each for each in files if each and PHRASE.encode() in each.read()]
    journal = 'sh -c \'journalctl --namespace="*" --no-pager | grep -c ' + PHRASE + "'"
    assert recorder.on_host(journal, expect=None).strip() == "0"


def test_no_answer_without_a_record(recorder: Recorder) -> None:
    today = f"{TEXTS}/$(date -u +%F).jsonl"
    recorder.on_host(f"sh -c 'chattr +i {today}'")
    refused = recorder.chats("unrecorded-1")
    recorder.on_host(f"sh -c 'chattr -i {today}'")
    assert refused["status"] == 503
    assert json.loads(refused["text"])["error"]["code"] == "record_unavailable"
    until(lambda: recorder.chats()["status"] == 200)


def test_switched_off_it_stays_and_is_warned_of(recorder: Recorder) -> None:
    recorder.keeps("30", "null")
    number = recorder.chats()["id"]
    assert recorder.lines(number) == {}
    checks = recorder.asks("preflight")["result"]["checks"]
    assert "BAS-5195" in {each["code"] for each in checks if each["result"] == "warned"}
    recorder.asks("verify")


def test_an_uninstall_keeps_it_unless_asked_twice(recorder: Recorder) -> None:
    (done,) = recorder.asks("uninstall --yes")["result"]["done"]
    assert TEXTS in done["left"]["data"]
    name = recorder.asks("uninstall --dry-run")["result"]["site"]
    recorder.asks(f"uninstall --yes --delete-data --confirm {name}")
    assert recorder.on_host("sh -c 'ls /var/lib/bastide 2>&1'", expect=None).count("texts") == 0
