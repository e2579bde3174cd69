"""Certificates of a running site, changed under load: renewed, signed elsewhere, rolled, switched.

The tests are one story, in this order, on two lab hosts: host1 does everything, host2 answers the
same questions as host1, over mutual TLS. What clients noticed is told (``-s``).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from load_operator import Loader
from site_operator import ON_CONTROL, brings

pytestmark = [pytest.mark.e2e, pytest.mark.long]

LAB = "e2ecerts"
SHOWN = "openssl s_client -connect {0}:8443 </dev/null 2>/dev/null | openssl x509 -outform DER"
SIGN = (
    "openssl x509 -req -in gateway.csr -CA corp.pem -CAkey corp.key -CAcreateserial "
    "-copy_extensions copy -days 90 -out gateway.crt"
)
CORP = (
    "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj '/CN=Corp Root' "
    "-days 400 -keyout corp.key -out corp.pem"
)


class Office(Loader):
    """An operator who looks at what the gateway shows, and asks it all the while."""

    clients = "--chats 1 --queries 1 --embeddings 1 --writes 1 --pause 0.2"

    def shown(self) -> str:
        """Return the SHA-256 of the certificate that the gateway shows now."""
        line = f"{ON_CONTROL} sh -c '{SHOWN.format(self.entry)} | sha256sum'"
        return self.types(line).stdout.split()[0]

    def certificates(self) -> dict[str, dict[str, Any]]:
        found = self.asks("certificates list")["result"]["certificates"]
        return {each["name"]: each for each in found}

    def planned(self) -> dict[str, Any]:
        plan: dict[str, Any] = self.asks("plan")["result"]["plan"]
        return plan


@pytest.fixture(scope="module")
def office(lab_tools: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Office]:  # noqa: ARG001
    office = Office(tmp_path_factory.mktemp("certs"), LAB)
    with office.with_lab(*brings("starter"), "bastide lab up --hosts 2"):
        office.types(
            f"bastide init site --lab --host host1={office.entry}:llm,embeddings,vectordb,gateway "
            f"--host host2={office.address('host2')}:llm,embeddings"
        )
        office.asks("apply --yes")
        office.takes_key()
        yield office


def test_a_renewal_by_plan_costs_no_request(office: Office) -> None:
    before = office.certificates()
    assert office.shown() == before["gateway"]["sha256"]
    office.asks("certificates renew all --reason test")
    plan = office.planned()
    names = {each["name"] for each in plan["certificates"]}
    assert names == {"gateway", "depot", "service-host2", "agent-host2", "gateway-client"}
    assert all("gateway" not in host["interruption"] for host in plan["hosts"])
    with office.load("renewal") as seen:
        office.applies()
    assert seen["failed"] == 0
    after = office.certificates()
    assert office.shown() == after["gateway"]["sha256"] != before["gateway"]["sha256"]
    for name in names - {"depot"}:
        assert after[name]["sha256"] != before[name]["sha256"], name
        assert all(use["live"] for use in after[name]["used"]), name


def test_the_organisations_ca_signs_and_the_machines_ca_is_rolled(office: Office) -> None:
    old = office.certificates()["machines-ca"]["sha256"]
    office.asks("certificates csr --out gateway.csr")
    office.types(CORP)
    office.types(SIGN)
    office.asks("certificates import gateway.crt --anchor corp.pem")
    office.asks("certificates roll machines --reason stolen")
    with office.load("roll") as seen:
        for step in (1, 2, 3):
            assert any(f"step {step} of 3" in c["why"] for c in office.planned()["certificates"])
            office.applies()
    assert seen["failed"] == 0
    found = office.certificates()
    assert {each["state"] for each in found.values()} == {"good"}
    assert found["machines-ca"]["sha256"] != old
    assert office.shown() == found["gateway"]["sha256"]
    assert found["gateway"]["issuer"] == "CN=Corp Root"
    line = (
        f"openssl s_client -CAfile corp.pem -verify_return_error -verify_ip {office.entry} "
        f"-connect {office.entry}:8443 </dev/null"
    )
    office.types(f'{ON_CONTROL} sh -c "{line}"')
    office.asks("verify")


def test_mutual_tls_is_switched_off_and_on(office: Office) -> None:
    for now, then in (("true", "false"), ("false", "true")):
        office.describes(f"mutual_tls: {now}", f"mutual_tls: {then}")
        office.asks("plan")
        with office.load(f"mutual-tls-{then}") as seen:
            office.applies()
        assert all(each["good"] for each in seen["kinds"].values())
        assert office.asks("status")["result"]["healthy"]
        office.asks("verify")
