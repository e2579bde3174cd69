"""What a bundle holds, as people want to see it; made of its documents, blobs are not read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from bastide.errors import ConfigError
from bastide.layout import BUNDLE_LOCK
from bastide.schema.artifact import Artifact, ArtifactKind, Manifest
from bastide.schema.loading import parse_yaml
from bastide.schema.lock import Inline, Lock
from bastide.schema.model_card import ModelCard
from bastide.schema.policy import LicenceFamily
from bastide.store.opening import OpenBundle
from bastide.trust.spdx import AllOf, AnyOf, Expression, OneLicence, understand
from bastide.trust.verifier import Trust

HEADINGS = {
    ArtifactKind.MODEL: "Models",
    ArtifactKind.WHEEL: "Python wheels",
    ArtifactKind.OS_PACKAGE: "OS packages",
    ArtifactKind.BINARY: "Programs",
    ArtifactKind.SOURCE: "Source files",
    ArtifactKind.CATALOGUE: "Catalogue files",
}
# From the one that asks least to the one that asks most.
_STRICTNESS = (
    LicenceFamily.PUBLIC_DOMAIN,
    LicenceFamily.PERMISSIVE,
    LicenceFamily.WEAK_COPYLEFT,
    LicenceFamily.STRONG_COPYLEFT,
    LicenceFamily.RESTRICTED,
    LicenceFamily.UNKNOWN,
)


@dataclass(frozen=True)
class Item:
    """One artifact.

    Args:
        artifact: As the manifest has it.
        family: The strictest kind of licence that binds it.
        about: Of a model, its title, task, weight format and size; otherwise empty.
    """

    artifact: Artifact
    family: LicenceFamily
    about: str = ""


@dataclass(frozen=True)
class Group:
    """All artifacts of one kind, the largest first."""

    kind: ArtifactKind
    heading: str
    size: int
    items: tuple[Item, ...]


@dataclass(frozen=True)
class Contents:
    """What a bundle holds.

    Args:
        bundle: Its digest.
        release: Release name and version.
        target: What it is for.
        lock: Digest of the lock that it was built from.
        trust: What is known about its origin.
        size: Bytes of its blobs.
        groups: Its artifacts by kind.
        families: How many artifacts there are of each kind of licence.
        documents: Its documents with their sizes.
    """

    bundle: str
    release: str
    target: str
    lock: str
    trust: Trust
    size: int
    groups: tuple[Group, ...]
    families: tuple[tuple[LicenceFamily, int], ...]
    documents: tuple[tuple[str, int], ...]


def read_contents(opened: OpenBundle, trust: Trust) -> Contents:
    """Return what an opened bundle holds.

    Args:
        opened: The bundle.
        trust: What is known about its origin.
    """
    manifest = opened.manifest
    cards = _cards(opened.documents)
    groups = tuple(_group(manifest, kind, cards) for kind in HEADINGS if manifest.of_kind(kind))
    families = Counter(item.family for group in groups for item in group.items)
    return Contents(
        bundle=opened.verified.digest,
        release=manifest.release,
        target=manifest.target,
        lock=manifest.lock,
        trust=trust,
        size=opened.verified.root.blob_bytes,
        groups=groups,
        families=tuple((f, families[f]) for f in _STRICTNESS if families[f]),
        documents=tuple((n, len(c)) for n, c in sorted(opened.documents.items())),
    )


def _group(manifest: Manifest, kind: ArtifactKind, cards: Mapping[str, ModelCard]) -> Group:
    listed = sorted(manifest.of_kind(kind), key=lambda a: (-a.size, a.name))
    items = tuple(
        Item(a, strictest(understand(a.licence)), _about(cards.get(a.name))) for a in listed
    )
    return Group(kind, HEADINGS[kind], sum(a.size for a in listed), items)


def strictest(expression: Expression) -> LicenceFamily:
    """Return the kind of licence that binds: of a choice, the one that asks least."""
    match expression:
        case OneLicence():
            return expression.family
        case AllOf(parts=parts):
            return max((strictest(part) for part in parts), key=_STRICTNESS.index)
        case AnyOf(options=options):
            return min((strictest(option) for option in options), key=_STRICTNESS.index)


def _cards(documents: Mapping[str, bytes]) -> dict[str, ModelCard]:
    """Return the model cards that the lock carries; a bundle is shown even if one is wrong."""
    try:
        lock = Lock.model_validate_json(documents[BUNDLE_LOCK])
    except ValueError:
        return {}
    cards = {}
    for entry in lock.entries:
        if isinstance(entry.origin, Inline) and entry.artifact.name.startswith("model-"):
            try:
                card = parse_yaml(entry.origin.text.encode(), ModelCard, where="card")
            except ConfigError:
                continue
            cards[card.name] = card
    return cards


def _about(card: ModelCard | None) -> str:
    if card is None:
        return ""
    millions = card.parameters / 1e6
    count = f"{millions:.0f} million" if millions < 1000 else f"{millions / 1000:.1f} billion"
    return f"{card.title}: {card.task}, {card.quantisation}, {count} parameters"
