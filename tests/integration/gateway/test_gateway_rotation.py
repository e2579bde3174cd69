"""The real HAProxy with the release's own configuration, in front of servers that come and go."""

from __future__ import annotations

import http.client
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from bastide_host import gateway, rotation
from bastide_host.host import AgentError, Paths
from gateway_stand import KEY, Stand, free_port, short_folder
from haproxy_program import haproxy

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(haproxy() is None, reason="no haproxy here, and Debian's cannot be had"),
]


class Clients:
    """Clients that keep their connections and never retry."""

    def __init__(self, stand: Stand, path: str, count: int = 12) -> None:
        self.seen: Counter[str] = Counter()
        self._stand, self._path = stand, path
        self._end = threading.Event()
        self._threads = [threading.Thread(target=self._ask) for _ in range(count)]

    def __enter__(self) -> Clients:
        for thread in self._threads:
            thread.start()
        self.more()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        for thread in self._threads:
            thread.join(60)

    def more(self, count: int = 40) -> None:
        """Wait until ``count`` more requests have ended."""
        wanted = self.seen.total() + count
        assert gateway.wait_until(lambda: self.seen.total() >= wanted, 60), self.seen

    def _ask(self) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self._stand.port, timeout=60)
        while not self._end.is_set():
            try:
                headers = {"Authorization": f"Bearer {KEY}", "Content-Type": "application/json"}
                connection.request("POST", self._path, b"{}", headers)
                answer = connection.getresponse()
                answer.read()
                self.seen[str(answer.status)] += 1
            except (OSError, http.client.HTTPException) as error:
                self.seen[repr(error)] += 1
                connection.close()
        connection.close()


CHAT, VECTORS = "/v1/chat/completions", "/vectordb/collections/x/points/query"


@pytest.fixture
def stand() -> Iterator[Stand]:
    with short_folder() as folder:
        stand = Stand(folder)
        with stand.running():
            yield stand


def test_one_of_two_is_drained_and_comes_back(stand: Stand) -> None:
    with Clients(stand, CHAT) as clients:
        out = rotation.rotate_out(stand.paths, "b", ["llm"], 20)
        assert (out["changed"], out["backends"]["llm"]) == (True, {"way": "drain", "left": 0})
        assert rotation.rotate_out(stand.paths, "b", ["llm"], 20)["changed"] is False
        stand.stop("llm", "b")
        clients.more()
        stand.start("llm", "b")
        assert rotation.rotate_in(stand.paths, "b", ["llm"], 20)["changed"] is True
        assert rotation.rotate_in(stand.paths, "b", ["llm"], 20)["changed"] is False
        clients.more()
    assert set(clients.seen) == {"200"}


@pytest.mark.parametrize(
    ("backend", "path"), [("vectordb", VECTORS), ("embeddings", "/v1/embeddings")]
)
def test_requests_to_the_only_server_wait(stand: Stand, backend: str, path: str) -> None:
    with Clients(stand, path) as clients:
        out = rotation.rotate_out(stand.paths, "a", [backend], 20)
        assert out["backends"] == {backend: {"way": "hold", "left": 0}}
        stand.stop(backend, "a")
        assert gateway.wait_until(lambda: not stand.all_up(), 10)
        before = clients.seen.total()
        stand.start(backend, "a")
        rotation.rotate_in(stand.paths, "a", [backend], 20)
        clients.more()
        assert clients.seen.total() > before
    assert set(clients.seen) == {"200"}


def test_a_server_that_dies_and_returns_costs_only_waiting(stand: Stand) -> None:
    with Clients(stand, VECTORS) as clients:
        stand.stop("vectordb", "a")  # nobody told the gateway
        stand.start("vectordb", "a")
        clients.more()
    # Those that were on their way when it closed its socket are lost: they may have been carried
    # out, so only the client may repeat them.
    lost = clients.seen.total() - clients.seen["200"]
    assert lost <= 12, clients.seen


def test_reloads_lose_nothing_and_keep_what_is_drained(stand: Stand) -> None:
    with Clients(stand, CHAT) as chats, Clients(stand, VECTORS) as vectors:
        rotation.rotate_out(stand.paths, "b", ["llm"], 20)
        for _ in range(3):
            with rotation.through_a_reload(stand.paths, 20):
                stand.reload()
            assert [e.name for e in rotation.out_of_rotation(stand.paths)] == ["b"]
            chats.more()
            vectors.more()
        assert rotation.rotate_in(stand.paths, "", [], 20)["backends"] == {"llm": {"way": "in"}}
    assert (set(chats.seen), set(vectors.seen)) == ({"200"}, {"200"})


def test_a_reload_lets_held_requests_go(stand: Stand) -> None:
    with Clients(stand, VECTORS) as clients:
        rotation.rotate_out(stand.paths, "a", ["vectordb"], 20)
        with rotation.through_a_reload(stand.paths, 20):
            stand.reload()
        clients.more()
        assert rotation.out_of_rotation(stand.paths) == []
    assert set(clients.seen) == {"200"}


def test_what_is_left_after_the_time_is_said(stand: Stand) -> None:
    stand.stop("llm", "b")
    stand.start("llm", "b", seconds=3)
    assert gateway.wait_until(stand.all_up, 10)
    with Clients(stand, CHAT, count=8) as clients:
        assert gateway.wait_until(lambda: _busy(stand, "b") > 0, 10)
        left = rotation.rotate_out(stand.paths, "b", ["llm"], 0)
        assert left["backends"]["llm"]["way"] == "drain"
        assert left["left"] > 0
        rotation.rotate_in(stand.paths, "b", [], 20)
    assert set(clients.seen) == {"200"}


def test_a_server_that_stays_away_is_named(stand: Stand) -> None:
    rotation.rotate_out(stand.paths, "a", ["vectordb"], 20)
    stand.stop("vectordb", "a")
    assert gateway.wait_until(lambda: _status(stand, "vectordb", "a") == "DOWN", 20)
    with pytest.raises(AgentError, match=r"vectordb/a \(DOWN\)") as caught:
        rotation.rotate_in(stand.paths, "a", ["vectordb"], 3)
    assert caught.value.code == "BAS-6081"


@pytest.mark.parametrize("address", ["", "127.0.0.2 "])
def test_a_server_that_moved_is_found_before_any_reload(stand: Stand, address: str) -> None:
    with Clients(stand, VECTORS) as clients:
        rotation.rotate_out(stand.paths, "a", ["vectordb"], 5)
        stand.stop("vectordb", "a")
        stand.ports["vectordb", "a"] = free_port()
        stand.start("vectordb", "a", address=address.strip() or "127.0.0.1")
        places = {"vectordb": f"{address}{stand.ports['vectordb', 'a']}"}
        answer = rotation.rotate_in(stand.paths, "a", ["vectordb"], 10, places)
        assert answer["backends"] == {"vectordb": {"way": "in"}}
        clients.more()
        assert rotation.out_of_rotation(stand.paths) == []
    assert set(clients.seen) == {"200"}


def test_a_server_that_cannot_be_looked_for_is_not_waited_for(stand: Stand) -> None:
    rotation.rotate_out(stand.paths, "a", ["vectordb"], 5)
    answer = rotation.rotate_in(stand.paths, "a", ["vectordb"], 5, {"vectordb": "no-address 1"})
    assert answer["backends"] == {"vectordb": {"way": "moved"}}
    assert [each.name for each in rotation.out_of_rotation(stand.paths)] == ["a"]


def test_health_counts_live_servers_and_not_the_place_of_waiting(stand: Stand) -> None:
    def health() -> SimpleNamespace:
        connection = http.client.HTTPConnection("127.0.0.1", stand.port, timeout=20)
        connection.request("GET", "/healthz")
        answer = connection.getresponse()
        return SimpleNamespace(status=answer.status, body=answer.read())

    assert health().body == b'{"status":"ok","llm":2,"embeddings":1,"vectordb":1}'
    stand.stop("vectordb", "a")
    assert gateway.wait_until(lambda: health().status == 503, 10)
    assert health().body == b'{"status":"unavailable","llm":2,"embeddings":1,"vectordb":0}'


def test_what_the_gateway_does_not_know_is_absent(stand: Stand) -> None:
    out = rotation.rotate_out(stand.paths, "new", ["llm"], 1)
    assert (out["changed"], out["backends"]["llm"]["way"]) == (False, "absent")
    back = rotation.rotate_in(stand.paths, "new", ["llm"], 1)
    assert (back["changed"], back["backends"]["llm"]["way"]) == (False, "absent")


def test_without_a_gateway_nothing_is_done_and_that_is_said(tmp_path: Path) -> None:
    for command in (rotation.rotate_out, rotation.rotate_in):
        answer = command(Paths(tmp_path), "a", ["llm"], 1)
        assert (answer["changed"], answer["gateway"]) == (False, "not running")
    assert rotation.out_of_rotation(Paths(tmp_path)) == []


def _busy(stand: Stand, name: str) -> int:
    return sum(e.busy for e in gateway.servers(stand.paths) if e.name == name)


def _status(stand: Stand, backend: str, name: str) -> str:
    found = gateway.servers(stand.paths)
    return next(e.status for e in found if (e.backend, e.name) == (backend, name))


def test_requests_to_an_address_that_leaves_end_at_once_and_others_do_not() -> None:
    leaves = "127.0.0.9"
    with short_folder() as folder:
        stand = Stand(folder)
        bind = f"    bind 127.0.0.1:{stand.port}\n"
        stand.changes = {bind: f"{bind}    bind {leaves}:{stand.port} transparent\n"}
        with stand.running():
            stand.stop("embeddings", "a")
            stand.start("embeddings", "a", seconds=3)
            assert gateway.wait_until(stand.all_up, 20)
            seen: dict[str, str] = {}
            threads = [
                threading.Thread(target=lambda a=a: seen.update({a: asked(a, stand.port)}))
                for a in (leaves, "127.0.0.1")
            ]
            for thread in threads:
                thread.start()
            busy = lambda: sum(s.sessions for s in gateway.servers(stand.paths)) == 2  # noqa: E731
            assert gateway.wait_until(busy, 20)
            assert gateway.cut(stand.paths, leaves) == 1
            threads[0].join(20)
            assert "127.0.0.1" not in seen
            assert seen[leaves] != "200"
            threads[1].join(20)
            assert seen["127.0.0.1"] == "200"
            assert gateway.cut(stand.paths, leaves) == 0


def asked(address: str, port: int) -> str:
    """Ask the embedding server through an address; return the status, or how it broke."""
    connection = http.client.HTTPConnection(address, port, timeout=60)
    headers = {"Authorization": f"Bearer {KEY}", "Content-Type": "application/json"}
    try:
        connection.request("POST", "/v1/embeddings", b"{}", headers)
        return str(connection.getresponse().status)
    except (OSError, http.client.HTTPException) as error:
        return repr(error)
    finally:
        connection.close()
