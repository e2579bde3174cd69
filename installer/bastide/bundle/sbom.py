"""The bill of materials: CycloneDX of everything that a bundle brings to a site.

Made of the lock and its model cards alone, so equal locks give equal bytes: no time, and a serial
number that is derived from the lock. The library writes the components; it has no type for ML-BOM
model cards (``modelCard``, CycloneDX 1.5 and later), so these are put into its JSON here, and the
tests validate the whole against the schema. Only a builder has the library: load this module where
it is used.
"""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Mapping
from typing import Any

from cyclonedx.model import (
    ExternalReference,
    ExternalReferenceType,
    HashAlgorithm,
    HashType,
    Property,
    XsUri,
)
from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.model.license import DisjunctiveLicense, LicenseAcknowledgement, LicenseExpression
from cyclonedx.output.json import JsonV1Dot7
from packageurl import PackageURL

from bastide import __version__
from bastide.schema.artifact import Artifact, ArtifactKind
from bastide.schema.lock import Lock
from bastide.schema.model_card import UNKNOWN, HuggingFaceSource, ModelCard
from bastide.trust.spdx import spdx_expression

LISTED = frozenset(ArtifactKind) - {ArtifactKind.CATALOGUE}


def make_sbom(lock: Lock, cards: Mapping[str, ModelCard]) -> bytes:
    """Return the bill of materials of a lock as CycloneDX 1.7 in JSON.

    Args:
        lock: What the bundle is built from.
        cards: The lock's model cards by model name.
    """
    artifacts = [e.artifact for e in lock.entries if e.artifact.kind in LISTED]
    whole = Component(
        name=lock.release.rpartition("-")[0] or lock.release,
        version=lock.release.rpartition("-")[2],
        type=ComponentType.PLATFORM,
        bom_ref=f"release:{lock.release}:{lock.target}",
        description=f"Bundle of {lock.release} for {lock.target}",
    )
    parts = [_component(a, lock.target, cards.get(a.name)) for a in artifacts]
    serial = uuid.uuid5(uuid.NAMESPACE_URL, f"urn:sha256:{lock.digest()}")
    bom = Bom(components=parts, serial_number=serial)
    bom.metadata.component = whole
    bom.register_dependency(whole, parts)
    return _finished(json.loads(JsonV1Dot7(bom).output_as_string()), cards)


def _finished(plain: dict[str, Any], cards: Mapping[str, ModelCard]) -> bytes:
    plain["metadata"].pop("timestamp", None)
    plain["metadata"]["tools"] = {
        "components": [{"type": "application", "name": "bastide", "version": __version__}]
    }
    for component in plain.get("components", ()):
        card = cards.get(component["name"])
        if component["type"] == "machine-learning-model" and card is not None:
            component["modelCard"] = model_card(card)
    text = json.dumps(plain, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return text.encode() + b"\n"


def _component(artifact: Artifact, target: str, card: ModelCard | None) -> Component:
    types = {
        ArtifactKind.MODEL: ComponentType.MACHINE_LEARNING_MODEL,
        ArtifactKind.BINARY: ComponentType.APPLICATION,
        ArtifactKind.SOURCE: ComponentType.FILE,
    }
    is_address = "://" in artifact.source
    references = [ExternalReference(type=ExternalReferenceType.DISTRIBUTION,
                                    url=XsUri(artifact.source))] if is_address else []  # fmt: skip
    facts = {
        "bastide:filename": artifact.filename,
        "bastide:size": str(artifact.size),
        "bastide:needed-by": ", ".join(artifact.components),
        "bastide:licence-declared-in": artifact.licence_from,
        "bastide:source": artifact.source,
    }
    return Component(
        name=artifact.name,
        version=artifact.version,
        type=types.get(artifact.kind, ComponentType.LIBRARY),
        bom_ref=f"{artifact.kind}:{artifact.name}@{artifact.version}",
        description=card.summary or None if card else None,
        hashes=[HashType(alg=HashAlgorithm.SHA_256, content=artifact.sha256)],
        licenses=_licences(artifact, card),
        purl=_purl(artifact, target, card),
        external_references=references,
        properties=[Property(name=name, value=value) for name, value in facts.items() if value],
    )


def _licences(artifact: Artifact, card: ModelCard | None) -> list[Any]:
    declared = LicenseAcknowledgement.DECLARED
    expression = spdx_expression(artifact.licence)
    if expression:
        return [LicenseExpression(expression, acknowledgement=declared)]
    url = card.licence.text if card else None
    return [
        DisjunctiveLicense(
            name=artifact.licence, url=XsUri(url) if url else None, acknowledgement=declared
        )
    ]


def _purl(artifact: Artifact, target: str, card: ModelCard | None) -> PackageURL:
    checksum = {"checksum": f"sha256:{artifact.sha256}"}
    if artifact.kind is ArtifactKind.WHEEL:
        qualifiers = {"file_name": artifact.filename}
        return PackageURL("pypi", None, artifact.name, artifact.version, qualifiers)
    if artifact.kind is ArtifactKind.OS_PACKAGE:
        # A target's name begins with its distribution and version: debian12-x86_64.
        system = re.fullmatch(r"([a-z]+)([0-9.]+)-.*", target)
        distribution = system[1] if system else "debian"
        qualifiers = {"arch": artifact.filename.removesuffix(".deb").rpartition("_")[2]}
        if system:
            qualifiers["distro"] = f"{distribution}-{system[2]}"
        return PackageURL("deb", distribution, artifact.name, artifact.version, qualifiers)
    for source in card.sources if card else ():
        if isinstance(source, HuggingFaceSource) and source.repository in artifact.source:
            owner, _, name = source.repository.partition("/")
            return PackageURL("huggingface", owner, name, source.revision, checksum)
    return PackageURL("generic", None, artifact.name, artifact.version, checksum)


def model_card(card: ModelCard) -> dict[str, Any]:
    """Return a model card as CycloneDX's ``modelCard``; what is unknown is left out."""
    parameters: dict[str, Any] = {
        "task": card.task.value,
        "architectureFamily": card.family,
        "modelArchitecture": card.architecture,
        "inputs": [{"format": modality} for modality in _known(card.modality) or ("text",)],
    }
    if data := _known(card.training_data):
        parameters["datasets"] = [
            {"type": "dataset", "name": f"Training data of {card.title}", "description": data}
        ]
    found: dict[str, Any] = {"modelParameters": parameters}
    if card.quality:
        metrics = [
            {"type": f"{q.benchmark} ({q.setting})" if q.setting else q.benchmark,
             "value": str(q.value)}
            for q in card.quality
        ]  # fmt: skip
        found["quantitativeAnalysis"] = {"performanceMetrics": metrics}
    if warnings := _known(card.responsible_use):
        found["considerations"] = {"technicalLimitations": [str(each) for each in warnings]}
    languages = _known(card.languages)
    facts = {
        "bastide:title": card.title,
        "bastide:quantisation": card.quantisation.value,
        "bastide:parameters": str(card.parameters),
        "bastide:context-window": str(card.context_window),
        "bastide:embedding-length": str(card.embedding_length),
        "bastide:languages": ", ".join(languages) if languages else "",
    }
    found["properties"] = [{"name": n, "value": v} for n, v in sorted(facts.items()) if v]
    return found


def _known(value: Any) -> Any:  # noqa: ANN401 - whatever kind of fact it is
    return None if value is UNKNOWN else value
