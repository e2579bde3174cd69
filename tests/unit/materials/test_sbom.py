from __future__ import annotations

import json
from typing import Any

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from bastide import resources
from bastide.bundle.sbom import make_sbom
from bastide.schema.artifact import Artifact, ArtifactKind, Component
from bastide.schema.loading import parse_yaml
from bastide.schema.lock import Download, Lock, LockEntry
from bastide.schema.model_card import ModelCard


def entry(kind: ArtifactKind, name: str, filename: str, licence: str, **changes: Any) -> LockEntry:
    artifact = Artifact(
        name=name,
        kind=kind,
        version="1:1.0+x",
        filename=filename,
        size=7,
        sha256="a" * 64,
        platform="any",
        licence=licence,
        licence_from="somewhere",
        components=(Component.LLM,),
        source="https://example.org/files/x y",
    ).replace(**changes)
    return LockEntry(artifact=artifact, origin=Download(url="https://example.org/x"))


@pytest.fixture
def card() -> ModelCard:
    path = resources.catalogue() / "models" / "smollm2-135m-instruct-q4_1.yaml"
    return parse_yaml(path.read_bytes(), ModelCard, where=str(path))


@pytest.fixture
def lock(card: ModelCard) -> Lock:
    kinds = ArtifactKind
    entries = (
        entry(kinds.MODEL, card.name, card.file.name, card.licence.label),
        entry(kinds.MODEL, "other", "other.gguf", "Gemma"),
        entry(kinds.WHEEL, "demo-pkg", "demo_pkg-1.0-py3-none-any.whl", "MIT OR Gemma"),
        entry(kinds.OS_PACKAGE, "libx++", "libx++_1%3a1.0_amd64.deb", "GPL-2+ AND Expat"),
        entry(kinds.BINARY, "qdrant", "qdrant", "Apache-2.0"),
        entry(kinds.SOURCE, "server", "server.py", "unknown", source="built here (own/1)"),
        entry(kinds.CATALOGUE, "release", "release.yaml", "Apache-2.0"),
    )
    return Lock(release="starter-2026.11.0", target="debian12-x86_64", entries=entries)


def parts(sbom: bytes) -> dict[str, dict[str, Any]]:
    return {component["name"]: component for component in json.loads(sbom)["components"]}


def test_valid_by_the_newest_schema(lock: Lock, card: ModelCard) -> None:
    text = make_sbom(lock, {card.name: card}).decode()
    assert max(SchemaVersion).to_version() == json.loads(text)["specVersion"] == "1.7"
    assert JsonStrictValidator(SchemaVersion.V1_7).validate_str(text) is None
    broken = text.replace('"modelParameters"', '"modelParametres"')
    assert JsonStrictValidator(SchemaVersion.V1_7).validate_str(broken) is not None


def test_everything_but_the_catalogue_is_listed(lock: Lock) -> None:
    found = parts(make_sbom(lock, {}))
    assert sorted(found) == sorted(
        e.artifact.name for e in lock.entries if e.artifact.kind is not ArtifactKind.CATALOGUE
    )
    assert {each["hashes"][0]["content"] for each in found.values()} == {"a" * 64}


def test_package_urls(lock: Lock) -> None:
    found = {name: component["purl"] for name, component in parts(make_sbom(lock, {})).items()}
    assert found["demo-pkg"].startswith("pkg:pypi/demo-pkg@1:1.0%2Bx?file_name=demo_pkg-1.0")
    assert found["libx++"].startswith(
        "pkg:deb/debian/libx%2B%2B@1:1.0%2Bx?arch=amd64&distro=debian-12"
    )
    assert found["qdrant"].startswith("pkg:generic/qdrant@")
    assert "checksum=sha256:" in found["other"]


def test_hugging_face_models_have_their_own_url(lock: Lock, card: ModelCard) -> None:
    source = {
        "kind": "huggingface",
        "repository": "owner/name",
        "revision": "b" * 40,
        "file": "x.gguf",
        "sha256": card.file.sha256,
    }
    hub = ModelCard.model_validate({**card.model_dump(), "sources": [source]})
    address = f"https://huggingface.co/owner/name/resolve/{'b' * 40}/x.gguf"
    first = lock.entries[0]
    moved = first.replace(artifact=first.artifact.replace(source=address))
    changed = lock.replace(entries=(moved, *lock.entries[1:]))
    purl = parts(make_sbom(changed, {card.name: hub}))[card.name]["purl"]
    assert purl.startswith(f"pkg:huggingface/owner/name@{'b' * 40}")


def test_licences_as_spdx_or_by_name(lock: Lock) -> None:
    found = {n: c["licenses"][0] for n, c in parts(make_sbom(lock, {})).items()}
    assert found["libx++"]["expression"] == "GPL-2.0-or-later AND MIT"
    assert found["other"]["license"]["name"] == "Gemma"
    assert found["demo-pkg"]["license"]["name"] == "MIT OR Gemma"
    assert found["server"]["license"]["name"] == "unknown"


def test_model_card(lock: Lock, card: ModelCard) -> None:
    found = parts(make_sbom(lock, {card.name: card}))[card.name]["modelCard"]
    assert found["modelParameters"]["task"] == "chat"
    assert found["modelParameters"]["modelArchitecture"] == "llama"
    assert "FineWeb" in found["modelParameters"]["datasets"][0]["description"]
    facts = {fact["name"]: fact["value"] for fact in found["properties"]}
    assert facts["bastide:quantisation"] == "Q4_1"


def test_equal_locks_give_equal_bytes_without_a_time(
    lock: Lock, card: ModelCard, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = make_sbom(lock, {card.name: card})
    monkeypatch.setenv("TZ", "Asia/Kathmandu")
    assert make_sbom(lock, {card.name: card}) == first
    assert b"timestamp" not in first
    other = make_sbom(lock.replace(release="starter-2026.12.0"), {card.name: card})
    assert json.loads(other)["serialNumber"] != json.loads(first)["serialNumber"]
