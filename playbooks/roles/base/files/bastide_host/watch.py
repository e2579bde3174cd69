"""Watches a host for packets that leave the site: start, look, stop; with a control of its own.

The recorder is a transient unit that lives beside everything else, in /run alone: it goes on while
generations change, are removed or have not come yet, and leaves nothing behind.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import subprocess
import sys
import time
from pathlib import Path

from bastide_host.host import AgentError, JsonObject, Paths, read_json, run, tail, write_atomic
from bastide_host.watch_record import Recorder

UNIT = "watch-bastide.service"
NOT_WATCHING = "BAS-7060"
PLACE = "/run/bastide-watch"
START_SECONDS = 30.0
SEEN_SECONDS = 15.0
TARGET = "192.0.2.1"  # of TEST-NET-1 (RFC 5737): nobody's
LOOKUP = "control.bastide.invalid"
_NOBODY = 65534

# Sends what the recorder must see, tells from where, and stays until it is told to go.
_SCRATCH = r"""
import os, socket, struct, sys
kind, device, target, lookup, user = sys.argv[1:]
open("/proc/self/comm", "w").write("bastide-control")
plain = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
plain.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, device.encode())
plain.bind(("", 0))
port = plain.getsockname()[1]
name = b"".join(bytes([len(part)]) + part for part in lookup.encode().split(b"."))
query = struct.pack(">6H", 7, 256, 1, 0, 0, 0) + name + b"\0\0\1\0\1"
if kind == "wire":
    raw = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
    raw.bind((device, 0))
    head = struct.pack(">BBHHHBBH4s4s", 69, 0, 36, 1, 0, 64, 17, 0,
                       socket.inet_aton("192.0.2.2"), socket.inet_aton(target))
    total = sum(struct.unpack(">10H", head))
    total = (total & 65535) + (total >> 16)
    head = head[:10] + struct.pack(">H", 65535 - total) + head[12:]
    link = bytes.fromhex("020000000001") + raw.getsockname()[4] + b"\x08\0"
    raw.send(link + head + struct.pack(">HHHH", port, 9, 16, 0) + b"control!")
else:
    os.setgroups([]); os.setgid(int(user)); os.setuid(int(user))
    for data, where in ((b"control!", 9), (query, 53)):
        try:
            plain.sendto(data, (target, where))
        except OSError:
            pass
print(port, os.getpid(), flush=True)
sys.stdin.read()
"""


def record(paths: Paths) -> JsonObject:
    """Be the recorder, until the process is asked to end."""
    folder = paths.at(PLACE)
    order = read_json(folder / "order.json") or {}
    Recorder(folder, order["networks"]).run()
    return {"changed": False}


def start(paths: Paths, given: JsonObject) -> JsonObject:
    """Start the recorder, and show by a control that it sees.

    Args:
        paths: The host's paths.
        given: ``networks``, the site's own for this host, and ``program``, the agent's text.

    Raises:
        AgentError: It does not start.
    """
    folder = paths.at(PLACE)
    if _is_watching():
        raise AgentError(
            NOT_WATCHING, "this host is being watched already", "stop that first: --stop"
        )
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(mode=0o700)
    write_atomic(folder / "agent.py", given["program"].encode(), 0o600)
    write_atomic(folder / "order.json", json.dumps({"networks": given["networks"]}).encode(), 0o600)
    argv = [
        "systemd-run",
        "--quiet",
        "--collect",
        f"--unit={UNIT}",
        "-pNice=-5",
        "-pMemoryMax=256M",
    ]
    argv += ["-pProtectSystem=strict", f"-pReadWritePaths={folder}", "-pProtectHome=yes"]
    argv += [
        "-pOOMScoreAdjust=-500",
        sys.executable,
        "-I",
        str(folder / "agent.py"),
        "watch-record",
    ]
    done = run(argv, timeout=30)
    if done.returncode != 0:
        raise AgentError(NOT_WATCHING, f"the recorder did not start:\n{tail(done)}")
    _await(folder, lambda found: bool(found.get("wire")), START_SECONDS, "did not begin")
    return {"changed": True, "control": control(paths)}


def status(paths: Paths) -> JsonObject:
    """Return what was seen so far."""
    return {"changed": False, "watching": _is_watching(),
            "record": read_json(paths.at(PLACE) / "record.json")}  # fmt: skip


def stop(paths: Paths) -> JsonObject:
    """Show once more that the recorder sees, end it, and return its record.

    Raises:
        AgentError: It does not run: what went on since it ended is not known.
    """
    folder = paths.at(PLACE)
    if not _is_watching():
        raise AgentError(
            NOT_WATCHING,
            "nobody watches this host: it was never begun, or it ended (a restart of the host?)",
            "start again: bastide verify --isolation --start",
        )
    shown = control(paths)
    run(["systemctl", "stop", UNIT], timeout=60)
    found = read_json(folder / "record.json") or {}
    found["controls"] = _controls(folder)
    shutil.rmtree(folder, ignore_errors=True)
    return {"changed": True, "control": shown, "record": found}


def _controls(folder: Path) -> list[JsonObject]:
    return list((read_json(folder / "controls.json") or {}).get("controls", []))


def control(paths: Paths) -> JsonObject:
    """Send packets that must be seen, from processes of our own; return who saw them.

    ``wire`` and ``log`` say whether that eye saw the packet and named the right process; ``log`` is
    None while that eye is not open. ``lookup`` says whether the name was read.
    """
    folder = paths.at(PLACE)
    device = _device(paths)
    shown: JsonObject = {"wire": False, "log": None, "lookup": None, "ports": []}
    opened = bool((read_json(folder / "record.json") or {}).get("log", {}).get("since"))
    for eye in ("wire", "log") if opened else ("wire",):
        argv = [sys.executable, "-I", "-c", _SCRATCH, eye, device, TARGET, LOOKUP, str(_NOBODY)]
        with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as scratch:
            assert scratch.stdout  # noqa: S101 - for types
            port, pid = (int(each) for each in scratch.stdout.readline().split() or (0, 0))
            wanted = 1 if eye == "wire" else 2
            seen = _seen(folder, eye, port, pid, wanted)
            scratch.communicate()
        shown["ports"].append(port)
        shown[eye] = bool(seen)
        if eye == "log":
            shown["lookup"] = any(each["lookup"] == LOOKUP for each in seen)
    every = {"controls": [*_controls(folder), shown]}
    write_atomic(folder / "controls.json", json.dumps(every).encode(), 0o600)
    return shown


def _seen(folder: Path, eye: str, port: int, pid: int, wanted: int) -> list[JsonObject]:
    """Return the events of a control, once there are as many as it has sent."""
    found: list[JsonObject] = []
    deadline = time.monotonic() + SEEN_SECONDS
    while len(found) < wanted and time.monotonic() < deadline:
        events = (read_json(folder / "record.json") or {}).get("events", [])
        found = [
            event
            for event in events
            if event[eye] and event["target"] == TARGET and port in event["ports"]
            and pid in event["pids"] and event.get("process") == "bastide-control"
        ]  # fmt: skip
        time.sleep(0.1)
    return found


def _device(paths: Paths) -> str:
    """Return the interface that the host has its address on; any that is up, if unknown."""
    own = (read_json(paths.etc / "host.json") or {}).get("address", "")
    listed = json.loads(run(["ip", "-json", "address"], timeout=20).stdout or "[]")
    usable = [each for each in listed if each["ifname"] != "lo" and "UP" in each["flags"]]
    for each in usable:
        if own in [address.get("local") for address in each["addr_info"]]:
            return str(each["ifname"])
    return str(usable[0]["ifname"]) if usable else "lo"


def _is_watching() -> bool:
    return run(["systemctl", "is-active", "--quiet", UNIT], timeout=20).returncode == 0


def _await(folder: Path, ready: object, seconds: float, what: str) -> None:
    deadline = time.monotonic() + seconds
    while not (callable(ready) and ready(read_json(folder / "record.json") or {})):
        if time.monotonic() > deadline:
            words = run(["journalctl", f"--unit={UNIT}", "--lines=20", "--no-pager", "-o", "cat"])
            with contextlib.suppress(OSError):
                run(["systemctl", "stop", UNIT], timeout=60)
            raise AgentError(NOT_WATCHING, f"the recorder {what}:\n{words.stdout.strip()}")
        time.sleep(0.1)
