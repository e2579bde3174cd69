"""Restart units, and wait until they answer."""

from __future__ import annotations

import contextlib
import http.client
import time
import urllib.parse

from bastide_host.client import connect
from bastide_host.facts import unit_states
from bastide_host.floating import UNIT as KEEPALIVED
from bastide_host.floating import elsewhere
from bastide_host.gateway import NotRunningError, takes_over, worker
from bastide_host.host import (
    ERROR_TAIL,
    JOURNAL,
    AgentError,
    JsonObject,
    Paths,
    read_json,
    run,
    tail,
    text_of,
    write_atomic,
)
from bastide_host.rotation import through_a_reload
from bastide_host.switch import birth, fingerprint

GATEWAY = "bastide-gateway.service"
_ANSWER_SECONDS = 5.0
_UP_SECONDS = 20.0  # for servers that are given requests again before a reload
_RELOAD_SECONDS = 30.0

ASKING = ("bastide-gateway.service", "bastide-keepalived.service")  # well if others are


def _last_words(unit: str) -> str:
    argv = [*JOURNAL, f"--unit={unit}", f"--lines={ERROR_TAIL}", "--no-pager", "--output=cat"]
    return run(argv, timeout=20).stdout.strip()


def restart(paths: Paths, units: list[str]) -> JsonObject:
    """Restart units, or reload those that can; whether they work is ``health``'s question.

    Raises:
        AgentError: One does not start; with its last journal lines.
    """
    reloaded = []
    for unit in units:
        mark = paths.started / f"{unit}.pending"
        write_atomic(mark, f"{fingerprint(paths, unit)}\n".encode(), 0o600)
        if _can_reload(paths, unit) and _reload(paths, unit):
            reloaded.append(unit)
        else:
            _start_anew(paths, unit)
    restarted = [unit for unit in units if unit not in reloaded]
    return {"changed": bool(units), "restarted": restarted, "reloaded": reloaded}


def _start_anew(paths: Paths, unit: str) -> None:
    born = paths.started / f"{unit}.born"
    born.unlink(missing_ok=True)  # cut off in between, the unit is started anew once more
    digest = birth(paths, unit)
    with elsewhere(paths) if unit == GATEWAY else contextlib.nullcontext():
        run(["systemctl", "reset-failed", unit], timeout=20)
        done = run(["systemctl", "restart", unit], timeout=300)
    if done.returncode != 0:
        raise _unhealthy(unit, "did not start")
    write_atomic(born, f"{digest}\n".encode(), 0o600)


def _can_reload(paths: Paths, unit: str) -> bool:
    """Whether a reload is enough: the unit runs, and all that only a start takes is the same."""
    return (
        unit in {GATEWAY, KEEPALIVED}
        and text_of(paths.started / f"{unit}.born").strip() == birth(paths, unit)
        and unit_states(paths).get(unit) == "active"
    )


def _reload(paths: Paths, unit: str) -> bool:
    """Reload a unit without closing a connection; return False if it does not run after all.

    Raises:
        AgentError: No new process took over; the old one goes on.
    """
    if unit == KEEPALIVED:  # a restart would move the floating address, and cut connections
        return run(["systemctl", "reload", unit], timeout=60).returncode == 0
    try:
        with through_a_reload(paths, _UP_SECONDS):
            before = worker(paths)
            done = run(["systemctl", "reload", unit], timeout=60)
            reloaded = done.returncode == 0 and takes_over(paths, before, _RELOAD_SECONDS)
        if reloaded:
            return True
    except NotRunningError:
        return False
    raise AgentError(
        "BAS-6082",
        f"{unit} was not reloaded and goes on as before:\n{tail(done)}\n{_last_words(unit)}",
        "the cause is usually in these lines; bastide apply can be repeated",
    )


def _unhealthy(unit: str, what: str) -> AgentError:
    return AgentError(
        "BAS-6060",
        f"{unit} {what}; its last journal lines:\n{_last_words(unit)}",
        "the cause is usually in these lines; bastide apply can be repeated",
    )


def answers(paths: Paths, url: str, *, partial: bool = False) -> str:
    """Return an empty text if ``url`` answers 200, else what happened instead.

    A unit without a URL has told systemd that it is well, or it would not be active.

    Args:
        paths: The host's paths.
        url: Where it answers; may be empty.
        partial: 503 is well, too: what stands behind it is still to come.
    """
    if not url:
        return ""
    try:
        with contextlib.closing(connect(paths, url, _ANSWER_SECONDS)) as connection:
            connection.request("GET", urllib.parse.urlsplit(url).path)
            response = connection.getresponse()
            body = response.read(400).decode("utf-8", "replace")
            well = {http.client.OK, http.client.SERVICE_UNAVAILABLE if partial else http.client.OK}
            return "" if response.status in well else f"answered {response.status} {body}"
    except (OSError, http.client.HTTPException) as error:
        return f"gave no answer: {error}"


def _given_up(unit: str) -> bool:
    argv = ["systemctl", "show", "--property=ActiveState,NRestarts", unit]
    fields = dict(line.split("=", 1) for line in run(argv, timeout=20).stdout.splitlines())
    restarts = fields.get("NRestarts", "0")
    return fields.get("ActiveState") == "failed" or (restarts.isdigit() and int(restarts) > 2)


def wait_healthy(
    paths: Paths, unit: str, url: str, seconds: float, *, partial: bool = False
) -> float:
    """Wait until a unit answers at ``url``; return after how many seconds it did.

    Raises:
        AgentError: It gave up or did not answer in time; with its last journal lines.
    """
    started = time.monotonic()
    deadline = started + seconds
    while True:
        fault = answers(paths, url, partial=partial)
        if not fault:
            break
        if _given_up(unit):
            raise _unhealthy(unit, "failed")
        if time.monotonic() > deadline:
            raise _unhealthy(unit, f"is not well after {seconds:.0f} s: {url} {fault}")
        time.sleep(0.1)
    pending = paths.started / f"{unit}.pending"
    if pending.exists():
        pending.replace(paths.started / unit)
    return time.monotonic() - started


def health(paths: Paths, units: list[str], seconds: float, *, partial: bool = False) -> JsonObject:
    """Wait until units (all of this host's, if none is named) answer.

    Args:
        paths: The host's paths.
        units: Names of units.
        seconds: How long to wait for all of them together.
        partial: Other hosts that the gateway needs have not begun to serve yet.
    """
    services = (read_json(paths.current / "etc/host.json") or {}).get("services", {})
    deadline = time.monotonic() + seconds
    waited = {}
    for unit in units or sorted(services):
        if unit not in services:
            raise AgentError("BAS-6060", f"{unit} is not a service of this host's generation")
        left = max(deadline - time.monotonic(), 1.0)
        waited[unit] = round(
            wait_healthy(paths, unit, services[unit], left, partial=partial and unit in ASKING), 2
        )
    return {"changed": False, "healthy": waited}


def describe(paths: Paths) -> JsonObject:
    """Return what this host is: its release, generation and units."""
    return {
        "changed": False,
        "host": read_json(paths.etc / "host.json"),
        "generation": read_json(paths.current / "generation.json"),
        "release": read_json(paths.etc / "release.json"),
        "units": unit_states(paths),
    }
