"""Every vector anew by the next generation's model, while the old ones are served.

First a pass beside the clients' reads and writes into shadow collections; then, under the fence, a
pass for what changed meanwhile, and the proof; after the switch each collection and its shadow are
exchanged. ``reembed.json`` exists as long as there may be shadows. What lies where, the collections
themselves tell: a shadow carries its migration's mark, and takes it along in the exchange.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import secrets
from collections.abc import Iterator
from pathlib import Path

from bastide_host.embedder import Embedder, stop_server
from bastide_host.host import (
    AgentError,
    JsonObject,
    Paths,
    fsync_directory,
    only_one,
    read_json,
    text_of,
    write_atomic,
)
from bastide_host.shadow import SUFFIX, Pair, Tally, config_of, mark_of, path_of
from bastide_host.vectors import RefusedError, VectorDb

FORMAT = "bastide.reembed/1"
REFUSED = "BAS-6099"
_LOCK = "reembed.lock"  # of its own: a pass may take hours, and keeps no other command waiting
_PATIENCE = 86_400.0  # s for the first pass of a run that was cut off: it does the same work
_HURRY = 120.0  # s under the fence, where such a pass ends at its next write


def state_file(paths: Paths) -> Path:
    """Return where a migration says how far it is."""
    return paths.state / "reembed.json"


def is_pending(paths: Paths, content: str) -> bool:
    """Return whether shadows wait to be exchanged with the collections of a generation."""
    state = read_json(state_file(paths)) or {}
    return bool(state.get("ready")) and state.get("content") == content


def reembed(paths: Paths, description: JsonObject) -> JsonObject:
    """Fill the shadows while clients read and write; whoever is cut off goes on where he was.

    With the fence up there is nothing to do here: ``reembed_final`` brings what is left.

    Raises:
        AgentError: The new server does not start, or a point cannot be embedded anew.
    """
    if not description.get("reembed") or paths.fence.exists():
        return {"changed": False, "collections": {}}
    tallies = {}
    with _at_work(paths, description, _PATIENCE) as (state, pairs):
        for pair in pairs:
            entry, tally = state["collections"][pair.name], Tally()
            if pair.ready():
                entry.update(offset=None, filled=False)
            if entry["filled"]:
                continue

            def saw(following: int | str | None, entry: JsonObject = entry) -> None:
                entry.update(offset=following, filled=following is None)
                _write(paths, state)

            pair.fill(entry["offset"], saw, tally)
            tallies[pair.name] = dataclasses.asdict(tally)
    return {"changed": bool(tallies), "collections": tallies}


def reembed_final(paths: Paths, description: JsonObject) -> JsonObject:
    """Under the fence: bring over what was added, changed or removed since, and prove it.

    Raises:
        AgentError: No fence is up, or the new vectors are not in order.
    """
    if not description.get("reembed"):
        return {"changed": False, "collections": {}}
    if not paths.fence.exists():
        raise AgentError(
            REFUSED, "writes are let in: what is brought over may change", "apply again"
        )
    tallies: dict[str, JsonObject] = {}
    with _at_work(paths, description, _HURRY) as (state, pairs):
        for pair in pairs:
            tally = Tally()
            pair.ready()
            pair.fill(None, lambda _following: None, tally)
            pair.prune(tally)
            tallies[pair.name] = {**dataclasses.asdict(tally), "points": pair.prove()}
        state["ready"] = True
        _write(paths, state)
    return {"changed": True, "collections": tallies}


def reembed_exchange(paths: Paths) -> JsonObject:
    """Serve the new vectors: exchange each collection with its shadow, unless that is done."""
    state = read_json(state_file(paths)) or {}
    exchanged = []
    if state.get("ready"):
        database = _database(paths)
        with _explained():
            for name in state["collections"]:
                config = config_of(database, name)
                if config is not None and mark_of(config) != state["id"]:
                    both = {"a": name, "b": name + SUFFIX}
                    database.ask("POST", "/bastide/exchange", both)
                    exchanged.append(name)
    return {"changed": bool(exchanged), "exchanged": exchanged}


def expect_shadows(paths: Paths, stamp: JsonObject | None) -> None:
    """Note that data which is put back brings shadows along, so that they are removed."""
    names = (stamp or {}).get("points", {})
    if any(name.endswith(SUFFIX) for name in names) and not state_file(paths).exists():
        _write(paths, {"format": FORMAT, "content": "", "collections": {}, "ready": False})


def drop_shadows(paths: Paths) -> list[str]:
    """Remove what a migration has left: shadows, the server, its note. Returns their names.

    Raises:
        AgentError: The vector DB does not answer.
    """
    stop_server(paths)
    if not state_file(paths).exists():
        return []
    database = _database(paths)
    with _explained():
        names = [name for name in database.counts() if name.endswith(SUFFIX)]
        for name in names:
            database.ask("DELETE", path_of(name))
    state_file(paths).unlink()
    fsync_directory(paths.state)
    return names


# --- inside ----------------------------------------------------------------------------------
def _database(paths: Paths) -> VectorDb:
    return VectorDb(paths, text_of(paths.run / "pass").strip())


@contextlib.contextmanager
def _at_work(
    paths: Paths, description: JsonObject, seconds: float
) -> Iterator[tuple[JsonObject, list[Pair]]]:
    """Alone among passes: gives the migration's state and the collections that there are."""
    with only_one(paths, seconds, _LOCK), _explained():
        database = _database(paths)
        state = _state(paths, description)
        with Embedder(paths, int(description["generation"])) as embedder:
            pairs = [
                Pair(database, name, entry["text"], state["id"], embedder)
                for name, entry in state["collections"].items()
                if config_of(database, name) is not None
            ]
            yield state, pairs


def _state(paths: Paths, description: JsonObject) -> JsonObject:
    """Return how far the migration to a generation is; one to another generation is over."""
    declared = description["reembed"]["collections"]
    state = read_json(state_file(paths))
    if state and state["content"] == description["digest"] and _texts(state) == declared:
        return state
    drop_shadows(paths)
    state = {
        "format": FORMAT,
        "id": secrets.token_hex(8),
        "content": description["digest"],
        "collections": {
            name: {"text": text, "offset": None, "filled": False} for name, text in declared.items()
        },
        "ready": False,
    }
    _write(paths, state)
    return state


def _texts(state: JsonObject) -> dict[str, str]:
    return {name: entry["text"] for name, entry in state["collections"].items()}


def _write(paths: Paths, state: JsonObject) -> None:
    write_atomic(state_file(paths), (json.dumps(state, indent=2) + "\n").encode())


@contextlib.contextmanager
def _explained() -> Iterator[None]:
    try:
        yield
    except (OSError, RefusedError) as error:
        raise AgentError(
            REFUSED,
            f"the vector DB did not do what embedding anew asks of it: it {error}",
            "see journalctl --namespace=+bastide --unit=bastide-vectordb; apply again: it goes on "
            "where it was",
        ) from error
