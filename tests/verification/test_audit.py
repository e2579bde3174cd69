"""What people ask and are told is recorded as site.yaml says: not at all, or where few can read."""

from __future__ import annotations

import json
import time
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import openai
import pytest

from bastide.schema.expectations import Expectations
from bastide.schema.site import Group
from bastide.verify.suite import Machine, Saw

pytestmark = pytest.mark.area("Audit")

UNIT, USER, FOLDER = "bastide-llm.service", "bastide-llm", "/var/lib/bastide/texts"
TRIES = 4  # questions for each of the LLM's hosts: the gateway chooses who answers
PATIENCE = 10.0  # s until the line of an answer is there


def _of_the_llm(machine: Machine) -> Machine:
    if Group.LLM not in machine.expected.groups:
        pytest.skip("no host of the LLM")
    return machine


def _lines_with(machine: Machine, phrase: str) -> list[dict[str, Any]]:
    """Return the lines of the host's record that have the phrase; none without a record."""
    command = "cat %s/*.jsonl 2>/dev/null | grep --fixed-strings --regexp=%s"
    found = machine.host.run(command, FOLDER, phrase).stdout.split("\n")
    return [json.loads(line) for line in found if line]


def _ask(chat: openai.OpenAI, model: str) -> str:
    """Ask something that nobody else asks; return what."""
    phrase = f"bastide-verify-{uuid.uuid4()}"
    chat.chat.completions.create(
        model=model, messages=[{"role": "user", "content": f"Say {phrase}"}], max_tokens=1
    )
    return phrase


def test_the_unit_records_as_site_yaml_says(
    machine: Machine, expected: Expectations, saw: Saw
) -> None:
    """The LLM's unit records texts for the days that site.yaml says, or has no folder for them"""
    host = _of_the_llm(machine).host
    folder = host.check_output("systemctl show -P StateDirectory %s", UNIT)
    environment = host.check_output("systemctl show -P Environment %s", UNIT).split()
    if expected.texts_days is None:
        assert "bastide/texts" not in folder.split(), f"it may write {folder}"
        assert not [each for each in environment if each.startswith("BASTIDE_TEXTS")]
        saw("no texts are recorded")
        if host.file(FOLDER).exists:
            saw(f"{FOLDER} is there from earlier, and nobody deletes its days")
    else:
        assert "bastide/texts" in folder.split(), f"its state is {folder or 'nowhere'}"
        assert f"BASTIDE_TEXTS_DAYS={expected.texts_days}" in environment
        saw(f"kept for {expected.texts_days} days")


def test_nobody_but_the_server_can_read_the_record(
    machine: Machine, expected: Expectations, saw: Saw
) -> None:
    """The record belongs to the LLM's user, is closed to all others, and has only days that were"""
    if expected.texts_days is None:
        pytest.skip("no texts are recorded")
    host = _of_the_llm(machine).host
    folder = host.file(FOLDER)
    assert folder.is_directory
    assert not folder.is_symlink
    assert (folder.user, folder.group, folder.mode) == (USER, USER, 0o700)
    found = host.check_output("find %s -mindepth 1 -printf '%%y %%u %%m %%f\\n'", FOLDER)
    lines = found.splitlines()
    assert lines, "not even this day's file is there"
    wrong = [line for line in lines if not line.startswith(f"f {USER} 600 ")]
    assert not wrong, f"expected files of {USER} with mode 0600, found {wrong}"
    days = sorted(line.split()[3].removesuffix(".jsonl") for line in lines)
    saw(f"{len(days)} days, from {days[0]} to {days[-1]}")
    now = datetime.fromtimestamp(int(host.check_output("date +%s")), UTC)
    assert days[-1] <= f"{now + timedelta(days=1):%Y-%m-%d}", f"{days[-1]} has not come yet"


def test_what_is_asked_is_recorded_or_not(
    machine: Machine, expected: Expectations, chat: openai.OpenAI, saw: Saw
) -> None:
    """A question through the gateway and its answer are in the record, if and only if it is kept"""
    _of_the_llm(machine)
    if expected.texts_days is None:
        phrase = _ask(chat, expected.chat_model)
        assert not _lines_with(machine, phrase), "it was recorded, and site.yaml says never"
        return
    servers = sum(Group.LLM in each.groups for each in expected.hosts.values())
    for _ in range(TRIES * servers):
        phrase = _ask(chat, expected.chat_model)
        if asked := _lines_with(machine, phrase):
            break
    else:
        pytest.fail(f"none of {TRIES * servers} questions is in the record of {machine.name}")
    number, identity = asked[0]["id"], asked[0]["identity"]
    assert identity == "full", f"recorded as {identity}'s"
    deadline = time.monotonic() + PATIENCE
    while "answered" not in {each["event"] for each in _lines_with(machine, number)}:
        assert time.monotonic() < deadline, "the answer is not recorded"
        time.sleep(0.2)
    saw(f"request {number} of {identity}")
