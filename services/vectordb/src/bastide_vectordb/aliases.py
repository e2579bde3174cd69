"""Second names of collections: ``aliases.json`` beside the collections."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import orjson

from bastide_vectordb import files
from bastide_vectordb.errors import ApiError, BadRequestError, NotFoundError
from bastide_vectordb.json_types import Json
from bastide_vectordb.wire_values import fail, known_keys, string

NAME = "aliases.json"
Names = dict[str, str]  # alias → collection


def load(path: Path) -> Names:
    """The aliases in a file; none without it.

    Raises:
        ValueError: not a file of aliases.
        OSError: it cannot be read.
    """
    if not path.exists():
        return {}
    data = orjson.loads(path.read_bytes())
    if not isinstance(data, dict) or not all(isinstance(value, str) for value in data.values()):
        raise ValueError(f"{path}: expected an object of aliases and collections")
    return data


def save(path: Path, names: Mapping[str, str]) -> None:
    """Write the aliases, whole or not at all."""
    files.write_atomic(path, orjson.dumps(names, option=orjson.OPT_INDENT_2))


def _names(data: Json, where: str, *keys: str) -> list[str]:
    known_keys(data, keys, where)
    return [string(data.get(key), f"{where}.{key}") for key in keys]


def _create(names: Names, collections: set[str], data: Json, where: str) -> None:
    target, alias = _names(data, where, "collection_name", "alias_name")
    if target not in collections:
        raise NotFoundError(f"Collection `{target}` doesn't exist!")
    _free(alias, collections)
    names[alias] = target


def _delete(names: Names, _collections: set[str], data: Json, where: str) -> None:
    names.pop(_names(data, where, "alias_name")[0], None)


def _rename(names: Names, collections: set[str], data: Json, where: str) -> None:
    old, new = _names(data, where, "old_alias_name", "new_alias_name")
    if old not in names:
        raise NotFoundError(f"Alias {old} does not exists!")
    _free(new, collections)
    names[new] = names.pop(old)


def _free(alias: str, collections: set[str]) -> None:
    if alias in collections:
        raise ApiError(409, f"Wrong input: Collection `{alias}` already exists!")


_ACTIONS: dict[str, Callable[[Names, set[str], Json, str], None]] = {
    "create_alias": _create,
    "delete_alias": _delete,
    "rename_alias": _rename,
}


def changed(
    now: Mapping[str, str], collections: set[str], data: Json, check: Callable[[str], str]
) -> Names:
    """The aliases after a request's actions, which all happen or none.

    Args:
        now: The aliases before.
        collections: Names of all collections.
        data: The request's body.
        check: Refuses a name that no collection could have.

    Raises:
        ApiError: 400 malformed, 404 no such collection or alias, 409 a collection has the name.
    """
    actions = known_keys(data, ("actions",), "body").get("actions")
    if not isinstance(actions, list):
        fail("actions", "a list", actions)
    names = dict(now)
    for number, action in enumerate(actions):
        where = f"actions[{number}]"
        if not isinstance(action, dict) or len(action) != 1 or next(iter(action)) not in _ACTIONS:
            fail(where, f"one of {', '.join(_ACTIONS)}", action)
        ((kind, value),) = action.items()
        _ACTIONS[kind](names, collections, value, f"{where}.{kind}")
    for alias in names.keys() - now.keys():
        check(alias)
    return names


def listed(names: Mapping[str, str], collection: str | None = None) -> dict[str, Any]:
    """Qdrant's list of aliases, of one collection or of all."""
    return {
        "aliases": [
            {"alias_name": alias, "collection_name": target}
            for alias, target in sorted(names.items())
            if collection is None or target == collection
        ]
    }


def refuse_taken(names: Mapping[str, str], name: str) -> None:
    """Refuse a new collection's name that an alias has.

    Raises:
        BadRequestError: it has.
    """
    if name in names:
        raise BadRequestError(
            f"Can't create collection with name {name}. Alias with the same name already exists"
        )
