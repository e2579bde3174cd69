"""A service that begins to speak TLS, or ceases to: what its clients see, with the real HAProxy."""

from __future__ import annotations

import contextlib
import http.client
import threading
from collections import Counter
from collections.abc import Callable, Iterator

import pytest
from bastide_host import ahead, gateway, rotation
from gateway_stand import KEY, short_folder
from haproxy_program import haproxy
from test_gateway_certificates import SecureStand, loose

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(not haproxy(), reason="no haproxy here; BASTIDE_TEST_HAPROXY names one"),
]
QUEUE = 8  # s that a request may wait


class ChangingStand(SecureStand):
    """Gateway and service speak in the clear or by TLS, as ``speaks`` says."""

    def speaks(self, *, tls: bool) -> None:
        """Let what is configured and started from now on speak TLS, or not."""
        self.mutual_tls = tls
        self.site = self.site.replace(
            certificates=self.site.certificates.replace(mutual_tls=tls),
            sizes=self.site.sizes.replace(queue_seconds=QUEUE),
        )

    def restart_service(self) -> None:
        """Stop the service in order, and start it as it speaks now."""
        assert self.service is not None
        self.service.terminate()
        self.service.wait(20)
        self.start_service()


@pytest.fixture
def stand() -> Iterator[ChangingStand]:
    with short_folder() as folder:
        stand = ChangingStand(folder)
        try:
            yield stand
        finally:
            stand.close()


@contextlib.contextmanager
def clients(stand: ChangingStand, count: int = 8) -> Iterator[Counter[str]]:
    """Ask all the time, and count what comes back."""
    seen: Counter[str] = Counter()
    end = threading.Event()
    context = loose(stand.trusting())

    def keep_asking() -> None:
        line = http.client.HTTPSConnection("127.0.0.1", stand.port, timeout=60, context=context)
        while not end.is_set():
            try:
                line.request("GET", "/vectordb/x", headers={"api-key": KEY})
                answer = line.getresponse()
                answer.read()
                seen[str(answer.status)] += 1
            except (OSError, http.client.HTTPException) as error:
                seen[repr(error)] += 1
                line.close()
        line.close()

    threads = [threading.Thread(target=keep_asking) for _ in range(count)]
    for each in threads:
        each.start()
    try:
        yield seen
    finally:
        end.set()
        for each in threads:
            each.join(60)


def more(seen: Counter[str], count: int = 40) -> None:
    wanted = seen.total() + count
    assert gateway.wait_until(lambda: seen.total() >= wanted, 60), seen


def restart_held(stand: ChangingStand) -> str:
    """Restart the service, held meanwhile; return how the gateway got it back."""
    rotation.rotate_out(stand.paths, "svc", ["vectordb"], 20)
    stand.restart_service()
    place = f"{stand.address} {stand.service_port}{' tls' if stand.mutual_tls else ''}"
    answer = rotation.rotate_in(stand.paths, "svc", ["vectordb"], 30, {"vectordb": place})
    return str(answer["backends"]["vectordb"]["way"])


def reload_gateway(stand: ChangingStand) -> None:
    stand.configure()
    with rotation.through_a_reload(stand.paths, 20):
        stand.reload()


def start(stand: ChangingStand, *, tls: bool) -> None:
    stand.speaks(tls=tls)
    stand.start_service()
    stand.raise_gateway()


def test_a_gateway_that_speaks_tls_first_loses_nothing(stand: ChangingStand) -> None:
    start(stand, tls=False)
    stand.speaks(tls=True)
    with clients(stand) as seen:
        more(seen)
        reload_gateway(stand)
        assert restart_held(stand) == "in"
        more(seen)
    assert set(seen) == {"200"}


@pytest.mark.parametrize("tls", [True, False], ids=["to-tls", "from-tls"])
def test_a_gateway_that_is_told_last_spoils_nothing(
    stand: ChangingStand,
    tls: bool,
) -> None:
    start(stand, tls=not tls)
    stand.speaks(tls=tls)
    with clients(stand) as seen:
        more(seen)
        assert restart_held(stand) == "moved"
        reload_gateway(stand)
        more(seen)
    # Those that waited in the old process get the answer that says "try again", and no other.
    assert set(seen) <= {"200", "503"}
    assert seen["503"] <= 8


@pytest.mark.parametrize("tls", [True, False])
def test_a_server_understands_its_own_protocol_only(
    stand: ChangingStand,
    tls: bool,
) -> None:
    stand.speaks(tls=tls)
    stand.start_service()

    def server(port: int, *, spoken: bool) -> gateway.Server:
        return gateway.Server("llm", "svc", "UP", 0, 0, False, port, stand.address, spoken)

    for spoken in (True, False):
        found = rotation.understands(server(stand.service_port, spoken=spoken))
        assert found is (spoken is tls)
    assert not rotation.understands(server(1, spoken=tls))


def test_the_gateway_is_told_ahead_only_of_services_that_begin_to_speak_tls(
    stand: ChangingStand, monkeypatch: pytest.MonkeyPatch
) -> None:
    reloads: list[list[str]] = []
    monkeypatch.setattr(ahead, "restart", lambda _paths, units: reloads.append(units))
    assert ahead.gateway_ahead(stand.paths) == {"changed": False, "servers": []}  # none runs
    start(stand, tls=False)
    live = stand.paths.current / "etc"
    live.mkdir(parents=True)
    told: Callable[[], list[str]] = lambda: ahead.gateway_ahead(stand.paths)["servers"]  # noqa: E731
    assert told() == []
    for tls in (False, True):
        stand.speaks(tls=tls)
        (live / "haproxy.cfg").write_bytes(stand.configure().read_bytes())
        assert told() == (["embeddings/svc", "llm/svc", "vectordb/svc"] if tls else [])
    assert reloads == [["bastide-gateway.service"]]
    stand.reload()
    assert told() == []
