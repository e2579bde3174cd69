"""The site's certificates in real TLS handshakes, with the strictest verification there is."""

from __future__ import annotations

import socket
import ssl
from datetime import UTC, datetime
from pathlib import Path

import pytest
from tls_server import GREETING, local_site, serving

from bastide.site import pki

pytestmark = pytest.mark.integration
NOW = datetime.now(UTC)


def greet(port: int, authority_pem: str, name: str) -> bytes:
    context = ssl.create_default_context(cadata=authority_pem)
    context.verify_flags |= ssl.VerifyFlags.VERIFY_X509_STRICT
    with (
        socket.create_connection(("127.0.0.1", port), timeout=20) as connection,
        context.wrap_socket(connection, server_hostname=name) as tls,
    ):
        return tls.recv(len(GREETING))


@pytest.mark.parametrize("name", ["127.0.0.1", "bastide.internal"])
def test_clients_with_the_site_ca_trust_the_gateway(tmp_path: Path, name: str) -> None:
    authority = pki.make_authority("plant", NOW)
    with serving(pki.issue_gateway(authority, local_site(), NOW), tmp_path) as port:
        assert greet(port, authority.certificate_pem, name) == GREETING


def test_hosts_trust_the_depot_by_its_address(tmp_path: Path) -> None:
    authority = pki.make_authority("plant", NOW)
    with serving(pki.issue_depot(authority, local_site(), NOW), tmp_path) as port:
        assert greet(port, authority.certificate_pem, "127.0.0.1") == GREETING


def test_another_sites_ca_trusts_nothing(tmp_path: Path) -> None:
    certified = pki.issue_depot(pki.make_authority("plant", NOW), local_site(), NOW)
    other = pki.make_authority("plant", NOW)
    with serving(certified, tmp_path) as port, pytest.raises(ssl.SSLCertVerificationError):
        greet(port, other.certificate_pem, "127.0.0.1")


def test_another_name_is_not_trusted(tmp_path: Path) -> None:
    authority = pki.make_authority("plant", NOW)
    certified = pki.issue_depot(authority, local_site(), NOW)
    with serving(certified, tmp_path) as port, pytest.raises(ssl.SSLCertVerificationError):
        greet(port, authority.certificate_pem, "bastide.internal")
