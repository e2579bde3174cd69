"""The proof of isolation over a whole life: installed, upgraded, rolled back, uninstalled.

Two lab hosts, watched from before the first packet until nothing of Bastide is left on them. What
uninstalling takes away (the packet filter, nftables itself) the recorder has to outlive.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from site_operator import Operator, brings
from upgrade_site import catalogue

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
    # Golden questions have tests of their own, and take minutes.
    catalogue(operator.folder / "catalogue")
    lines = (line.replace("build", "build --catalogue catalogue") for line in brings(OLD, NEW))
    with operator.with_lab(*lines, "bastide lab up --hosts 2"):
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
    operator.asks("verify --isolation --stop")  # exit code 0: proved
    for host in HOSTS:
        assert "watch-bastide" not in operator.on_host("systemctl list-units --all", host=host)


def upgrades(operator: Operator) -> None:
    """Go to the next release, with its gates."""
    operator.describes(f"release: {OLD}", f"release: {NEW}")
    operator.describes("llm: smollm2-135m-instruct-q4_1", "llm: smollm2-135m-instruct-q4_1-t2")
    operator.plans_and_applies()
