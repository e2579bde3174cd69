"""Whether the models of a bundle are what their cards say, once their digests are right.

A right digest proves that a file is the builder's; it does not prove that the builder had the
right file. Only verified bytes are parsed here.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from bastide.errors import ConfigError, Problem
from bastide.schema.artifact import Artifact, ArtifactKind, Manifest
from bastide.schema.gguf_check import check_gguf
from bastide.schema.loading import parse_yaml
from bastide.schema.model_card import ModelCard

BlobPath = Callable[[str], Path]
Inspect = Callable[[Manifest, BlobPath], list[Problem]]


def inspect_models(manifest: Manifest, blob: BlobPath) -> list[Problem]:
    """Return what in the models' headers contradicts their cards.

    Args:
        manifest: The bundle's artifacts; a model's card is the catalogue file ``<model>.yaml``.
        blob: Returns where the verified bytes of a digest lie.
    """
    cards = {card.filename: card for card in manifest.of_kind(ArtifactKind.CATALOGUE)}
    return [
        problem
        for model in manifest.of_kind(ArtifactKind.MODEL)
        for problem in _inspect(model, cards.get(f"{model.name}.yaml"), blob)
    ]


def _inspect(model: Artifact, listed: Artifact | None, blob: BlobPath) -> list[Problem]:
    where = f"{model.filename} ({model.name})"
    if listed is None:
        return [Problem(where, f"the bundle carries no model card {model.name}.yaml for it")]
    try:
        content = blob(listed.sha256).read_bytes()
        card = parse_yaml(content, ModelCard, where=listed.filename)
        if card.file.sha256 != model.sha256:
            what = f"its card {listed.filename} is of another file: {card.file.sha256}"
            return [Problem(where, f"{what}, not {model.sha256}")]
        return check_gguf(blob(model.sha256), card)
    except ConfigError as error:
        return list(error.problems)
    except OSError as error:
        return [Problem(where, f"its header cannot be read: {error.strerror}")]
