"""The depot over real TLS on loopback: what it serves, to whom, and nothing besides."""

from __future__ import annotations

import hashlib
import http.client
import socket
import ssl
import threading
import warnings
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path

import pytest
from a_site import a_site

from bastide.errors import PreflightError
from bastide.run.depot import Depot, Identity
from bastide.schema.site import SERVING, Site
from bastide.site.pki import issue_depot, make_authority

pytestmark = pytest.mark.integration

TOKEN = "a-token-of-this-run"
CONTENT = bytes(range(251)) * 12_000 + b"!"
DIGEST = hashlib.sha256(CONTENT).hexdigest()
EMPTY = hashlib.sha256(b"").hexdigest()


def make_site() -> Site:
    return a_site({"host1": ("127.0.0.1", SERVING)}, {"control_address": "127.0.0.1"})


class Served:
    """A running depot and a client's view of it."""

    def __init__(self, depot: Depot, authority_pem: str) -> None:
        self.depot = depot
        self.context = ssl.create_default_context(cadata=authority_pem)

    def connect(self) -> http.client.HTTPSConnection:
        return http.client.HTTPSConnection(
            "127.0.0.1", self.depot.port, context=self.context, timeout=10
        )

    def get(
        self, path: str, headers: Mapping[str, str] | None = None, *, method: str = "GET"
    ) -> tuple[int, bytes, http.client.HTTPMessage]:
        connection = self.connect()
        given = {"Authorization": f"Bearer {TOKEN}"} if headers is None else dict(headers)
        connection.request(method, path, headers=given)
        response = connection.getresponse()
        body = response.read()
        connection.close()
        return response.status, body, response.headers

    def part(self, value: str) -> tuple[int, bytes, http.client.HTTPMessage]:
        return self.get(f"/sha256/{DIGEST}", {"Authorization": f"Bearer {TOKEN}", "Range": value})


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("store")
    (folder / "blob").write_bytes(CONTENT)
    (folder / "empty").write_bytes(b"")
    (folder / "secret").write_text("not listed")
    authority = make_authority("try", datetime.now(UTC))
    certified = issue_depot(authority, make_site(), datetime.now(UTC))
    blobs = {
        DIGEST: folder / "blob",
        EMPTY: folder / "empty",
        "0" * 64: folder / "is not there",
    }
    identity = Identity(certified.certificate_pem, certified.key_pem)
    with Depot(("127.0.0.1", 0), identity, TOKEN, blobs) as depot:
        yield Served(depot, authority.certificate_pem)


def test_a_listed_blob_comes_whole_and_is_counted(served: Served) -> None:
    before = served.depot.traffic.by_address().get("127.0.0.1", 0)
    status, body, headers = served.get(f"/sha256/{DIGEST}")
    assert (status, hashlib.sha256(body).hexdigest()) == (200, DIGEST)
    assert headers["Accept-Ranges"] == "bytes"
    assert served.depot.traffic.by_address()["127.0.0.1"] - before == len(CONTENT)


def test_a_transfer_can_be_resumed(served: Served) -> None:
    status, body, headers = served.part("bytes=1000000-")
    assert (status, body) == (206, CONTENT[1_000_000:])
    assert headers["Content-Range"] == f"bytes 1000000-{len(CONTENT) - 1}/{len(CONTENT)}"
    assert served.part("bytes=5-9")[1] == CONTENT[5:10]
    assert served.part("bytes=-7")[1] == CONTENT[-7:]


def test_a_range_beyond_the_end_is_refused_with_the_size(served: Served) -> None:
    status, _, headers = served.part(f"bytes={len(CONTENT)}-")
    assert (status, headers["Content-Range"]) == (416, f"bytes */{len(CONTENT)}")


def test_an_empty_blob_and_a_head_request(served: Served) -> None:
    assert served.get(f"/sha256/{EMPTY}")[:2] == (200, b"")
    status, body, headers = served.get(f"/sha256/{DIGEST}", method="HEAD")
    assert (status, body, headers["Content-Length"]) == (200, b"", str(len(CONTENT)))


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": ""},
        {"Authorization": "Bearer"},
        {"Authorization": "Bearer wrong"},
        {"Authorization": f"Bearer {TOKEN}x"},
        {"Authorization": f"Basic {TOKEN}"},
        {"Authorization": TOKEN},
    ],
)
def test_without_the_token_nothing_is_served(served: Served, headers: dict[str, str]) -> None:
    status, body, _ = served.get(f"/sha256/{DIGEST}", headers)
    assert status == 401
    assert CONTENT[:16] not in body
    assert served.get("/", headers)[0] == 401


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/sha256/",
        f"/sha256/{'f' * 64}",
        f"/sha256/{DIGEST}/",
        f"/sha256/{DIGEST.upper()}",
        f"/sha256/{DIGEST}?x=1",
        f"/sha256/../sha256/{DIGEST}",
        "/sha256/../secret",
        "/sha256/%2e%2e/secret",
        "/etc/passwd",
        "/../../../../etc/passwd",
    ],
)
def test_only_listed_digests_are_served(served: Served, path: str) -> None:
    assert served.get(path)[0] == 404


def test_a_blob_that_the_store_lost_is_gone(served: Served) -> None:
    assert served.get(f"/sha256/{'0' * 64}")[0] == 410


def test_other_methods_are_refused(served: Served) -> None:
    for method in ("POST", "PUT", "DELETE"):
        assert served.get(f"/sha256/{DIGEST}", method=method)[0] == 501


def test_one_connection_serves_many_requests(served: Served) -> None:
    connection = served.connect()
    for _ in range(3):
        connection.request("GET", f"/sha256/{DIGEST}", headers={"Authorization": f"Bearer {TOKEN}"})
        assert connection.getresponse().read() == CONTENT
    connection.close()


def test_hosts_are_served_at_the_same_time(served: Served) -> None:
    found: list[str] = []

    def pull() -> None:
        found.append(hashlib.sha256(served.get(f"/sha256/{DIGEST}")[1]).hexdigest())

    threads = [threading.Thread(target=pull) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [DIGEST] * 8


def test_a_silent_or_plain_text_client_holds_nobody_up(served: Served) -> None:
    with (
        socket.create_connection(("127.0.0.1", served.depot.port)),
        socket.create_connection(("127.0.0.1", served.depot.port)) as plain,
    ):
        plain.sendall(b"GET / HTTP/1.0\r\n\r\n")
        assert served.get(f"/sha256/{EMPTY}")[0] == 200


def test_old_tls_is_refused(served: Served) -> None:
    old = ssl.create_default_context()
    old.check_hostname = False
    old.verify_mode = ssl.CERT_NONE
    old.set_ciphers("ALL:@SECLEVEL=0")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        old.minimum_version = ssl.TLSVersion.TLSv1
        old.maximum_version = ssl.TLSVersion.TLSv1_1
    with (
        socket.create_connection(("127.0.0.1", served.depot.port)) as plain,
        pytest.raises(ssl.SSLError),
    ):
        old.wrap_socket(plain)


def test_a_client_of_another_ca_refuses_it(served: Served) -> None:
    other = ssl.create_default_context()
    with (
        socket.create_connection(("127.0.0.1", served.depot.port)) as plain,
        pytest.raises(ssl.SSLCertVerificationError),
    ):
        other.wrap_socket(plain, server_hostname="127.0.0.1")


def _identity() -> Identity:
    authority = make_authority("try", datetime.now(UTC))
    certified = issue_depot(authority, make_site(), datetime.now(UTC))
    return Identity(certified.certificate_pem, certified.key_pem)


def test_a_taken_port_is_a_clear_error() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with (
            pytest.raises(PreflightError) as caught,
            Depot(("127.0.0.1", port), _identity(), "t", {}),
        ):
            pass
    assert caught.value.code == "BAS-5060"
    assert str(port) in str(caught.value)
    assert "nothing was changed" in str(caught.value)


def test_an_address_of_another_machine_is_a_clear_error() -> None:
    with pytest.raises(PreflightError) as caught, Depot(("192.0.2.1", 0), _identity(), "t", {}):
        pass
    assert "control_address" in caught.value.hint


def test_it_closes_with_its_block(tmp_path: Path) -> None:
    (tmp_path / "b").write_bytes(b"x")
    with Depot(("127.0.0.1", 0), _identity(), "t", {DIGEST: tmp_path / "b"}) as depot:
        port = depot.port
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port))


def test_the_private_key_is_in_no_text() -> None:
    assert "PRIVATE" not in repr(_identity())
