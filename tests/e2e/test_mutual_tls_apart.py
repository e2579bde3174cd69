"""Mutual TLS switched under load where a service has no server on the gateway's host.

What the plan says of it beforehand, and what clients noticed (``-s``).
"""

from __future__ import annotations

import sys
from collections.abc import Iterator

import pytest
from load_operator import Loader
from site_operator import brings

pytestmark = [pytest.mark.e2e, pytest.mark.long]

LAB = "e2eapart"


class Office(Loader):
    """A site of a gateway with a language model, and a host with all else."""

    clients = "--chats 1 --queries 1 --embeddings 1 --writes 1 --pause 0.2"


@pytest.fixture(scope="module")
def office(lab_tools: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Office]:  # noqa: ARG001
    office = Office(tmp_path_factory.mktemp("apart"), LAB)
    with office.with_lab(*brings("starter"), "bastide lab up --hosts 2"):
        office.types(
            f"bastide init site --lab --host host1={office.entry}:llm,gateway "
            f"--host host2={office.address('host2')}:llm,embeddings,vectordb"
        )
        office.asks("apply --yes")
        office.takes_key()
        yield office


@pytest.mark.parametrize(("now", "then"), [("true", "false"), ("false", "true")])
def test_it_comes_back_by_itself(office: Office, now: str, then: str) -> None:
    office.describes(f"mutual_tls: {now}", f"mutual_tls: {then}")
    plan = office.asks("plan")["result"]["plan"]
    for host in plan["hosts"]:
        sys.stdout.write(f"planned, {host['host']}: {host['interruption']}\n")
    with office.load(f"mutual-tls-{then}") as seen:
        office.applies()
    assert all(each["good"] for each in seen["kinds"].values())
    assert office.asks("status")["result"]["healthy"]
    office.asks("verify")
