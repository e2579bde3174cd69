"""What a host tells of itself to monitoring: a file that the node exporter reads.

It holds facts, never judgements: whether a number is bad is a matter of the alerts. Nothing here
needs root: certificates are looked at as clients see them, units as everybody may.
"""

from __future__ import annotations

import contextlib
import os
import socket
import ssl
import sys
import time
import urllib.parse
from collections.abc import Iterator, Sequence
from pathlib import Path

from bastide_host.facts import current_number, transition_of
from bastide_host.generation import drift
from bastide_host.host import AgentError, JsonObject, Paths, read_json, run, text_of, write_atomic

FILE = "bastide.prom"
NOTES = ("backup", "verify")  # what is noted when it was done
_NO_CHECK_TIME = 0x200000  # of OpenSSL: an expired certificate is looked at as well
_PROPERTIES = "--property=Id,ActiveState,NRestarts,Result"

Label = tuple[str, str]


class Exposition:
    """Metrics in Prometheus' text format."""

    def __init__(self) -> None:
        self._lines: list[str] = []

    def add(
        self, name: str, meaning: str, rows: Sequence[tuple[Sequence[Label], float]], kind: str
    ) -> None:
        """Add a metric with its rows; one without rows is left out.

        Args:
            name: The metric's name.
            meaning: What it is, with its unit.
            rows: Labels and value of each series.
            kind: ``gauge`` or ``counter``.
        """
        if rows:
            self._lines += [f"# HELP {name} {meaning}", f"# TYPE {name} {kind}"]
        for labels, value in rows:
            inner = ",".join(f'{key}="{_quote(text)}"' for key, text in labels)
            number = f"{value:.6f}".rstrip("0").rstrip(".")
            self._lines.append(f"{name}{{{inner}}} {number}" if inner else f"{name} {number}")

    def gauge(self, name: str, meaning: str, value: float | None, *labels: Label) -> None:
        """Add a metric with one row; none if the value is not known."""
        self.add(name, meaning, [] if value is None else [(labels, value)], "gauge")

    def text(self) -> str:
        """Return all of it."""
        return "\n".join(self._lines) + "\n"


def _quote(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def exposition(paths: Paths, now: float) -> str:
    """Return all metrics of this host.

    Args:
        paths: The host's paths.
        now: The present time, Unix seconds.
    """
    found = Exposition()
    _add_generation(found, paths)
    _add_units(found, paths)
    expiries = [((("certificate", name),), at) for name, at in certificates(paths)]
    found.add(
        "bastide_certificate_expiry_timestamp_seconds",
        "When a certificate ends, Unix time.",
        expiries,
        "gauge",
    )
    _add_notes(found, paths)
    _add_syslog(found, paths)
    found.gauge("bastide_metrics_written_timestamp_seconds", "When this was written.", now)
    # What the control node knows of certificates that only machines see, in the same format.
    return found.text() + text_of(paths.etc / "certificates.prom")


def _add_generation(found: Exposition, paths: Paths) -> None:
    record = read_json(paths.current / "generation.json") or {}
    host = read_json(paths.etc / "host.json") or {}
    good = (read_json(paths.good) or {}).get("good", [])
    is_good = bool(good) and good[-1].get("content") == record.get("digest")
    labels = tuple((key, str(host.get(key, ""))) for key in ("site", "host"))
    found.gauge(
        "bastide_info",
        "What runs here.",
        1,
        *labels,
        ("release", str(record.get("release", ""))),
    )
    found.gauge("bastide_generation", "Number of the live generation.", current_number(paths))
    found.gauge("bastide_generation_good", "1 if it has passed its gates.", float(is_good))
    found.gauge(
        "bastide_transition_open",
        "1 while a switch of generations is under way.",
        float(transition_of(paths) is not None),
    )
    found.gauge(
        "bastide_drift_files",
        "Files of the live generation that were changed by hand.",
        float(len(drift(paths.current, record))) if record else None,
    )
    missing = [
        each["name"]
        for each in record.get("models", [])
        if not (paths.state / "models" / f"{each['sha256']}.gguf").exists()
    ]
    found.gauge("bastide_models_missing", "Model files that are gone.", float(len(missing)))


def _add_units(found: Exposition, paths: Paths) -> None:
    states = unit_properties(paths)
    active = [((("unit", u),), float(s.get("ActiveState") == "active")) for u, s in states.items()]
    found.add("bastide_unit_active", "1 if a unit runs.", active, "gauge")
    restarts = [((("unit", u),), float(s.get("NRestarts") or 0)) for u, s in states.items()]
    found.add(
        "bastide_unit_restarts_total",
        "How often systemd started a unit anew because it had ended badly.",
        restarts,
        "counter",
    )
    killed = [((("unit", u),), float(s.get("Result") == "oom-kill")) for u, s in states.items()]
    found.add("bastide_unit_oom_killed", "1 if a unit's last end was for memory.", killed, "gauge")


def unit_properties(paths: Paths) -> dict[str, dict[str, str]]:
    """Return state, restarts and last result of each of Bastide's units."""
    names = sorted(path.name for path in paths.units.glob("bastide-*.service"))
    if not names:
        return {}
    blocks = run(["systemctl", "show", _PROPERTIES, *names], timeout=20).stdout.split("\n\n")
    shown = [dict(x.split("=", 1) for x in block.splitlines() if "=" in x) for block in blocks]
    return {each["Id"]: each for each in shown if each.get("Id") in names}


def certificates(paths: Paths) -> Iterator[tuple[str, float]]:
    """Yield name and end (Unix time) of what clients trust and of each certificate shown here.

    Of several CAs the one that ends first counts: two lines of one series are no metrics.
    """
    authority = paths.etc / "ca.pem"
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    try:
        context.load_verify_locations(authority)
    except (OSError, ssl.SSLError):
        return
    ends = [ssl.cert_time_to_seconds(str(each["notAfter"])) for each in context.get_ca_certs()]
    if ends:
        yield "ca", min(ends)
    context.verify_flags |= ssl.VerifyFlags(_NO_CHECK_TIME)
    services = (read_json(paths.current / "etc/host.json") or {}).get("services", {})
    for unit, url in sorted(services.items()):
        if url.startswith("https:"):
            with contextlib.suppress(OSError, ValueError):  # it does not answer: others say so
                yield unit[len("bastide-") : -len(".service")], _shown_expiry(context, url)


def _shown_expiry(context: ssl.SSLContext, url: str) -> float:
    parts = urllib.parse.urlsplit(url)
    address = (parts.hostname or "", parts.port or 443)
    with (
        socket.create_connection(address, timeout=5) as connection,
        context.wrap_socket(connection, server_hostname=address[0]) as shown,
    ):
        certificate = shown.getpeercert() or {}
    return float(ssl.cert_time_to_seconds(str(certificate["notAfter"])))


def _add_notes(found: Exposition, paths: Paths) -> None:
    for what in NOTES:
        note = read_json(paths.state / "notes" / f"{what}.json")
        if note is None:
            continue
        found.gauge(
            f"bastide_last_{what}_timestamp_seconds",
            f"When the last {what} ended, Unix time.",
            float(note["unix_time"]),
        )
        found.gauge(f"bastide_last_{what}_ok", "1 if it ended well.", float(bool(note["ok"])))


def _add_syslog(found: Exposition, paths: Paths) -> None:
    state = read_json(paths.state / "syslog/state.json")
    if state is None or not (paths.current / "etc/syslog.json").exists():
        return
    found.gauge(
        "bastide_syslog_connected",
        "1 if the syslog server takes this host's logs.",
        float(bool(state.get("connected"))),
    )
    found.add(
        "bastide_syslog_messages_total",
        "Log lines that the syslog server has taken.",
        [((), float(state.get("sent", 0)))],
        "counter",
    )


def note(paths: Paths, given: JsonObject) -> JsonObject:
    """Keep when something was done last, for monitoring: ``what``, ``unix_time`` and ``ok``.

    Raises:
        AgentError: It is nothing that is noted.
    """
    what = given.get("what")
    if what not in NOTES:
        raise AgentError("BAS-6120", f"'{what}' is not noted; {', '.join(NOTES)} are")
    folder = paths.state / "notes"
    folder.mkdir(mode=0o755, exist_ok=True)
    line = f'{{"unix_time": {int(given["unix_time"])}, "ok": {str(bool(given["ok"])).lower()}}}\n'
    return {"changed": write_atomic(folder / f"{what}.json", line.encode())}


def keep_telling(paths: Paths, seconds: float) -> JsonObject:
    """Write the metrics every so often until stopped; another agent's text is taken up.

    Args:
        paths: The host's paths.
        seconds: How often.
    """
    own = Path(sys.argv[0])
    began = own.stat().st_mtime_ns
    pause = min(seconds, 5.0)  # what the first look sees is a host that is just starting
    while own.stat().st_mtime_ns == began:
        write_metrics(paths, time.time())
        _tell_systemd("READY=1")
        time.sleep(pause)
        pause = seconds
    os.execv(sys.executable, [sys.executable, *sys.argv])  # noqa: S606 - no shell is wanted


def write_metrics(paths: Paths, now: float) -> None:
    """Write the file that the node exporter reads, in one rename."""
    place = paths.state / "metrics" / FILE
    fresh = place.with_suffix(".new")
    fresh.write_text(exposition(paths, now), encoding="utf-8")
    fresh.chmod(0o644)
    fresh.replace(place)


def _tell_systemd(state: str) -> None:
    place = os.environ.get("NOTIFY_SOCKET", "")
    if place:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as connection:
            connection.connect("\0" + place[1:] if place.startswith("@") else place)
            connection.sendall(state.encode())
