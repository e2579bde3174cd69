"""The command line of the host agent."""

from __future__ import annotations

import argparse
import json
import os
import sys
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

from bastide_host import firewall, watch
from bastide_host.ahead import gateway_ahead
from bastide_host.audit import audit
from bastide_host.backup import backup_begin, backup_end, backup_send
from bastide_host.caller import end_with_caller
from bastide_host.condition import condition
from bastide_host.data import data
from bastide_host.evaluate import evaluate
from bastide_host.facts import facts
from bastide_host.generation import generation
from bastide_host.host import AgentError, JsonObject, Paths, only_one
from bastide_host.inventory import inventory
from bastide_host.keys import set_keys
from bastide_host.packages import install_packages
from bastide_host.prepare import Program, prepare, write_secrets
from bastide_host.recovery import restore_activate, restore_receive
from bastide_host.reembed import reembed, reembed_exchange, reembed_final
from bastide_host.retire import retire
from bastide_host.rotation import rotate_in, rotate_out
from bastide_host.settled import settled
from bastide_host.stage import stage
from bastide_host.support import support
from bastide_host.switch import fingerprint, units_to_restart
from bastide_host.telemetry import keep_telling, note
from bastide_host.transition import begin, promote, revert, revert_begin, revert_end, switch
from bastide_host.uninstall import uninstall, uninstall_list
from bastide_host.units import GATEWAY, describe, health, restart
from bastide_host.validate import validate


def _description(argument: str) -> JsonObject:
    text = sys.stdin.read() if argument == "-" else Path(argument).read_text(encoding="utf-8")
    value = json.loads(text)
    if not isinstance(value, dict) or value.get("format") != "bastide.stage/1":
        raise AgentError("BAS-6050", "the stage description is not of the format bastide.stage/1")
    return value


def _given() -> JsonObject:
    """Return what the starter put into ``given``."""
    return dict(getattr(sys.modules["__main__"], "given", {}))


def _self() -> Program | None:
    """Return this program if its starter kept its text in ``program``."""
    own = sys.modules["__main__"]
    text = getattr(own, "program", None)
    if text is None:
        return None
    return Program(text, getattr(own, "DIGEST", ""), getattr(own, "SOURCES", {}))


def _stage_command(paths: Paths, options: argparse.Namespace) -> JsonObject:
    token = paths.run / "depot_token" if options.token_file is None else options.token_file
    authority = paths.etc / "ca.pem" if options.ca is None else options.ca
    description = _description(options.stage)
    return stage(paths, description, token.read_text(encoding="utf-8").strip(), authority)


def _names(text: str) -> list[str]:
    return [name for name in text.split(",") if name]


def _survey(paths: Paths) -> JsonObject:
    """Return the host's facts, with its condition if the asker wants to know that as well."""
    given = _given()
    found, asked = facts(paths, given), given.get("condition")
    states = found["units"]
    active = [unit for unit, state in states.items() if state == "active"]
    found["outdated"] = units_to_restart(paths, active, states)
    return found if asked is None else {**found, "condition": condition(paths, asked)}


def _built(paths: Paths, description: JsonObject) -> JsonObject:
    """Build a generation, and let the services' own programs look at it unless it is live."""
    built = generation(paths, description)
    return built if built["live"] else {**validate(paths, description), **built}


def _promoted(paths: Paths, description: JsonObject) -> JsonObject:
    """Mark the generation good. A gateway here gets back whatever is still out of rotation.

    Every service is up by now; a run that was cut off after its restarts has left some out.
    """
    marked = promote(paths, description)
    found = rotate_in(paths, "", [], _ROTATION_SECONDS)
    return {**found, **marked, "changed": marked["changed"] or found["changed"]}


def _evaluate(paths: Paths) -> JsonObject:
    end_with_caller()
    return evaluate(paths, _given())


_ROTATION_SECONDS = 60.0
Command = Callable[[Paths, argparse.Namespace], JsonObject]
_READ_ONLY: dict[str, Command] = {
    "audit": lambda paths, _options: audit(paths, _given()),
    "facts": lambda paths, _options: _survey(paths),
    "settled": lambda paths, _options: settled(paths, _given()),
    "data": lambda paths, options: data(paths, options.snapshot),
    "describe": lambda paths, _options: describe(paths),
    "evaluate": lambda paths, _options: _evaluate(paths),
    "firewall": lambda paths, _options: firewall.describe(paths),
    "inventory": lambda paths, _options: inventory(paths),
    # They change nothing of the host's own: what they leave is in /run, and goes with them.
    "watch-start": lambda paths, _options: watch.start(paths, _given()),
    "watch-status": lambda paths, _options: watch.status(paths),
    "watch-stop": lambda paths, _options: watch.stop(paths),
    "watch-record": lambda paths, _options: watch.record(paths),
    "metrics": lambda paths, options: keep_telling(paths, options.seconds),
    "support": lambda paths, _options: support(paths),
    "uninstall-list": lambda paths, _options: uninstall_list(paths),
    "health": lambda paths, options: health(
        paths, options.units, options.seconds, partial=options.partial
    ),
}
# They change only the running gateway, may wait for long, and can be repeated or undone at any
# time: none of them keeps another agent waiting.
_TRAFFIC: dict[str, Command] = {
    "rotate-out": lambda paths, options: rotate_out(
        paths, options.server, _names(options.backends), options.seconds
    ),
    "rotate-in": lambda paths, options: rotate_in(
        paths,
        options.server,
        _names(options.backends),
        options.seconds,
        json.loads(options.ports),
    ),
}
# They may take hours beside everything else, and have a lock of their own.
_BESIDE: dict[str, Command] = {
    "reembed": lambda paths, options: reembed(paths, _description(options.stage)),
    "reembed-final": lambda paths, options: reembed_final(paths, _description(options.stage)),
    "reembed-exchange": lambda paths, _options: reembed_exchange(paths),
}
# A copy of much data takes hours; the fence and the snapshot's own names keep others out.
_RECOVERY: dict[str, Command] = {
    "backup-begin": lambda paths, _options: backup_begin(paths, _given()),
    "backup-end": lambda paths, _options: backup_end(paths, _given()),
    "restore-receive": lambda paths, _options: restore_receive(paths, _given(), sys.stdin.buffer),
    "restore-activate": lambda paths, _options: restore_activate(paths, _given()),
}
# What they print is no JSON object but what was asked for.
_STREAMS: dict[str, Callable[[Paths], int]] = {
    "backup-send": lambda paths: backup_send(paths, _given(), sys.stdout.fileno()),
}
_CHANGING: dict[str, Command] = {
    "keys": lambda paths, _options: set_keys(paths, _given()),
    "prepare": lambda paths, _options: prepare(paths, _self()),
    "secrets": lambda paths, options: write_secrets(
        paths, json.load(sys.stdin), options.groups.split(",")
    ),
    "stage": _stage_command,
    "packages": lambda paths, options: install_packages(paths, _description(options.stage)),
    "generation": lambda paths, options: _built(paths, _description(options.stage)),
    "begin": lambda paths, options: begin(paths, _description(options.stage)),
    "switch": lambda paths, options: switch(paths, _description(options.stage)),
    "promote": lambda paths, options: _promoted(paths, _description(options.stage)),
    "revert-begin": lambda paths, _options: revert_begin(paths),
    "revert": lambda paths, _options: revert(paths),
    "revert-end": lambda paths, _options: revert_end(paths),
    "retire": lambda paths, options: retire(paths, options.seconds),
    "note": lambda paths, _options: note(paths, _given()),
    "uninstall": lambda paths, _options: uninstall(paths, _given()),
    "gateway-ahead": lambda paths, _options: gateway_ahead(paths),
    "firewall-load": lambda paths, _options: firewall.load(paths),
    "firewall-keep": lambda paths, _options: firewall.keep(
        paths, f"{fingerprint(paths, firewall.UNIT)}\n".encode()
    ),
}


def _restart(paths: Paths, options: argparse.Namespace) -> JsonObject:
    """Restart units, and wait until they answer if asked to; the lock is not kept meanwhile.

    A gateway answers with everything in rotation: what listens elsewhere with its new
    configuration could not be found before.
    """
    with only_one(paths):
        done = restart(paths, options.units)
    if not options.answers or not options.units:
        return done
    if GATEWAY in options.units:
        rotate_in(paths, "", [], options.seconds)
    units = [] if options.all else options.units
    return {**health(paths, units, options.seconds, partial=options.partial), **done}


_UNLOCKED = {**_READ_ONLY, **_TRAFFIC, **_BESIDE, "restart": _restart}
_COMMANDS = {*_UNLOCKED, *_RECOVERY, *_CHANGING, *_STREAMS}


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="bastide_host.py", description="Bastide's host agent.")
    parser.add_argument("command", choices=sorted(_COMMANDS))
    parser.add_argument(
        "--unit", dest="units", action="append", default=[], help="to restart, to await"
    )
    parser.add_argument(
        "--partial", action="store_true", help="services on other hosts are still to come"
    )
    parser.add_argument("--answers", action="store_true", help="restart: wait until they answer")
    parser.add_argument("--all", action="store_true", help="and every other service of this host")
    parser.add_argument("--root", type=Path, default=Path("/"), help="another root, for tests")
    parser.add_argument("--stage", default="-", help="stage description; - is standard input")
    parser.add_argument("--token-file", type=Path, help="file with the depot's token")
    parser.add_argument("--ca", type=Path, help="CA certificate of the depot, PEM")
    parser.add_argument("--ports", default="{}", help="JSON object: service to port")
    parser.add_argument("--groups", default="", help="the host's groups, with commas between")
    parser.add_argument("--server", default="", help="whose servers: a host's name")
    parser.add_argument("--backends", default="", help="the gateway's, with commas between")
    parser.add_argument("--snapshot", default="", help="to compare the live data with")
    parser.add_argument("--seconds", type=float, default=180.0, help="how long to wait")
    return parser.parse_args(arguments)


def _answer(options: argparse.Namespace) -> JsonObject:
    paths = Paths(options.root)
    if options.command in _UNLOCKED:
        return _UNLOCKED[options.command](paths, options)
    if options.command in _RECOVERY:
        with only_one(paths, name="recovery.lock"):
            return _RECOVERY[options.command](paths, options)
    with only_one(paths):
        return _CHANGING[options.command](paths, options)


def main(arguments: list[str] | None = None) -> int:
    """Run one command; print its result or its error as one JSON object."""
    os.umask(0o022)
    options = _parse(arguments)
    try:
        if options.command in _STREAMS:
            return _STREAMS[options.command](Paths(options.root))
        answer = _answer(options)
    except AgentError as error:
        failure = {"code": error.code, "message": str(error), "hint": error.hint}
        print(json.dumps({"error": failure}))
        return 1
    except (OSError, ValueError, KeyError, zipfile.BadZipFile, tarfile.TarError) as error:
        message = f"{options.command}: {type(error).__name__}: {error}"
        print(json.dumps({"error": {"code": "BAS-6050", "message": message, "hint": ""}}))
        return 1
    print(json.dumps(answer, separators=(",", ":")))
    return 0
