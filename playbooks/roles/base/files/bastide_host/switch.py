"""Make a built generation the live one, and know which units run with something else."""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
import urllib.parse
from collections.abc import Iterable, Mapping
from pathlib import Path

from bastide_host import firewall
from bastide_host.depot import is_intact
from bastide_host.facts import unit_states
from bastide_host.host import (
    AgentError,
    JsonObject,
    Paths,
    fsync_directory,
    link_atomic,
    read_json,
    run,
    sha256_of,
    tail,
    text_of,
    write_atomic,
)

DAMAGED = "BAS-6053"
# Secrets that a unit copies to itself at each start and reload: a reload is enough for new ones.
_COPIED = re.compile(r"(?<=\s)/etc/bastide/secrets/[\w.-]+")
# The running gateway is told of clients' keys: it runs with nothing else when they change.
TOLD = "/etc/bastide/secrets/gateway-keys.map"
# What else is linked into a generation, for a program that is not ours.
JOURNALD = "/etc/systemd/journald@bastide.conf"
DESCRIPTIONS = ("host.json", "release.json", "upgrade-manifest.yaml")  # linked from /etc/bastide


def model_file(paths: Paths, sha256: str) -> Path:
    """Return where a model lies."""
    return paths.state / "models" / f"{sha256}.gguf"


def fingerprint(paths: Paths, unit: str, generation: Path | None = None) -> str:
    """Return a digest of everything that a unit of a generation runs with.

    That is its own text and whatever the text names: configuration files, the models that these
    name, the Python environment, sources, credentials and programs of the system.

    Args:
        paths: The host's paths.
        unit: The unit's name.
        generation: The generation's folder; None means the live one.
    """
    digest = hashlib.sha256()

    def add(*parts: object) -> None:
        digest.update(json.dumps([str(part) for part in parts]).encode())

    live = generation or paths.current
    text = text_of(live / "units" / unit)
    record = read_json(live / "generation.json") or {}
    add("unit", text)
    models = {model["name"]: model["sha256"] for model in record.get("models", [])}
    for name in sorted(set(re.findall(r"/opt/bastide/current/etc/([\w.-]+)", text))):
        config = text_of(live / "etc" / name)
        add("config", name, config)
        for model in sorted(set(re.findall(r"/models/([\w.-]+)\.gguf", config))):
            add("model", model, models.get(model), _inode(paths, models.get(model)))
    if "/opt/bastide/current/venv/" in text:
        add("wheels", json.dumps(record.get("wheels"), sort_keys=True))
    if "/opt/bastide/current/lib" in text:
        add("sources", json.dumps(record.get("sources"), sort_keys=True))
        scripts = {p: sha for p, sha in record.get("files", {}).items() if p.startswith("lib/")}
        add("scripts", json.dumps(scripts, sort_keys=True))
    for name, path in sorted(re.findall(r"^LoadCredential=(.+?):(.+)$", text, re.MULTILINE)):
        add("credential", name, sha256_of(paths.at(path)) if paths.at(path).exists() else None)
    for path in sorted(set(_COPIED.findall(text)) - {TOLD}):
        add("secret", path, sha256_of(paths.at(path)) if paths.at(path).exists() else None)
    for program in sorted(set(re.findall(r"^Exec\w+=(/usr/\S+)", text, re.MULTILINE))):
        with contextlib.suppress(OSError):
            state = paths.at(program).stat()
            add("program", program, state.st_size, state.st_mtime_ns)
    return digest.hexdigest()


def _inode(paths: Paths, sha256: str | None) -> int | None:
    """Return which file a model is: one that was damaged and fetched anew is another."""
    with contextlib.suppress(OSError):
        return model_file(paths, str(sha256)).stat().st_ino
    return None


def birth(paths: Paths, unit: str) -> str:
    """Return a digest of what a unit takes only when it starts: its own text and credentials."""
    text = text_of(paths.current / "units" / unit)
    parts = [text]
    for _name, path in sorted(re.findall(r"^LoadCredential=(.+?):(.+)$", text, re.MULTILINE)):
        parts.append(sha256_of(paths.at(path)) if paths.at(path).exists() else "none")
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def units_to_restart(
    paths: Paths, units: Iterable[str], states: Mapping[str, str], generation: Path | None = None
) -> list[str]:
    """Return the units that run with something else than they would be started with.

    Args:
        paths: The host's paths.
        units: The units to look at.
        states: Their present states.
        generation: The generation that they would be started from; None means the live one.
    """
    return [
        unit
        for unit in sorted(units)
        if states.get(unit) != "active"
        or text_of(paths.started / unit).strip() != fingerprint(paths, unit, generation)
        or (unit == firewall.UNIT and firewall.state(paths, generation) != "live")
    ]


def _make_users(paths: Paths, target: Path) -> bool:
    wanted = target / "etc/sysusers.conf"
    if not wanted.exists():
        return False
    place = paths.at("/etc/sysusers.d/bastide.conf")
    place.parent.mkdir(mode=0o755, exist_ok=True)
    known = {line.split(":")[0] for line in text_of(paths.at("/etc/passwd")).splitlines()}
    users = set(re.findall(r"^u (\S+)", text_of(wanted), re.MULTILINE))
    changed = write_atomic(place, wanted.read_bytes())
    if changed or users - known:
        done = run(["systemd-sysusers", str(place)], timeout=60)
        if done.returncode != 0:
            raise AgentError("BAS-6065", f"systemd-sysusers failed:\n{tail(done)}")
        return True
    return False


def _link_units(paths: Paths, units: Iterable[str]) -> bool:
    wants = paths.units / "multi-user.target.wants"
    wants.mkdir(mode=0o755, parents=True, exist_ok=True)
    changed = False
    for unit in units:
        changed |= link_atomic(paths.units / unit, f"/opt/bastide/current/units/{unit}")
        changed |= link_atomic(wants / unit, f"../{unit}")
    return changed


def _link_journald(paths: Paths) -> bool:
    """Let journald keep our services' logs as the live generation says; restart it if that changed.

    It keeps what services write meanwhile; a generation from before there was such a file has none.
    """
    place, config = paths.at(JOURNALD), paths.current / "etc/journald.conf"
    mark = paths.state / "journald.sha256"
    wanted = sha256_of(config) if config.exists() else ""
    if wanted:
        changed = link_atomic(place, "/opt/bastide/current/etc/journald.conf")
    else:
        changed = place.is_symlink()
        place.unlink(missing_ok=True)
    if text_of(mark).strip() != wanted:
        run(["systemctl", "try-restart", "systemd-journald@bastide.service"], timeout=60)
        write_atomic(mark, f"{wanted}\n".encode())
        changed = True
    return changed


def _drop_stale_units(paths: Paths, units: Iterable[str]) -> list[str]:
    here = {path.name for path in paths.units.glob("bastide-*.service")}
    stale = sorted(here - set(units))
    if stale:
        run(["systemctl", "stop", *stale], timeout=300)
        for unit in stale:
            (paths.units / unit).unlink()
            (paths.units / "multi-user.target.wants" / unit).unlink(missing_ok=True)
            for mark in (unit, f"{unit}.born"):
                (paths.started / mark).unlink(missing_ok=True)
    return stale


def require_intact(paths: Paths, number: int) -> None:
    """Check that no model of a generation was written to since it came.

    Raises:
        AgentError: One was, and has other bytes now.
    """
    record = read_json(paths.generations / str(number) / "generation.json") or {}
    for model in record.get("models", []):
        place = model_file(paths, model["sha256"])
        if not is_intact(place, model["sha256"]):
            raise AgentError(
                DAMAGED,
                f"model {model['name']}: {place} is missing or was damaged since it came",
                "apply again: it is fetched anew",
            )


def activate(paths: Paths, number: int, description: JsonObject) -> JsonObject:
    """Make a built generation the live one, in one rename; say which units must restart.

    Args:
        paths: The host's paths.
        number: The generation.
        description: Its ``digest`` and ``units``; units under ``restart`` are restarted anyhow.

    Raises:
        AgentError: The generation is not complete.
    """
    target = paths.generations / str(number)
    record = read_json(target / "generation.json")
    if not record or record.get("digest") != description["digest"]:
        raise AgentError("BAS-6064", f"generation {number} is not complete", "apply again")
    changed = _make_users(paths, target)
    stopped = _drop_stale_units(paths, description["units"])
    changed |= link_atomic(paths.current, f"generations/{number}")
    for name in DESCRIPTIONS:
        if (target / "etc" / name).exists():
            changed |= link_atomic(paths.etc / name, f"/opt/bastide/current/etc/{name}")
    changed |= _link_journald(paths)
    changed |= _link_units(paths, description["units"])
    # The plan may know of more, such as a library that a service has loaded.
    planned = set(description.get("restart", ())) & set(description["units"])
    running_otherwise = units_to_restart(paths, description["units"], unit_states(paths))
    restart = sorted(planned.union(running_otherwise))
    if changed or stopped or restart:
        run(["systemctl", "daemon-reload"], timeout=60)
    return {
        "changed": bool(changed or stopped),
        "restart": restart,
        "stopped": stopped,
        "ports": _ports(target),
    }


def _ports(generation: Path) -> dict[str, str]:
    """Return where a generation's services listen: group → address, port and maybe ``tls``."""
    host = read_json(generation / "etc/host.json") or {}
    found = {unit: urllib.parse.urlsplit(url) for unit, url in host.get("services", {}).items()}
    ports = (host.get("mutual_tls") or {}).get("ports", ())
    return {
        unit[len("bastide-") : -len(".service")]: f"{url.hostname} {url.port or 0}"
        + (" tls" if url.port in ports else "")
        for unit, url in found.items()
    }


def service_ports(paths: Paths) -> dict[str, int]:
    """Return the TCP ports of the live generation's services, by group; none if none is live."""
    if not paths.current.exists():
        return {}
    return {name: int(place.split()[1]) for name, place in _ports(paths.current).items()}


def deactivate(paths: Paths) -> JsonObject:
    """Stop every unit and let no generation be live: where a first installation came from."""
    stopped = _drop_stale_units(paths, ())
    if paths.current.is_symlink():
        paths.current.unlink()
        fsync_directory(paths.opt)
    for name in DESCRIPTIONS:
        (paths.etc / name).unlink(missing_ok=True)
    paths.at(JOURNALD).unlink(missing_ok=True)
    (paths.state / "journald.sha256").unlink(missing_ok=True)
    run(["systemctl", "daemon-reload"], timeout=60)
    return {"changed": True, "restart": [], "stopped": stopped, "ports": {}}
