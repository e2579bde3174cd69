"""A TLS server on loopback that shows one certificate, and the site whose hosts are all there."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path

import plan_factories as make

from bastide.schema.site import Site
from bastide.site import pki

GREETING = b"hello"


def local_site() -> Site:
    """Return a site whose control node and only host are this machine."""
    site = make.make_site(control_address="127.0.0.1")
    return site.replace(hosts={"host1": site.hosts["host1"].replace(address="127.0.0.1")})


@contextlib.contextmanager
def serving(certified: pki.Certified, folder: Path) -> Iterator[int]:
    """Show a certificate to the first who connects, and greet them; yield the port."""
    chain = folder / "server.pem"
    chain.write_text(certified.certificate_pem + certified.key_pem)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(chain)
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def answer() -> None:
            with contextlib.suppress(OSError):
                connection, _ = listener.accept()
                with connection, context.wrap_socket(connection, server_side=True) as tls:
                    tls.sendall(GREETING)

        thread = threading.Thread(target=answer)
        thread.start()
        try:
            yield listener.getsockname()[1]
        finally:
            thread.join(20)
