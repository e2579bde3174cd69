"""From one generation to another, and back if need be: a transition is begun, then kept or undone.

``transition.json`` exists from before the first change of a switch until the new generation is
marked good or the old one is back. Every command here can be repeated: it looks before it acts.
"""

from __future__ import annotations

import contextlib
import json
import shutil
from pathlib import Path

from bastide_host import data
from bastide_host.ahead import to_be_secured
from bastide_host.collect import collect, sweep
from bastide_host.facts import current_number, transition_of, unit_states
from bastide_host.fence import now
from bastide_host.host import (
    JOURNAL,
    AgentError,
    JsonObject,
    Paths,
    fsync_directory,
    read_json,
    run,
    write_atomic,
)
from bastide_host.reembed import drop_shadows, expect_shadows, is_pending
from bastide_host.switch import activate, deactivate, require_intact, units_to_restart

FORMAT = "bastide.transition/1"
VECTORDB = "bastide-vectordb.service"
JOURNAL_LINES = 5000
OTHER_ONE = "BAS-6090"
NOT_THERE = "BAS-6091"
DATA_DIFFERS = "BAS-6092"


def _write(paths: Paths, transition: JsonObject) -> None:
    write_atomic(paths.transition, (json.dumps(transition, indent=2) + "\n").encode())


def begin(paths: Paths, description: JsonObject) -> JsonObject:
    """Open the transition to the staged generation, with a data snapshot if the plan has one.

    Nothing is live yet. A host that runs the generation already, and has none open, needs none.

    Raises:
        AgentError: Another transition is open, or the snapshot cannot be taken.
    """
    order, number = description["transition"], int(description["generation"])
    found, live = transition_of(paths), current_number(paths)
    if found and (found["content"] != description["digest"] or found["reverting"]):
        state = "being undone" if found["reverting"] else "open"
        raise AgentError(
            OTHER_ONE,
            f"the switch to generation {found['after']} by run {found['run']} is {state}",
            "run bastide apply again: it finishes that first",
        )
    if not found and live != number:
        found = {
            "format": FORMAT,
            "before": live,
            "after": number,
            "content": description["digest"],
            "reverting": False,
            "snapshot": order["run"] if order["snapshot"] else "",
            "restore": order["restore"],
        }
    if found:
        _write(paths, {**found, "run": order["run"]})
        if found["snapshot"] or found["restore"]:
            data.raise_fence(paths, order["run"], order["pass_sha256"])
        if found["snapshot"] and live != number:
            data.take_snapshot(paths, found["snapshot"], found["before"])
    return {
        "changed": bool(found),
        "restart": _will_restart(paths, description, found),
        "reembed": bool(description.get("reembed")) and live != number,
    }


def _will_restart(paths: Paths, description: JsonObject, found: JsonObject | None) -> list[str]:
    target = paths.generations / str(int(description["generation"]))
    units = set(description["units"])
    restart = set(units_to_restart(paths, units, unit_states(paths), target))
    if found and found["restore"]:
        restart.add(VECTORDB)
    return sorted(restart.union(description.get("restart", ())) & units)


def switch(paths: Paths, description: JsonObject) -> JsonObject:
    """Make the staged generation the live one, in one rename; say which units must restart.

    Raises:
        AgentError: The generation is not complete, or its transition has not been begun.
    """
    found, number = transition_of(paths), int(description["generation"])
    if current_number(paths) != number and (
        not found or found["content"] != description["digest"] or found["reverting"]
    ):
        raise AgentError(NOT_THERE, f"no transition to generation {number} is open", "apply again")
    if current_number(paths) != number:
        require_intact(paths, number)
    if found and found["restore"]:
        _put_back(paths, found["restore"])
    answer = activate(paths, number, description)
    return {
        **answer,
        "reembed": is_pending(paths, description["digest"]),
        "secures": to_be_secured(paths),
    }


def _put_back(paths: Paths, snapshot: str) -> None:
    """Make a snapshot the data that is served; what was served lies in its place then."""
    if not data.exchanged(paths, snapshot):
        run(["systemctl", "stop", VECTORDB], timeout=300)
        data.exchange(paths, snapshot)


def revert_begin(paths: Paths) -> JsonObject:
    """Decide that the open transition is undone; keep what tells why. Nothing is switched yet."""
    found = transition_of(paths)
    if not found:
        return {"changed": False, "restart": [], "stops": [], "came": False}
    if not found["reverting"]:
        keep_evidence(paths, found)
        _write(paths, {**found, "reverting": True})
    if found["before"] is None:  # it came with this run, and does nothing afterwards
        active = sorted(unit for unit, state in unit_states(paths).items() if state == "active")
        return {"changed": True, "restart": [], "stops": active, "came": True}
    target = paths.generations / str(found["before"])
    units = (read_json(target / "generation.json") or {}).get("units", [])
    restart = set(units_to_restart(paths, units, unit_states(paths), target))
    if found["snapshot"] or found["restore"]:
        restart.add(VECTORDB)
    return {"changed": True, "restart": sorted(restart & set(units)), "stops": [], "came": False}


def revert(paths: Paths) -> JsonObject:
    """Make the generation before the transition the live one again, its data included."""
    found = transition_of(paths)
    if not found:
        return {"changed": False, "restart": [], "stopped": [], "ports": {}}
    if found["before"] is None:
        return deactivate(paths)
    for snapshot, wanted in ((found["snapshot"], True), (found["restore"], False)):
        here = snapshot and data.find_snapshot(paths, snapshot)
        if here and data.exchanged(paths, snapshot) is not wanted:
            run(["systemctl", "stop", VECTORDB], timeout=300)
            data.exchange(paths, snapshot)
    record = read_json(paths.generations / str(found["before"]) / "generation.json")
    if not record:
        raise AgentError(
            "BAS-6064",
            f"generation {found['before']}, which this host ran before, is gone or damaged",
            "bastide rollback --to an earlier run builds it anew from the store",
        )
    return activate(paths, found["before"], {"digest": record["digest"], "units": record["units"]})


def revert_end(paths: Paths) -> JsonObject:
    """Close a transition that is undone: data proved, writes let in again.

    Raises:
        AgentError: The data is not what the snapshot says.
    """
    found = transition_of(paths)
    if not found:
        closed, swept = _close(paths), sweep(paths)
        return {"changed": closed or bool(swept)}
    stamp = data.find_snapshot(paths, found["snapshot"]) if found["snapshot"] else None
    if stamp and (differences := data.check_data(paths, stamp)):
        raise AgentError(
            DATA_DIFFERS,
            f"the data that was put back differs from snapshot {found['snapshot']}: "
            + "; ".join(differences[:5]),
            f"look at {paths.snapshots / found['snapshot']}; writes stay refused until then",
        )
    _close(paths)
    if stamp:
        data.drop_snapshot(paths, found["snapshot"])
    with contextlib.suppress(AgentError):  # the next apply looks for them: all else is as before
        drop_shadows(paths)
    sweep(paths)
    return {"changed": True, "generation": found["before"]}


def promote(paths: Paths, description: JsonObject) -> JsonObject:
    """Mark the live generation good, let writes in again, remove what the plan collects.

    Raises:
        AgentError: Another generation is live.
    """
    number, found = int(description["generation"]), transition_of(paths)
    if current_number(paths) != number or (found and found["reverting"]):
        raise AgentError(NOT_THERE, f"generation {number} is not the live one", "apply again")
    marked = _mark_good(paths, number, description)
    if found and found["restore"]:
        expect_shadows(paths, data.find_snapshot(paths, found["restore"]))
        data.set_aside(paths, found["restore"], found["before"])
    closed = _close(paths)
    removed = drop_shadows(paths)
    removed += collect(paths, description.get("collect", ())) + sweep(paths)
    return {"changed": bool(closed or marked or removed), "removed": removed}


def _mark_good(paths: Paths, number: int, description: JsonObject) -> bool:
    good = (read_json(paths.good) or {}).get("good", [])
    entry = {"number": number, "content": description["digest"]}
    if any({**each, **entry} == each for each in good[-1:]):
        return False
    kept = [each for each in good if each["number"] != number]
    entry = {**entry, "since": now(), "run": description["transition"]["run"]}
    text = json.dumps({"format": "bastide.good/1", "good": [*kept, entry]}, indent=2) + "\n"
    write_atomic(paths.good, text.encode())
    return True


def _close(paths: Paths) -> bool:
    """Let writes in again, the transition being over; return whether anything was open.

    In this order: what is written while a transition is open could be taken back with it. A fence
    that a kill in between leaves is lifted by the next apply: ``settled`` looks for it.
    """
    opened = paths.transition.exists()
    if opened:
        paths.transition.unlink()
        fsync_directory(paths.state)
    fenced = paths.fence.exists()
    data.lift_fence(paths)
    return opened or fenced


def keep_evidence(paths: Paths, found: JsonObject) -> None:
    """Copy what tells why a generation is left, to a place that no rollback touches."""
    folder = paths.evidence / found["run"]
    with contextlib.suppress(OSError):  # a full disk must not keep the old generation away
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        argv = [*JOURNAL, "--unit=bastide-*", f"--lines={JOURNAL_LINES}", "--no-pager"]
        (folder / "journal.txt").write_text(run(argv, timeout=60).stdout, encoding="utf-8")
        (folder / "transition.json").write_text(json.dumps(found, indent=2), encoding="utf-8")
        failed = paths.generations / str(found["after"])
        _copy(failed / "generation.json", folder / "generation.json")
        if (failed / "etc").is_dir():
            shutil.copytree(failed / "etc", folder / "etc", dirs_exist_ok=True)


def _copy(source: Path, target: Path) -> None:
    if source.is_file():
        shutil.copyfile(source, target)
