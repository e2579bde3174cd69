from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field

from bastide.errors import ConfigError
from bastide.schema.base import Value
from bastide.schema.loading import load_yaml, parse_yaml


class Disk(Value):
    size: int = Field(description="Room in bytes.", gt=0)


class Thing(Value):
    version: str = Field(description="Version of the thing.")
    languages: tuple[str, ...] = Field(description="Languages, by code.", default=())
    disks: tuple[Disk, ...] = Field(description="Its disks.", default=())
    by_name: dict[str, Disk] = Field(description="Disks by name.", default_factory=dict)
    spare: Disk | None = Field(description="A spare disk.", default=None)


def problems(text: str) -> list[tuple[str, str, str]]:
    with pytest.raises(ConfigError) as caught:
        parse_yaml(text.encode(), Thing, where="f.yaml")
    return [(p.where, p.what, p.hint) for p in caught.value.problems]


def test_good_file_is_read(tmp_path: Path) -> None:
    path = tmp_path / "f.yaml"
    path.write_text('version: "1.10"\nlanguages: [en, no]\ndisks:\n  - size: 3\n')
    thing = load_yaml(path, Thing)
    assert thing.version == "1.10"
    assert thing.languages == ("en", "no"), "the code of Norwegian is not a boolean"
    assert thing.disks == (Disk(size=3),)


def test_unreadable_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        load_yaml(tmp_path / "absent.yaml", Thing)


def test_all_mistakes_are_reported_together_with_line_and_meaning() -> None:
    text = "version: 1.10\nlangages: [en]\ndisks:\n  - size: 3\n  - size: -4\n  - sise: 3\n"
    assert problems(text) == [
        ("f.yaml:1", "version (Version of the thing): should be a valid string; found '1.10'",
         'put it in quotes: "1.10"'),
        ("f.yaml:5", "disks[1].size (Room in bytes): should be greater than 0; found '-4'", ""),
        ("f.yaml:6", "disks[2].size (Room in bytes): missing", "add it"),
        ("f.yaml:6", "disks[2].sise: unknown key", 'did you mean "size"?'),
        ("f.yaml:2", "langages: unknown key", 'did you mean "languages"?'),
    ]  # fmt: skip


def test_nested_mapping_and_optional() -> None:
    text = 'version: "1"\nby_name:\n  a:\n    size: x\nspare:\n  sizes: 1\n'
    found = problems(text)
    assert found[0][0] == "f.yaml:4"
    assert found[0][1].startswith("by_name.a.size (Room in bytes): should be a valid integer")
    assert ("f.yaml:6", "spare.sizes: unknown key", 'did you mean "size"?') in found


def test_duplicate_keys() -> None:
    assert problems('version: "1"\nspare: {size: 1}\nversion: "2"\n') == [
        ("f.yaml:3", "version: given twice, first on line 1", "")
    ]


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("version: [1\n", 2, "not valid YAML"),
        ("", 1, "empty"),
        ("version: &a 1\nspare: *a\n", 2, "aliases"),
        ("version: !!python/object:os.system x\n", 1, "tag"),
        ("? [a, b]\n: 1\n", 1, "plain text"),
        ("just text\n", 1, "should be a valid dictionary"),
        ("a: 1\n---\nb: 2\n", 2, "another document"),
        ("a: " + "[" * 5000, 1, "not valid YAML"),
    ],
)
def test_yaml_mistakes(text: str, line: int, words: str) -> None:
    where, what, _ = problems(text)[0]
    assert where == f"f.yaml:{line}"
    assert words in what


def test_not_utf8() -> None:
    with pytest.raises(ConfigError) as caught:
        parse_yaml(b"version: 1\nx: \xff\n", Thing, where="f")
    assert caught.value.problems[0].where == "f:2"


def _where(text: str) -> list[str]:
    try:
        parse_yaml(text.encode(errors="surrogatepass"), Thing, where="f")
    except ConfigError as error:
        return [problem.where for problem in error.problems] or ["no problem was named"]
    return []


@given(st.text(max_size=200))
def test_any_text_gives_a_value_or_problems_with_lines(text: str) -> None:
    assert all(where.startswith("f:") for where in _where(text))
