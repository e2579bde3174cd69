"""The recorder sees what leaves and what tries to, and names who it was; nothing else is seen."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import haproxy_program
import pytest
from bastide_host import watch, watch_record
from bastide_host.host import Paths
from bastide_host.watch_packets import Sighting

NFT = haproxy_program.nft()
SPACE = f"bastide-w{os.getpid()}"
AGENT = Path(watch.__file__).parents[1]
OWN = ["10.77.0.0/24", "127.0.0.0/8", "::1/128", "fe80::/10", "ff02::/16"]

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root hears packets")
RECORD = """
import sys
sys.path.insert(0, sys.argv[1])
from pathlib import Path
from bastide_host import watch_record
watch_record.NFT = sys.argv[3]
watch_record.Recorder(Path(sys.argv[2]), sys.argv[4:]).run()
"""
SEND = """
import socket, sys
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as plain:
    plain.sendto(sys.argv[3].encode(), (sys.argv[1], int(sys.argv[2])))
    sys.stdin.read()
"""


@pytest.fixture
def space() -> Iterator[str]:
    """Yield a network name space with one address and a way out into nothing."""
    lines = [
        f"netns add {SPACE}",
        f"-n {SPACE} link set lo up",
        f"-n {SPACE} link add out type veth peer name nothing",
        *(f"-n {SPACE} link set {name} up" for name in ("out", "nothing")),
        f"-n {SPACE} addr add 10.77.0.11/24 dev out",
        f"-n {SPACE} route add default via 10.77.0.1",
        f"-n {SPACE} neigh add 10.77.0.1 lladdr 02:00:00:00:00:09 dev out",
    ]
    try:
        for line in lines:
            subprocess.run(["ip", *line.split()], check=True, capture_output=True)
        yield SPACE
    finally:
        subprocess.run(["ip", "netns", "delete", SPACE], check=False, capture_output=True)


def inside(*argv: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        ["ip", "netns", "exec", SPACE, *argv], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )


class Watched:
    """A recorder at work in the name space."""

    def __init__(self, folder: Path, nft: str) -> None:
        self.file = folder / "record.json"
        argv = [sys.executable, "-c", RECORD, str(AGENT), str(folder), nft, *OWN]
        self.process = inside(*argv)

    def record(self) -> dict[str, Any]:
        try:
            found: dict[str, Any] = json.loads(self.file.read_text())
        except FileNotFoundError:
            return {}
        return found

    def waits(self, ready: Callable[[dict[str, Any]], object]) -> dict[str, Any]:
        deadline = time.monotonic() + 30
        while not ready(found := self.record()):
            assert time.monotonic() < deadline, found
            assert self.process.poll() is None
            time.sleep(0.05)
        return found

    def sees(self, **wanted: Any) -> dict[str, Any]:
        """Wait until there is such an event; return it."""

        def fits(record: dict[str, Any]) -> list[dict[str, Any]]:
            events: list[dict[str, Any]] = record.get("events", [])
            return [e for e in events if all(e.get(k) == v for k, v in wanted.items())]

        return fits(self.waits(fits))[0]


@pytest.fixture(params=["wire", "both"])
def watched(
    request: pytest.FixtureRequest, tmp_path: Path, space: str
) -> Iterator[tuple[Watched, str]]:
    assert space
    if request.param == "both" and not NFT:
        pytest.skip("no nft here; BASTIDE_TEST_NFT names one")
    recorder = Watched(tmp_path, str(NFT) if request.param == "both" else "/none/nft")
    recorder.waits(lambda found: found.get("log", {}).get("since") or request.param == "wire")
    recorder.waits(lambda found: found.get("wire"))
    yield recorder, request.param
    recorder.process.terminate()
    recorder.process.communicate(timeout=20)


def sends(target: str, port: int, text: str = "x") -> subprocess.Popen[bytes]:
    return inside(sys.executable, "-c", SEND, target, str(port), text)


def test_a_packet_that_leaves_is_seen_and_named(watched: tuple[Watched, str]) -> None:
    recorder, eyes = watched
    sender = sends("192.0.2.1", 9)
    try:
        event = recorder.sees(target="192.0.2.1", port=9)
        event = recorder.sees(target="192.0.2.1", port=9, wire=1, log=int(eyes == "both"))
        assert event["protocol"] == "udp"
        assert event["process"].startswith("python")
        assert event["pids"] == [sender.pid], "ip netns exec becomes the program"
        assert event["user"] == "root"
        assert not event["inside"]
    finally:
        sender.communicate()


def test_a_name_that_is_asked_for_is_seen_even_on_loopback(watched: tuple[Watched, str]) -> None:
    recorder, _ = watched
    query = (
        "\x00\x07\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x05model\x07example\x00\x00\x01\x00\x01"
    )
    script = SEND.replace(
        "sys.argv[3].encode()", "sys.argv[3].encode('latin-1').replace(b'@', b'\\0')"
    )
    text = query.replace("\x00", "@")
    sender = inside(sys.executable, "-c", script, "127.0.0.1", "53", text)
    try:
        event = recorder.sees(target="127.0.0.1", port=53)
        assert event["lookup"] == "model.example"
        assert event["inside"]
    finally:
        sender.communicate()


def test_what_stays_within_the_site_is_not_seen(watched: tuple[Watched, str]) -> None:
    recorder, _ = watched
    senders = [sends("10.77.0.50", 80), sends("127.0.0.1", 8081), sends("192.0.2.1", 9)]
    try:
        recorder.sees(target="192.0.2.1")
        targets = {each["target"] for each in recorder.record()["events"]}
        assert targets == {"192.0.2.1"}
    finally:
        for each in senders:
            each.communicate()


@pytest.mark.skipif(not NFT, reason="no nft here; BASTIDE_TEST_NFT names one")
def test_what_a_filter_stops_is_seen_as_an_attempt_and_not_on_the_wire(
    tmp_path: Path, space: str
) -> None:
    rules = tmp_path / "rules.nft"
    rules.write_text(
        "table inet bastide {\n chain outgoing {\n type filter hook output priority 0\n"
        " policy drop\n oif lo accept\n }\n}\n"
    )
    done = inside(str(NFT), "-f", str(rules))
    done.communicate()
    assert done.returncode == 0
    recorder = Watched(tmp_path, str(NFT))
    try:
        recorder.waits(lambda found: found.get("log", {}).get("since"))
        script = SEND.replace("    plain.sendto", "    import contextlib\n    with contextlib."
                              "suppress(OSError): plain.sendto")  # fmt: skip
        sender = inside("setpriv", "--reuid=65534", "--clear-groups", sys.executable, "-c", script,
                        "192.0.2.1", "9", "x")  # fmt: skip
        event = recorder.sees(target="192.0.2.1", port=9)
        sender.communicate()
        assert (event["wire"], event["log"]) == (0, 1)
        assert event["user"] == "nobody"
        assert space
    finally:
        recorder.process.terminate()
        recorder.process.communicate(timeout=20)
    left = inside(str(NFT), "list", "tables").communicate()[0].decode()
    assert "bastide_watch" not in left, "the recorder leaves no table"


def test_the_control_shows_that_both_eyes_see(
    watched: tuple[Watched, str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    recorder, eyes = watched
    argv = ["ip", "netns", "exec", SPACE, sys.executable]
    monkeypatch.setattr(sys, "executable", str(_wrapper(tmp_path, argv)))
    monkeypatch.setattr(watch, "_device", lambda _paths: "out")
    paths = Paths(tmp_path / "root")
    place = paths.at(watch.PLACE)
    place.parent.mkdir(parents=True)
    place.symlink_to(recorder.file.parent)
    shown = watch.control(paths)
    assert shown["wire"]
    assert (shown["log"], shown["lookup"]) == ((True, True) if eyes == "both" else (None, None))
    recorder.process.terminate()
    recorder.process.communicate(timeout=20)
    (place / "record.json").unlink()
    monkeypatch.setattr(watch, "SEEN_SECONDS", 0.5)
    assert not watch.control(paths)["wire"], "nobody watches: the control says so"


def _wrapper(folder: Path, argv: list[str]) -> Path:
    path = folder / "python"
    path.write_text(f'#!/bin/sh\nexec {" ".join(argv)} "$@"\n')
    path.chmod(0o755)
    return path


def test_room_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, space: str) -> None:
    assert space
    monkeypatch.setattr(watch_record, "MOST_EVENTS", 3)
    monkeypatch.setattr(watch_record.Log, "open", lambda _self: None)
    recorder = watch_record.Recorder(tmp_path, OWN)
    for number in range(5):
        sighting = Sighting("udp", "10.77.0.11", 5000, f"192.0.2.{number}", 9)
        recorder._take(sighting, 0, "wire")
    recorder._write()
    record = json.loads((tmp_path / "record.json").read_text())
    assert (len(record["events"]), record["overflow"]) == (3, 2)
