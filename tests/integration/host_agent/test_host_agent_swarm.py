"""Hosts that give each other pieces: real agents, real TLS, and peers that misbehave."""

from __future__ import annotations

import contextlib
import http.client
import http.server
import json
import signal
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from bastide_host.host import Paths
from bastide_host.peers import Lines, PeerError, context_for, serving
from bastide_host.pieces import PieceFile
from bastide_host.stage import blobs_of
from swarm_hosts import TOKEN, Run, answer_of

from bastide.site import pki

pytestmark = pytest.mark.integration

MIB = 1 << 20


def total(run: Run) -> int:
    return sum(map(len, run.files.values()))


def test_every_byte_leaves_the_control_node_about_once(tmp_path: Path) -> None:
    run = Run.of(tmp_path, 4, (40 * MIB + 12345, 3 * MIB, 300_000))
    with run.depot() as depot:
        running = [run.start(host, depot.port) for host in run.site.hosts]
        answers = [answer_of(process) for process in running]
        sent = sum(depot.traffic.by_address().values())
        from_peers = depot.from_peers()
    assert all(answer["changed"] for answer in answers), answers
    assert all(run.is_whole(host) for host in run.site.hosts)
    assert sent < 1.5 * total(run)
    assert sum(from_peers.values()) > 2.5 * total(run)
    assert {f"host{i}": a["from_peers"] for i, a in enumerate(answers)} == from_peers
    assert sent + sum(from_peers.values()) == 4 * total(run)
    assert run.notes == []


@contextmanager
def in_place_of(run: Run, host: str, answer: str) -> Iterator[list[str]]:
    """Stand where ``host`` would give pieces, and misbehave; return the paths that were asked."""
    asked: list[str] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            if answer == "silence":
                threading.Event().wait(60)
            size = run.fan_out.sizes[int(self.path.rsplit("/", 1)[1])]
            self.send_response(200)
            self.send_header("Content-Length", str(size))
            self.end_headers()
            self.wfile.write(bytes(size if answer == "lie" else size // 2))

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            pass

    root = run.root(host) / "run/bastide"
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(root / "peer_pem")
    where = (str(run.site.hosts[host].address), run.site.network.staging_port)
    server = http.server.ThreadingHTTPServer(where, Handler)
    server.daemon_threads = True
    server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield asked
    finally:
        server.shutdown()
        server.server_close()


def join_as(run: Run, host: str, port: int) -> None:
    """Tell the control node that ``host`` has everything and gives it."""
    everything = list(range(len(run.fan_out.sizes)))
    ask(run, port, "join", {"host": host, "serves": True, "has": everything, "lacks": []})


def ask(run: Run, port: int, path: str, question: dict[str, object], token: str = "") -> int:
    context = ssl.create_default_context(cadata=run.authority.certificate_pem)
    connection = http.client.HTTPSConnection("127.0.0.1", port, context=context)
    headers = {"Authorization": f"Bearer {token or TOKEN}"}
    connection.request("POST", f"/swarm/{path}", json.dumps(question), headers)
    with connection.getresponse() as response:
        return response.status


@pytest.mark.parametrize(
    ("answer", "told"),
    [("lie", "wrong bytes"), ("break off", "broke off"), ("silence", "no pieces")],
)
def test_a_peer_that_lies_breaks_off_or_is_silent_costs_time_and_is_named(
    tmp_path: Path, answer: str, told: str
) -> None:
    run = Run.of(tmp_path, 3, (24 * MIB,))
    with run.depot() as depot, in_place_of(run, "host0", answer) as asked:
        join_as(run, "host0", depot.port)
        running = [run.start(host, depot.port) for host in ("host1", "host2")]
        answers = [answer_of(process) for process in running]
    assert all(each["changed"] for each in answers), answers
    assert run.is_whole("host1")
    assert run.is_whole("host2")
    assert asked
    assert len(asked) <= 8, "after its first piece a host asks it no more"
    assert [note for note in run.notes if "host0" in note and told in note], run.notes


def test_a_dead_peer_costs_time_only(tmp_path: Path) -> None:
    run = Run.of(tmp_path, 3, (24 * MIB,))
    with run.depot() as depot:
        join_as(run, "host0", depot.port)  # and nobody listens there
        running = [run.start(host, depot.port) for host in ("host1", "host2")]
        answers = [answer_of(process) for process in running]
    assert all(each["changed"] for each in answers), answers
    assert run.is_whole("host1")
    assert run.is_whole("host2")
    assert any("host0" in note for note in run.notes)


def test_killed_in_the_middle_it_goes_on_with_what_it_has(tmp_path: Path) -> None:
    run = Run.of(tmp_path, 2, (96 * MIB,))
    (digest,) = run.files
    partial = run.place("host0", digest, ".partial")
    with run.depot() as depot:
        running = {host: run.start(host, depot.port) for host in run.site.hosts}
        while not partial.exists() or partial.stat().st_blocks * 512 < 16 * MIB:
            if running["host0"].poll() is not None:
                pytest.fail("it ended before it could be killed")
        running["host0"].send_signal(signal.SIGKILL)
        running["host0"].wait()
        assert answer_of(running["host1"])["changed"]
        assert run.is_whole("host1")
    assert not run.is_whole("host0")
    had = partial.stat().st_blocks * 512
    with run.depot() as depot:
        again = answer_of(run.start("host0", depot.port))
        sent = sum(depot.traffic.by_address().values())
    assert run.is_whole("host0")
    assert again["bytes"] == sent
    assert sent <= total(run) - had + 4 * MIB


def test_what_pieces_an_earlier_run_left_is_gone_on_with_without_peers(tmp_path: Path) -> None:
    run = Run.of(tmp_path, 2, (24 * MIB,))
    ((digest, content),) = run.files.items()
    partial = run.place("host0", digest, ".partial")
    partial.parent.mkdir(parents=True)
    with partial.open("wb") as stream:
        stream.seek(8 * MIB)
        stream.write(content[8 * MIB : 20 * MIB - 5])
    run.without_peers = True
    with run.depot() as depot:
        answer = answer_of(run.start("host0", depot.port))
    assert run.is_whole("host0")
    assert answer["bytes"] == 16 * MIB


def test_a_full_file_system_is_said_and_what_came_is_kept(tmp_path: Path) -> None:
    run = Run.of(tmp_path, 2, (24 * MIB,))
    (digest,) = run.files
    with run.depot() as depot:
        process = run.start("host0", depot.port, largest=10 * MIB)
        answer = answer_of(process)
    assert answer["error"]["code"] == "BAS-6150"
    partial = run.place("host0", digest, ".partial")
    assert partial.exists()
    with run.depot() as depot:
        assert answer_of(run.start("host0", depot.port))["bytes"] < 24 * MIB
    assert run.is_whole("host0")


def test_nobody_without_a_certificate_of_this_run_is_given_a_piece(tmp_path: Path) -> None:
    run = Run.of(tmp_path, 2, (3 * MIB,))
    paths = Paths(run.root("host0"))
    description = run.description("host0", 1)
    (blob,) = blobs_of(paths, description)
    blob.destination.parent.mkdir(parents=True)
    blob.destination.write_bytes(next(iter(run.files.values())))
    file = PieceFile(blob, description["blobs"][0]["pieces"])
    file.survey()
    where = ("127.0.0.2", run.site.network.staging_port)
    piece = file.pieces[0]
    with serving(paths, where, [file]) as serves:
        assert serves
        good = context_for(Paths(run.root("host1")), server=False)
        assert good is not None
        taken = Lines(good).take(where, piece, 30, lambda: False)
        assert bytes(taken or b"") == next(iter(run.files.values()))
        other = Run.of(tmp_path / "other", 2, (1,))
        stranger = context_for(Paths(other.root("host1")), server=False)
        assert stranger is not None
        stranger.check_hostname, stranger.verify_mode = False, ssl.CERT_NONE
        with pytest.raises(PeerError):
            Lines(stranger).take(where, piece, 30, lambda: False)
        nobody = ssl.create_default_context()
        nobody.check_hostname, nobody.verify_mode = False, ssl.CERT_NONE
        with pytest.raises(PeerError):
            Lines(nobody).take(where, piece, 30, lambda: False)
        with pytest.raises(PeerError, match="CERTIFICATE_VERIFY_FAILED"):
            Lines(good).take(
                ("127.0.0.1", listen_as(run, "host1", where[1])), piece, 30, lambda: False
            )
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(where)


def listen_as(run: Run, host: str, port: int) -> int:
    """Listen on 127.0.0.1 with the certificate of ``host``, which is of another address."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(run.root(host) / "run/bastide/peer_pem")
    server = socket.create_server(("127.0.0.1", port))
    server.settimeout(30)

    def answer() -> None:
        with server, server.accept()[0] as line, contextlib.suppress(OSError):
            context.wrap_socket(line, server_side=True)

    threading.Thread(target=answer, daemon=True).start()
    return port


def test_the_depot_takes_sensible_questions_of_this_runs_hosts_only(tmp_path: Path) -> None:
    run = Run.of(tmp_path, 2, (3 * MIB,))
    join: dict[str, object] = {"host": "host0", "serves": True, "has": [], "lacks": [0]}
    with run.depot() as depot:
        assert ask(run, depot.port, "join", join, token="another") == 401
        assert ask(run, depot.port, "join", {**join, "host": "stranger"}) == 400
        assert ask(run, depot.port, "join", {**join, "lacks": [1]}) == 400
        assert ask(run, depot.port, "join", {**join, "more": 1}) == 400
        assert ask(run, depot.port, "elsewhere", join) == 400
        assert ask(run, depot.port, "next", {"host": "host0", "worker": 0}) == 400
        assert ask(run, depot.port, "join", join) == 200
        assert ask(run, depot.port, "next", {"host": "host0", "worker": 0}) == 200


def test_the_certificates_of_a_run_are_of_that_run_alone(tmp_path: Path) -> None:
    one, other = Run.of(tmp_path / "a", 2, (1,)), Run.of(tmp_path / "b", 2, (1,))
    assert one.peers["host0"]["peers_ca_pem"] == one.peers["host1"]["peers_ca_pem"]
    assert one.peers["host0"]["peers_ca_pem"] != other.peers["host0"]["peers_ca_pem"]
    assert pki.names_of(one.peers["host0"]["peer_pem"]) == {"127.0.0.2"}
