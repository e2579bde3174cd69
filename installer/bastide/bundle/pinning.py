"""Records in a model card which file it means: size, digest, format, memory, place."""

from __future__ import annotations

import hashlib
import re
import shutil
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import yaml

from bastide.bundle.catalogue import Catalogue
from bastide.errors import ConfigError
from bastide.host.files import write_atomic
from bastide.progress import Progress
from bastide.schema.gguf_check import FILE_TYPES, check_gguf
from bastide.schema.gguf_header import Header, HeaderError, read_header
from bastide.schema.loading import parse_yaml
from bastide.schema.model_card import CatalogueCard, ModelCard, Task, Unknown, WeightFormat
from bastide.schema.model_facts import Evidence
from bastide.sizing.subject import KINDS

NOT_THE_MODEL = "BAS-2032"
NOT_PINNABLE = "BAS-2033"
CHUNK = 4 << 20
NO_DIGEST = "0" * 64  # until the header has been found right: hashing takes minutes
_REPLACED = ("quantisation", "memory", "file", "sources")
_FORMATS = {number: each for each, number in FILE_TYPES.items()}


@dataclass(frozen=True)
class Pinned:
    """What was recorded, and where."""

    path: Path
    card: ModelCard
    taken_from_file: tuple[str, ...]


@dataclass(frozen=True)
class PinRequest:
    """What to pin.

    Args:
        name: The model's name in the catalogue, or another name of it.
        file: Its GGUF file.
        new_name: Name of the card to write, if another one; the original stays as it is.
        url: Where builders can get the file; None: from this very path.
        replace: Whether another file that the card pins may be replaced.
    """

    name: str
    file: Path
    new_name: str | None = None
    url: str | None = None
    replace: bool = False


def own_catalogue(folder: Path, shipped: Path) -> Catalogue:
    """Return the catalogue in ``folder``, made as a copy of the shipped one if it is not there.

    Raises:
        ConfigError: It cannot be made.
    """
    if not folder.exists():
        try:
            shutil.copytree(shipped, folder)
        except OSError as error:
            raise ConfigError(
                f"{folder} cannot be made: {error.strerror}",
                code=NOT_PINNABLE,
                hint="choose a folder that this user may write",
            ) from error
    return Catalogue(folder)


def pin(catalogue: Catalogue, request: PinRequest, progress: Progress, *, today: date) -> Pinned:
    """Hold a GGUF file against its card and record it there.

    Args:
        catalogue: The folder whose card is changed.
        request: Which model, which file.
        progress: Told of the bytes that are hashed.
        today: The day that is recorded for facts that the file told.

    Raises:
        ConfigError: There is no such model, it pins another file already, or the file is not what
            the card says; all differences are listed.
    """
    entry = catalogue.card(request.name)
    card, path = entry.value, request.file.absolute()
    target = catalogue.root / "models" / f"{request.new_name or card.name}.yaml"
    _require_free(card, target, request)
    header = _header(path)
    draft = {**_facts(card, header, path, today), **_changes(card, header, path, request.url)}
    _require_the_model(path, _card(_edited(entry.text, request, draft), target))
    changes = _with_digest(draft, _hash(path, progress))
    text = _edited(entry.text, request, changes)
    pinned = _card(text, target)
    write_atomic(target, text.encode())
    taken = tuple(key for key in changes if key not in (*_REPLACED, "evidence"))
    return Pinned(target, pinned, taken)


def _card(text: str, target: Path) -> ModelCard:
    pinned = parse_yaml(text.encode(), CatalogueCard, where=str(target)).pinned()
    if pinned is None:
        raise AssertionError("a card with a file, a format, memory and sources is pinned")
    return pinned


def _require_the_model(path: Path, card: ModelCard) -> None:
    problems = check_gguf(path, card)
    if problems:
        raise ConfigError(
            f"{path.name} is not what the card {card.name} says; nothing was recorded",
            code=NOT_THE_MODEL,
            hint="pin the file to the card of its own model, or correct the card",
            problems=tuple(problems),
        )


def _require_free(card: CatalogueCard, target: Path, request: PinRequest) -> None:
    if request.new_name is not None and target.exists():
        raise ConfigError(
            f"there is a card {request.new_name} already",
            code=NOT_PINNABLE,
            hint="choose another --as NAME, or pin that card itself",
        )
    if card.file is not None and request.new_name is None and not request.replace:
        raise ConfigError(
            f"{card.name} pins {card.file.name} already",
            code=NOT_PINNABLE,
            hint="--as NAME writes a card beside it, --replace puts this file in its place",
        )
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*\.gguf", request.file.name):
        raise ConfigError(
            f"{request.file.name} is no name that hosts can have for a model",
            code=NOT_PINNABLE,
            hint="use letters, digits, dot, dash and underscore, with .gguf at the end",
        )


def _header(path: Path) -> Header:
    try:
        return read_header(path)
    except HeaderError as error:
        what = f"not a usable GGUF file: {error}"
    except OSError as error:
        what = f"cannot be read: {error.strerror}"
    raise ConfigError(
        f"{path}: {what}", code=NOT_THE_MODEL, hint="give the path of the model's GGUF file"
    )


def _hash(path: Path, progress: Progress) -> str:
    digest = hashlib.sha256()
    total = path.stat().st_size
    with path.open("rb") as stream, progress.task(f"hash {path.name}", total=total) as task:
        while chunk := stream.read(CHUNK):
            digest.update(chunk)
            task.advance(len(chunk))
    return digest.hexdigest()


def _facts(card: CatalogueCard, header: Header, path: Path, today: date) -> dict[str, Any]:
    """Return facts that the card does not know and the header tells, with their evidence."""
    facts: dict[str, Any] = {}
    for field, key in (("context_window", "context_length"), ("embedding_length",) * 2):
        value = header.values.get(f"{card.architecture}.{key}")
        if isinstance(getattr(card, field), Unknown) and value is not None:
            facts[field] = value
    if isinstance(card.parameters, Unknown):
        facts["parameters"] = sum(tensor.elements for tensor in header.tensors)
    if not facts:
        return {}
    told = Evidence(
        covers=tuple(facts),
        what=f"the header of the pinned file {path.name}",
        url=f"pkg:generic/{path.name}",
        read=today,
    )
    known = (each.model_dump(mode="json", exclude_none=True) for each in (*card.evidence, told))
    return {**facts, "evidence": list(known)}


def _changes(card: CatalogueCard, header: Header, path: Path, url: str | None) -> dict[str, Any]:
    """Return the fields that pin the file, its digest still to come."""
    weights = sum(t.elements * KINDS.get(t.kind, ("", 16.0))[1] / 8 for t in header.tensors)
    source = {"kind": "https", "url": url} if url else {"kind": "local", "path": str(path)}
    return {
        "quantisation": _format(header, path).value,
        "memory": {"weights": int(weights), "kv_cache_per_token": _cache(card, header)},
        "file": {"name": path.name, "size": path.stat().st_size, "sha256": NO_DIGEST},
        "sources": [{**source, "sha256": NO_DIGEST}],
    }


def _with_digest(changes: dict[str, Any], digest: str) -> dict[str, Any]:
    return {
        **changes,
        "file": {**changes["file"], "sha256": digest},
        "sources": [{**source, "sha256": digest} for source in changes["sources"]],
    }


def _format(header: Header, path: Path) -> WeightFormat:
    number = header.values.get("general.file_type")
    if isinstance(number, int) and number in _FORMATS:
        return _FORMATS[number]
    raise ConfigError(
        f"{path.name}: its weight format (general.file_type {number}) is not one that is known",
        code=NOT_THE_MODEL,
        hint=f"known: {', '.join(WeightFormat)}",
    )


def _cache(card: CatalogueCard, header: Header) -> int:
    """Return the bytes of keys and values a token, at 16 bits."""
    if card.task in {Task.EMBEDDING, Task.RERANK}:
        return 0

    def number(key: str, otherwise: int = 0) -> int:
        value = header.values.get(f"{card.architecture}.{key}", otherwise)
        return value if isinstance(value, int) else otherwise

    heads = max(number("attention.head_count", 1), 1)
    width = number("attention.key_length", number("embedding_length") // heads)
    return 2 * number("block_count") * number("attention.head_count_kv", heads) * width * 2


def _edited(text: str, request: PinRequest, changes: dict[str, Any]) -> str:
    """Return the card's text with the changed fields, everything else as a person wrote it."""
    for key in changes:
        text = re.sub(rf"(?m)^{key}:.*\n(?:[ \t-].*\n|#.*\n(?=[ \t-]))*", "", f"{text.rstrip()}\n")
    if request.new_name is not None:
        text = re.sub(r"(?m)^name:.*$", f"name: {request.new_name}", text)
        text = re.sub(r"(?m)^also:.*\n(?:[ \t-].*\n)*", "", text)
    return text + yaml.safe_dump(changes, sort_keys=False, width=96, allow_unicode=True)
