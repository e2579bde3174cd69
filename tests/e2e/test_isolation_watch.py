"""The proof of isolation over a whole life: installed, upgraded, rolled back, uninstalled.

Two lab hosts, watched from before the first packet until nothing of Bastide is left on them. What
uninstalling takes away (the packet filter, nftables itself) the recorder has to outlive.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from site_operator import Operator, brings

pytestmark = [pytest.mark.e2e, pytest.mark.long]

LAB = "e2ewatch"
OLD, NEW = "starter-2026.11.0", "starter-2026.12.0"
HOSTS = ("host1", "host2")


@pytest.fixture(scope="module")
def operator(
    lab_tools: None,  # noqa: ARG001
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Operator]:
    operator = Operator(tmp_path_factory.mktemp("watch"), LAB)
    with operator.with_lab(*brings(OLD, NEW), "bastide lab up --hosts 2"):
        begins(operator)
        yield operator


def begins(operator: Operator) -> None:
    """Describe the site: services on one host, the gateway on another, so that packets flow."""
    operator.types(
        f"bastide init site --lab --release {OLD} "
        f"--host host1={operator.address('host1')}:llm,embeddings,vectordb "
        f"--host host2={operator.address('host2')}:gateway"
    )
    operator.describes("drain_seconds: 300", "drain_seconds: 60")


def test_from_installation_to_removal_nothing_leaves(operator: Operator) -> None:
    operator.asks("verify --isolation --start")
    operator.asks("apply --yes")
    upgrades(operator)
    operator.asks("rollback --yes")
    assert operator.asks("status")["result"]["healthy"]
    operator.asks("uninstall --yes")
    report = stops(operator)
    assert not seen(report), report
    for host in HOSTS:
        assert "watch-bastide" not in operator.on_host("systemctl list-units --all", host=host)


def upgrades(operator: Operator) -> None:
    """Go to the next release, with its gates."""
    operator.describes(f"release: {OLD}", f"release: {NEW}")
    operator.describes("llm: smollm2-135m-instruct-q4_1", "llm: smollm2-135m-instruct-q4_1-t2")
    operator.plans_and_applies()


def stops(operator: Operator) -> dict[str, Any]:
    """End the watch; return what it saw, proved or not."""
    line = "bastide lab exec -- bastide verify --isolation --stop --site site --json"
    answer = json.loads(operator.types(line, expect=None).stdout)
    assert answer["error"] is None, answer["error"]
    found: dict[str, Any] = answer["result"]["report"]["statement"]
    return found


def seen(statement: dict[str, Any]) -> list[Any]:
    """Return every fault of a report."""
    return [each["faults"] for each in statement["hosts"] if each.get("faults")]
