"""The host agent against depots on loopback: the product's own, and ones that misbehave."""

from __future__ import annotations

import hashlib
import http.server
import os
import ssl
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from a_site import a_site
from bastide_host import stage as staging
from bastide_host.depot import Depot as Client
from bastide_host.host import AgentError, Paths
from damaging import flip

from bastide.run.depot import Depot, Identity, tls_context
from bastide.schema.site import SERVING, Site
from bastide.site import pki

pytestmark = pytest.mark.integration

TOKEN = "this-run's-token"
NOW = datetime.now(UTC)


@pytest.fixture(scope="module")
def authority() -> pki.Certified:
    return pki.make_authority("test", NOW)


@pytest.fixture(scope="module")
def identity(authority: pki.Certified) -> Identity:
    found = pki.issue_depot(authority, _site(), NOW)
    return Identity(found.certificate_pem, found.key_pem)


def _site() -> Site:
    return a_site({"host1": ("127.0.0.2", SERVING)}, {"control_address": "127.0.0.1"})


@pytest.fixture
def host(tmp_path: Path, authority: pki.Certified, monkeypatch: pytest.MonkeyPatch) -> Paths:
    host = Paths(tmp_path / "host")
    for folder in (host.run, host.state, host.etc):
        folder.mkdir(parents=True)
    (host.etc / "ca.pem").write_text(authority.certificate_pem)
    monkeypatch.setattr(Client.__init__, "__defaults__", (0.001,))  # retries without waiting
    return host


@pytest.fixture
def contents(tmp_path: Path) -> dict[str, Path]:
    found = {}
    for size in (3 << 20, 100_000, 0, 1):
        content = os.urandom(size)
        digest = hashlib.sha256(content).hexdigest()
        found[digest] = tmp_path / digest
        found[digest].write_bytes(content)
    return found


def describe(url: str, blobs: dict[str, Path]) -> dict[str, Any]:
    listed = [
        {
            "name": f"blob {digest[:6]}",
            "filename": "x",
            "sha256": digest,
            "size": path.stat().st_size,
            "destination": f"/var/lib/bastide/artifacts/sha256/{digest[:2]}/{digest}",
        }
        for digest, path in blobs.items()
    ]
    return {"format": "bastide.stage/1", "depot": {"url": url}, "blobs": listed}


def pull(host: Paths, description: dict[str, Any], token: str = TOKEN) -> dict[str, Any]:
    return staging.stage(host, description, token, host.etc / "ca.pem")


def staged(host: Paths) -> dict[str, bytes]:
    folder = host.state / "artifacts"
    return {path.name: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def depot_url(identity: Identity, contents: dict[str, Path]) -> Iterator[str]:
    with Depot(("127.0.0.1", 0), identity, TOKEN, contents) as depot:
        yield f"https://127.0.0.1:{depot.port}"


class Bad:
    """A depot that does with each GET what its ``answer`` says."""

    def __init__(self, identity: Identity) -> None:
        self.ranges: list[str | None] = []
        self.answer: Callable[[http.server.BaseHTTPRequestHandler], None] = lambda _: None
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                outer.ranges.append(self.headers.get("Range"))
                outer.answer(self)

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        context: ssl.SSLContext = tls_context(identity)
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self.url = f"https://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def bad(identity: Identity) -> Iterator[Bad]:
    server = Bad(identity)
    yield server
    server.close()


def send(
    request: http.server.BaseHTTPRequestHandler, content: bytes, *, status: int = 200, cut: int = 0
) -> None:
    """Send an answer; with ``cut``, break off so many bytes before its end."""
    request.send_response(status)
    request.send_header("Content-Length", str(len(content)))
    request.end_headers()
    request.wfile.write(content[: len(content) - cut])
    request.close_connection = bool(cut)


def test_everything_comes_once_and_verified(
    host: Paths, depot_url: str, contents: dict[str, Path]
) -> None:
    description = describe(depot_url, contents)
    result = pull(host, description)
    assert result["changed"]
    assert result["bytes"] == sum(path.stat().st_size for path in contents.values())
    assert staged(host) == {digest: path.read_bytes() for digest, path in contents.items()}
    assert pull(host, description) == {
        "changed": False,
        "pulled": [],
        "bytes": 0,
        "from_peers": 0,
    }


def test_what_an_earlier_run_left_is_continued(
    host: Paths, depot_url: str, contents: dict[str, Path]
) -> None:
    description = describe(depot_url, contents)
    digest, path = next(iter(contents.items()))
    place = host.at(description["blobs"][0]["destination"] + ".partial")
    place.parent.mkdir(parents=True)
    place.write_bytes(path.read_bytes()[:-1000])
    assert pull(host, {**description, "blobs": description["blobs"][:1]})["bytes"] == 1000
    assert staged(host)[digest] == path.read_bytes()


def test_a_file_that_was_damaged_since_it_came_is_fetched_anew(
    host: Paths, depot_url: str, contents: dict[str, Path]
) -> None:
    description = describe(depot_url, contents)
    pull(host, description)
    blob = description["blobs"][0]
    flip(host.at(blob["destination"]), 1000)
    result = pull(host, description)
    assert result["pulled"] == [blob["name"]]
    assert staged(host) == {digest: path.read_bytes() for digest, path in contents.items()}


def test_a_file_that_was_only_touched_is_read_once_and_kept(
    host: Paths, depot_url: str, contents: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    description = describe(depot_url, contents)
    pull(host, description)
    host.at(description["blobs"][0]["destination"]).touch()
    assert not pull(host, description)["changed"]

    def never(path: Path) -> str:
        raise AssertionError(f"{path} is read although nobody touched it")

    monkeypatch.setattr("bastide_host.depot.sha256_of", never)
    assert not pull(host, description)["changed"]


@pytest.mark.parametrize("surplus", [False, True])
def test_a_leftover_with_wrong_bytes_is_thrown_away(
    host: Paths, depot_url: str, contents: dict[str, Path], *, surplus: bool
) -> None:
    description = describe(depot_url, contents)
    digest, path = next(iter(contents.items()))
    place = host.at(description["blobs"][0]["destination"] + ".partial")
    place.parent.mkdir(parents=True)
    place.write_bytes(b"x" * (path.stat().st_size + (10 if surplus else -10)))
    pull(host, description)
    assert staged(host)[digest] == path.read_bytes()


def test_a_wrong_token_is_refused_at_once(
    host: Paths, depot_url: str, contents: dict[str, Path]
) -> None:
    with pytest.raises(AgentError, match="refused this run's token") as caught:
        pull(host, describe(depot_url, contents), token="another")
    assert caught.value.code == "BAS-6054"


def test_a_depot_of_another_site_is_refused(
    host: Paths, depot_url: str, contents: dict[str, Path]
) -> None:
    stranger = pki.make_authority("stranger", NOW)
    (host.etc / "ca.pem").write_text(stranger.certificate_pem)
    with pytest.raises(AgentError, match="is not this site's depot") as caught:
        pull(host, describe(depot_url, contents))
    assert caught.value.code == "BAS-6054"
    assert not any(staged(host).values())


def test_a_lost_blob_is_named(host: Paths, depot_url: str, contents: dict[str, Path]) -> None:
    description = describe(depot_url, contents)
    description["blobs"][1]["sha256"] = "f" * 64
    with pytest.raises(AgentError, match="does not have blob"):
        pull(host, description)


def test_a_connection_that_breaks_again_and_again_still_delivers(
    host: Paths, bad: Bad, contents: dict[str, Path]
) -> None:
    digest, path = next(iter(contents.items()))
    content = path.read_bytes()

    def answer(request: http.server.BaseHTTPRequestHandler) -> None:
        wanted = request.headers.get("Range")
        start = int(wanted.removeprefix("bytes=").removesuffix("-")) if wanted else 0
        rest = content[start:]
        send(request, rest, status=206 if start else 200, cut=max(len(rest) - (1 << 19), 0))

    bad.answer = answer
    pull(host, describe(bad.url, {digest: path}))
    assert staged(host) == {digest: content}
    assert len(bad.ranges) == 6, "each attempt continues where the last one broke off"
    assert bad.ranges[0] is None


def test_a_depot_that_never_delivers_is_given_up_and_what_came_is_kept(
    host: Paths, bad: Bad, contents: dict[str, Path]
) -> None:
    digest, path = next(iter(contents.items()))
    content = path.read_bytes()
    bad.answer = lambda request: send(
        request, content if len(bad.ranges) == 1 else b"", cut=1000 if len(bad.ranges) == 1 else 0
    )
    with pytest.raises(AgentError, match="could not fetch") as caught:
        pull(host, describe(bad.url, {digest: path}))
    assert caught.value.code == "BAS-6052"
    assert digest not in staged(host)


def test_wrong_bytes_never_get_the_name(host: Paths, bad: Bad, contents: dict[str, Path]) -> None:
    digest, path = next(iter(contents.items()))
    wrong = bytearray(path.read_bytes())
    wrong[-1] ^= 1
    bad.answer = lambda request: send(request, bytes(wrong))
    with pytest.raises(AgentError, match=f"expected SHA-256 {digest}") as caught:
        pull(host, describe(bad.url, {digest: path}))
    assert caught.value.code == "BAS-6053"
    assert staged(host) == {}, "neither the file nor a leftover of it"


def test_more_bytes_than_promised_are_refused(
    host: Paths, bad: Bad, contents: dict[str, Path]
) -> None:
    digest, path = next(iter(contents.items()))
    bad.answer = lambda request: send(request, path.read_bytes() + b"more")
    with pytest.raises(AgentError, match="more bytes than"):
        pull(host, describe(bad.url, {digest: path}))
    assert digest not in staged(host)


def test_a_depot_that_ignores_the_range_is_taken_from_the_start(
    host: Paths, bad: Bad, contents: dict[str, Path]
) -> None:
    digest, path = next(iter(contents.items()))
    description = describe(bad.url, {digest: path})
    place = host.at(description["blobs"][0]["destination"] + ".partial")
    place.parent.mkdir(parents=True)
    place.write_bytes(path.read_bytes()[:5000])
    bad.answer = lambda request: send(request, path.read_bytes())
    pull(host, description)
    assert staged(host) == {digest: path.read_bytes()}
    assert bad.ranges == ["bytes=5000-"]


def test_no_space_is_known_before_the_first_byte(
    host: Paths, contents: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    needed = sum(path.stat().st_size for path in contents.values())

    class Room:
        f_frsize = 1
        f_bavail = needed + staging.SPACE_RESERVE - 1

    monkeypatch.setattr("bastide_host.stage.os.statvfs", lambda _: Room)
    with pytest.raises(AgentError, match=r"1 too few") as caught:
        pull(host, describe("https://127.0.0.1:1", contents))
    assert caught.value.code == "BAS-6051"
    assert f"{needed} to fetch" in str(caught.value)


@pytest.mark.parametrize("destination", ["relative/path", "/var/lib/../../etc/passwd"])
def test_a_destination_elsewhere_is_refused(host: Paths, destination: str) -> None:
    description = describe("https://127.0.0.1:1", {})
    blob = {"name": "x", "sha256": "0" * 64, "size": 1, "destination": destination}
    with pytest.raises(AgentError, match="not well formed"):
        pull(host, {**description, "blobs": [blob]})
