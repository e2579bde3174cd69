"""The site's certificates in real TLS handshakes, with the strictest verification there is."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import plan_factories as make
import pytest

from bastide.schema.site import Site
from bastide.site import pki

pytestmark = pytest.mark.integration
NOW = datetime.now(UTC)


def local_site() -> Site:
    site = make.make_site(control_address="127.0.0.1")
    return site.replace(hosts={"host1": site.hosts["host1"].replace(address="127.0.0.1")})


@contextlib.contextmanager
def server(certified: pki.Certified, folder: Path) -> Iterator[int]:
    chain = folder / "server.pem"
    chain.write_text(certified.certificate_pem + certified.key_pem)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(chain)
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def answer() -> None:
            with contextlib.suppress(OSError):
                connection, _ = listener.accept()
                with connection, context.wrap_socket(connection, server_side=True) as tls:
                    tls.sendall(b"hello")

        thread = threading.Thread(target=answer)
        thread.start()
        try:
            yield listener.getsockname()[1]
        finally:
            thread.join(20)


def greet(port: int, authority_pem: str, name: str) -> bytes:
    context = ssl.create_default_context(cadata=authority_pem)
    context.verify_flags |= ssl.VerifyFlags.VERIFY_X509_STRICT
    with (
        socket.create_connection(("127.0.0.1", port), timeout=20) as connection,
        context.wrap_socket(connection, server_hostname=name) as tls,
    ):
        return tls.recv(5)


@pytest.mark.parametrize("name", ["127.0.0.1", "bastide.internal"])
def test_clients_with_the_site_ca_trust_the_gateway(tmp_path: Path, name: str) -> None:
    authority = pki.make_authority("plant", NOW)
    with server(pki.issue_gateway(authority, local_site(), NOW), tmp_path) as port:
        assert greet(port, authority.certificate_pem, name) == b"hello"


def test_hosts_trust_the_depot_by_its_address(tmp_path: Path) -> None:
    authority = pki.make_authority("plant", NOW)
    with server(pki.issue_depot(authority, local_site(), NOW), tmp_path) as port:
        assert greet(port, authority.certificate_pem, "127.0.0.1") == b"hello"


def test_another_sites_ca_trusts_nothing(tmp_path: Path) -> None:
    certified = pki.issue_depot(pki.make_authority("plant", NOW), local_site(), NOW)
    other = pki.make_authority("plant", NOW)
    with server(certified, tmp_path) as port, pytest.raises(ssl.SSLCertVerificationError):
        greet(port, other.certificate_pem, "127.0.0.1")


def test_another_name_is_not_trusted(tmp_path: Path) -> None:
    authority = pki.make_authority("plant", NOW)
    certified = pki.issue_depot(authority, local_site(), NOW)
    with server(certified, tmp_path) as port, pytest.raises(ssl.SSLCertVerificationError):
        greet(port, authority.certificate_pem, "bastide.internal")
