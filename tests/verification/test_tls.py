"""Clients can be sure whom they talk to, and nobody reads along."""

from __future__ import annotations

import os
import socket
import ssl
import time
import warnings

import pytest

from bastide.schema.expectations import Expectations
from bastide.verify.suite import CONNECT, Machine, Saw

pytestmark = pytest.mark.area("TLS")

SOON = 7 * 86400  # s; a certificate that ends within a week fails
WARN = 30 * 86400  # s; one that ends within a month is told of


def _handshake(expected: Expectations, context: ssl.SSLContext, name: str) -> ssl.SSLSocket:
    gateway = expected.gateway
    plain = socket.create_connection((gateway.address, gateway.port), CONNECT)
    return context.wrap_socket(plain, server_hostname=name)


def test_certificate_is_signed_by_the_site(
    expected: Expectations, tls: ssl.SSLContext, saw: Saw
) -> None:
    """The certificate is signed by the site CA, for the gateway's name and for its address"""
    for name in (expected.gateway.name, expected.gateway.address):
        with _handshake(expected, tls, name) as connection:
            cipher = connection.cipher()
            saw(f"{name}: {connection.version()}, {cipher[0] if cipher else 'no cipher'}")


def test_certificate_is_valid_now_and_for_a_while(
    expected: Expectations, tls: ssl.SSLContext, saw: Saw
) -> None:
    """The certificate is valid now, and for a week at least"""
    with _handshake(expected, tls, expected.gateway.name) as connection:
        certificate = connection.getpeercert() or {}
    begin, end = str(certificate["notBefore"]), str(certificate["notAfter"])
    left = ssl.cert_time_to_seconds(end) - time.time()
    early = ssl.cert_time_to_seconds(begin) - time.time()
    warning = ": renew it within 30 days of its end (`bastide plan`)" if left < WARN else ""
    saw(f"valid until {end}, {left / 86400:.0f} days from now{warning}")
    if "BASTIDE_PASS_FILE" in os.environ:
        pytest.skip("a gate judges a generation, which certificates are no part of")
    assert early <= 0, f"valid only from {begin} on: is this machine's clock right?"
    assert left > SOON, f"the certificate ends on {end}: `bastide plan` renews it"


def test_others_do_not_trust_it(expected: Expectations) -> None:
    """A client without the site CA refuses it (so the check above can fail)"""
    context = ssl.create_default_context()
    with pytest.raises(ssl.SSLCertVerificationError):
        _handshake(expected, context, expected.gateway.name)


def test_another_name_is_refused(expected: Expectations, tls: ssl.SSLContext) -> None:
    """The certificate is not valid for any other name"""
    with pytest.raises(ssl.SSLCertVerificationError):
        _handshake(expected, tls, "another-host.invalid")


def test_old_versions_are_refused(expected: Expectations, saw: Saw) -> None:
    """TLS 1.1 and older are refused by the gateway"""
    context = ssl.create_default_context(cafile=expected.gateway.authority)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        context.minimum_version = ssl.TLSVersion.TLSv1
        context.maximum_version = ssl.TLSVersion.TLSv1_1
    context.set_ciphers("ALL:@SECLEVEL=0")  # else this side would refuse first
    with pytest.raises(ssl.SSLError) as refusal:
        _handshake(expected, context, expected.gateway.name)
    if refusal.value.reason == "NO_PROTOCOLS_AVAILABLE":
        pytest.skip("this machine's own OpenSSL cannot speak TLS 1.1, so it cannot ask")
    saw(f"refused: {refusal.value.reason}")


def test_plain_http_is_not_answered(expected: Expectations) -> None:
    """The port gives no answer to unencrypted HTTP"""
    gateway = expected.gateway
    with socket.create_connection((gateway.address, gateway.port), CONNECT) as plain:
        plain.sendall(b"GET /healthz HTTP/1.1\r\nHost: bastide\r\nConnection: close\r\n\r\n")
        try:
            answer = plain.recv(100)
        except ConnectionError:
            answer = b""
    assert b" 200 " not in answer, f"answered: {answer!r}"


# Says "refused" or what was answered; runs on the host, with what every host has.
_PLAIN_PYTHON = """
import http.client, ssl, sys
host, port, scheme = sys.argv[1:]
context = ssl.create_default_context()
context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
if scheme == "https":
    connection = http.client.HTTPSConnection(host, int(port), timeout=10, context=context)
else:
    connection = http.client.HTTPConnection(host, int(port), timeout=10)
try:
    connection.request("GET", "/healthz")
    print(scheme, "answered", connection.getresponse().status)
except (OSError, http.client.HTTPException) as error:
    print("refused", type(error).__name__)
"""


def test_services_take_no_client_without_a_certificate(machine: Machine, saw: Saw) -> None:
    """Services beyond loopback answer neither in the clear nor to a client without certificate"""
    services = [each for each in machine.expected.listeners if each.mutual_tls]
    if not services:
        pytest.skip("its services listen on loopback only, or the site has no mutual TLS")
    said = []
    for service in services:
        for scheme in ("https", "http"):
            command = machine.host.run(
                "python3 -c %s %s %s %s", _PLAIN_PYTHON, service.address, str(service.port), scheme
            )
            said.append(f"{service.service} by {scheme}: {command.stdout.strip()}")
    saw("; ".join(said))
    assert all(" refused " in each for each in said), said
