"""Reads a YAML file that a person edits into a frozen value, and reports every mistake at once.

The dialect is strict on purpose: duplicate keys, unknown keys and aliases are errors, and only
``true``/``false`` are booleans, so that the language code ``no`` or the time ``1:30`` stays text.
"""

from __future__ import annotations

import difflib
import re
import types
import typing
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from bastide.errors import ConfigError, Problem

M = TypeVar("M", bound=BaseModel)
Location = tuple[str | int, ...]

MAX_BYTES = 4_000_000  # no file that a person edits is larger
MAX_DEPTH = 100  # nor nested deeper; libyaml's composer recurses without a guard


def load_yaml(path: Path, model: type[M], *, code: str = "BAS-2010") -> M:
    """Return the file at ``path`` as a ``model``.

    Args:
        path: A YAML file.
        model: The pydantic type that it must satisfy.
        code: The stable code of the error, if it does not.

    Raises:
        ConfigError: It cannot be read or has mistakes; ``problems`` lists all of them, each with
            file, line, field, the field's meaning and expected against found.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ConfigError(
            f"{path} cannot be read: {error.strerror}", code=code, hint="check the path"
        ) from error
    return parse_yaml(content, model, where=str(path), code=code)


def parse_yaml(content: bytes, model: type[M], *, where: str, code: str = "BAS-2010") -> M:
    """Return YAML ``content`` as a ``model``; ``where`` names it in messages.

    Raises:
        ConfigError: As for `load_yaml`.
    """
    document = _read(content, where)
    problems = document.problems
    if not problems:
        try:
            return model.model_validate(document.value)
        except ValidationError as error:
            problems = [_problem(document, model, item) for item in error.errors()]
    count = "1 mistake" if len(problems) == 1 else f"{len(problems)} mistakes"
    raise ConfigError(
        f"{where} has {count}",
        code=code,
        hint=f"correct {'it' if len(problems) == 1 else 'them'} and run the command again",
        problems=tuple(problems),
    )


# --- YAML → plain values, remembering where each came from -----------------------------------
# libyaml reads a catalogue of forty cards in a tenth of the time; PyYAML's wheels carry it.
_Base: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class _Loader(_Base):  # type: ignore[misc]
    """YAML 1.2's idea of plain scalars."""

    yaml_implicit_resolvers: typing.ClassVar[dict[Any, Any]] = {}


for _tag, _pattern, _first in (
    ("tag:yaml.org,2002:null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("tag:yaml.org,2002:bool", r"true|True|TRUE|false|False|FALSE", list("tTfF")),
    ("tag:yaml.org,2002:int", r"[-+]?[0-9]+", list("-+0123456789")),
    (
        "tag:yaml.org,2002:float",
        r"[-+]?(\.[0-9]+|[0-9]+\.[0-9]*)([eE][-+]?[0-9]+)?|[-+]?[0-9]+[eE][-+]?[0-9]+",
        list("-+.0123456789"),
    ),
):
    _Loader.add_implicit_resolver(_tag, re.compile(f"^(?:{_pattern})$"), _first)


@dataclass
class _Document:
    where: str
    value: Any = None
    lines: dict[Location, int] = field(default_factory=dict)  # of a value, from 1
    keys: dict[Location, int] = field(default_factory=dict)  # of a mapping's key, from 1
    raw: dict[Location, str] = field(default_factory=dict)  # a scalar as it was typed
    problems: list[Problem] = field(default_factory=list)

    def line(self, location: Location) -> int:
        """Return the line of the nearest thing that the file holds at or above ``location``."""
        while location and location not in self.lines:
            location = location[:-1]
        return self.keys.get(location, self.lines.get(location, 1))

    def add(self, line: int, what: str, hint: str = "") -> None:
        """Note a mistake of the YAML itself."""
        self.problems.append(Problem(f"{self.where}:{line}", what, hint))


def _read(content: bytes, where: str) -> _Document:
    document = _Document(where)
    if len(content) > MAX_BYTES:
        document.add(1, f"the file has {len(content)} bytes, more than {MAX_BYTES}")
        return document
    try:
        node = _compose(content)
    except UnicodeDecodeError as error:
        document.add(content[: error.start].count(b"\n") + 1, "the file is not UTF-8 text")
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        document.add(line, f"not valid YAML: {error.problem}", "check indentation and quotes here")
    except (yaml.YAMLError, RecursionError) as error:
        document.add(1, f"not valid YAML: {str(error).splitlines()[0]}")
    else:
        if node is None:
            document.add(1, "the file is empty")
        else:
            document.value = _construct(document, node, ())
    return document


def _compose(content: bytes) -> yaml.Node | None:
    text = content.decode()
    _refuse_traps(text)
    loader = _Loader(text)
    try:
        node: yaml.Node | None = loader.get_single_node()
        return node
    finally:
        loader.dispose()


def _refuse_traps(text: str) -> None:
    """Raise if ``text`` has an alias (a few expand without bound) or nests beyond all reason."""
    depth = 0
    for event in yaml.parse(text, Loader=_Loader):
        mark: Any = event.start_mark
        if isinstance(event, yaml.AliasEvent):
            raise yaml.composer.ComposerError(None, None, "aliases (*name) are not allowed", mark)
        depth += isinstance(event, yaml.CollectionStartEvent)
        depth -= isinstance(event, yaml.CollectionEndEvent)
        if depth > MAX_DEPTH:
            raise yaml.composer.ComposerError(None, None, "nested too deeply", mark)


def _construct(document: _Document, node: yaml.Node, location: Location) -> Any:  # noqa: ANN401
    document.lines[location] = node.start_mark.line + 1
    if isinstance(node, yaml.MappingNode):
        return _construct_mapping(document, node, location)
    if isinstance(node, yaml.SequenceNode):
        return [_construct(document, n, (*location, i)) for i, n in enumerate(node.value)]
    document.raw[location] = node.value
    return _scalar(document, node)


def _construct_mapping(
    document: _Document, node: yaml.MappingNode, location: Location
) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for key_node, value_node in node.value:
        line = key_node.start_mark.line + 1
        if not isinstance(key_node, yaml.ScalarNode):
            document.add(line, "a key must be plain text")
            continue
        key = key_node.value
        place = (*location, key)
        if key in result:
            first = document.keys[place]
            document.add(line, f"{_dotted(place)}: given twice, first on line {first}")
        document.keys[place] = line
        result[key] = _construct(document, value_node, place)
    return result


def _scalar(document: _Document, node: yaml.Node) -> str | int | float | bool | None:
    text = str(node.value)
    match node.tag.rpartition(":")[2]:
        case "str":
            return text
        case "null":
            return None
        case "bool":
            return text.lower() == "true"
        case "int" if len(text) <= 300:
            return int(text)
        case "float":
            return float(text)
    document.add(node.start_mark.line + 1, f"cannot use {text[:40]!r} with tag {node.tag}")
    return None


# --- pydantic's findings → sentences ---------------------------------------------------------
def _dotted(location: Location) -> str:
    text = ""
    for part in location:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text or "the file"


def _problem(document: _Document, model: type[BaseModel], item: Any) -> Problem:  # noqa: ANN401
    """Return one pydantic finding in the words of the file."""
    location = _place(document, item["loc"], absent=item["type"] == "missing")
    chain = list(_fields(model, location))
    if item["type"] == "extra_forbidden":
        return _unknown(document, location, _model_at(model, location[:-1]))
    meaning = chain[-1] if chain else ""
    name = _dotted(location) + (f" ({meaning})" if meaning else "")
    where = f"{document.where}:{document.line(location)}"
    if item["type"] == "missing":
        return Problem(where, f"{name}: missing", "add it")
    expected = item["msg"].removeprefix("Value error, ").removeprefix("Input ")
    raw = document.raw.get(location)
    found = f"; found {_short(raw)}" if raw is not None else ""
    hint = ""
    if item["type"] == "string_type" and raw is not None:
        hint = f'put it in quotes: "{raw}"'
    if item["type"] in {"enum", "literal_error"} and raw is not None:
        close = difflib.get_close_matches(raw, re.findall(r"'([^']*)'", expected), n=1)
        hint = f'did you mean "{close[0]}"?' if close else ""
    return Problem(where, f"{name}: {expected}{found}" if name else expected, hint)


def _short(raw: str) -> str:
    return repr(raw if len(raw) <= 60 else f"{raw[:57]}...")


def _place(document: _Document, reported: Location, *, absent: bool) -> Location:
    """Return where a finding is in the file: pydantic also names branches of a union.

    Args:
        document: The file.
        reported: Where pydantic says that it is.
        absent: Whether the last part is something that the file lacks.
    """
    location: Location = ()
    for index, part in enumerate(reported):
        candidate = (*location, part)
        if candidate in document.lines or (absent and index == len(reported) - 1):
            location = candidate
    return location


def _unknown(document: _Document, location: Location, model: type[BaseModel] | None) -> Problem:
    known = [info.alias or name for name, info in (model.model_fields if model else {}).items()]
    close = difflib.get_close_matches(str(location[-1]), known, n=1, cutoff=0.6)
    hint = f'did you mean "{close[0]}"?' if close else ""
    if not hint and known:
        hint = f"known here: {', '.join(known)}"
    line = document.keys.get(location) or document.line(location)
    return Problem(f"{document.where}:{line}", f"{_dotted(location)}: unknown key", hint)


def _fields(model: type[BaseModel], location: Location) -> Iterator[str]:
    """Yield the meaning of each field on the way to ``location``, the nearest one last."""
    annotation: Any = model
    for part in location:
        holder = _model_in(annotation, part)
        if isinstance(part, str) and holder is not None:
            info = next((i for n, i in holder.model_fields.items() if part in (n, i.alias)), None)
            if info is None:
                return
            yield (info.description or "").rstrip(".")
            annotation = info.annotation
        else:
            annotation = _inner(annotation)


def _model_at(model: type[BaseModel], location: Location) -> type[BaseModel] | None:
    annotation: Any = model
    for part in location:
        holder = _model_in(annotation, part)
        if isinstance(part, str) and holder is not None:
            info = next((i for n, i in holder.model_fields.items() if part in (n, i.alias)), None)
            annotation = info.annotation if info else None
        else:
            annotation = _inner(annotation)
    return _model_in(annotation, "")


def _model_in(annotation: Any, part: str | int) -> type[BaseModel] | None:  # noqa: ANN401
    """Return the model that ``annotation`` is or, in a union, the one that knows ``part``."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    origin = typing.get_origin(annotation)
    if origin in (typing.Union, types.UnionType, typing.Annotated):
        models = [m for a in typing.get_args(annotation) if (m := _model_in(a, part))]
        knowing = [m for m in models if part in m.model_fields]
        return next(iter(knowing or models), None)
    return None


def _inner(annotation: Any) -> Any:  # noqa: ANN401
    """Return what a list, tuple or mapping holds (its values)."""
    arguments = [a for a in typing.get_args(annotation) if a is not Ellipsis]
    if typing.get_origin(annotation) is typing.Annotated:
        return _inner(arguments[0])
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        arguments = [_inner(a) for a in arguments if typing.get_args(a)]
        return arguments[0] if arguments else None
    return arguments[-1] if arguments else None
