"""Connections to services: plain on loopback, with this host's own certificate beyond it.

No certificate's dates are looked at: a host whose clock is wrong must still be able to fetch, to
see that its services are well, and so to be given new certificates. Who signed a certificate, and
for which address, is looked at always.
"""

from __future__ import annotations

import http.client
import ssl
import urllib.parse
from pathlib import Path

from bastide_host.host import Paths, read_json

NO_CHECK_TIME = 0x200000  # OpenSSL's X509_V_FLAG_NO_CHECK_TIME, which Python has no name for


def trusting(authority: Path) -> ssl.SSLContext:
    """Return a client's TLS that trusts the CAs in a file, whatever the time is."""
    context = ssl.create_default_context(cafile=str(authority))
    context.verify_flags = ssl.VerifyFlags(context.verify_flags | NO_CHECK_TIME)
    return context


def connect(paths: Paths, url: str, seconds: float) -> http.client.HTTPConnection:
    """Return a connection to a service of this host; it is opened by the first request.

    Args:
        paths: The host's paths.
        url: Where ``etc/host.json`` says that the service listens.
        seconds: How long to wait for an answer.

    Raises:
        OSError: A certificate or key cannot be read.
    """
    parts = urllib.parse.urlsplit(url)
    host, port = parts.hostname or "", parts.port
    if parts.scheme != "https":
        return http.client.HTTPConnection(host, port, timeout=seconds)
    machines = (read_json(paths.current / "etc/host.json") or {}).get("mutual_tls") or {}
    if port in machines.get("ports", ()):
        context = trusting(paths.at(machines["authority"]))
        context.load_cert_chain(paths.at(machines["client"]))
    else:
        context = trusting(paths.etc / "ca.pem")
    return http.client.HTTPSConnection(host, port, timeout=seconds, context=context)
