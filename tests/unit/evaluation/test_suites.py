"""Suites: the shipped one is whole; mistakes are named with file and line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from bastide import resources
from bastide.errors import ConfigError
from bastide.evaluation.prompts import prompt
from bastide.evaluation.suites import find_suite, load_suite

SHIPPED = resources.catalogue() / "suites"
OWN: dict[str, Any] = {
    "name": "own",
    "title": "Own",
    "corpus": "c.jsonl",
    "questions": [{"id": "q", "question": "Q?", "passages": ["p1"], "expect": {"kind": "refusal"}}],
    "retrieval": {"questions": "r.jsonl"},
}


def write(folder: Path, suite: dict[str, Any], corpus: str = "", searches: str = "") -> Path:
    (folder / "own.yaml").write_text(json.dumps(suite, indent=1))
    (folder / "c.jsonl").write_text(corpus or json.dumps({"id": "p1", "text": "P."}) + "\n")
    line = {"id": "s", "question": "S?", "passage": "p1"}
    (folder / "r.jsonl").write_text(searches or json.dumps(line) + "\n")
    return folder / "own.yaml"


@pytest.mark.parametrize("path", sorted(SHIPPED.glob("*.yaml")), ids=lambda path: path.stem)
def test_shipped_suites_are_whole(path: Path) -> None:
    loaded = load_suite(path)
    assert loaded.suite.name == path.stem
    kinds = {question.expect.kind for question in loaded.suite.questions}
    assert kinds == {"exact", "contains", "regex", "similar", "refusal"}
    assert len(loaded.searches) == 20
    first = loaded.suite.questions[0]
    assert loaded.corpus[first.passages[0]] in prompt(first, loaded)


def test_a_suite_of_ones_own_and_its_digest(tmp_path: Path) -> None:
    path = write(tmp_path, OWN)
    first = load_suite(path)
    assert (first.corpus, len(first.searches)) == ({"p1": "P."}, 1)
    write(tmp_path, OWN, corpus=json.dumps({"id": "p1", "text": "Other."}) + "\n")
    assert load_suite(path).digest != first.digest


def problems(path: Path) -> str:
    with pytest.raises(ConfigError) as caught:
        load_suite(path)
    assert caught.value.code == "BAS-2056"
    assert caught.value.hint
    return "\n".join(f"{p.where}: {p.what}" for p in caught.value.problems) or str(caught.value)


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("questions", [{"id": "a", "question": "?", "expect": {"kind": "regex", "pattern": "("}}],
         "regular expression"),
        ("questions", [{"id": "a", "question": "?", "expect": {"kind": "guess"}}], "'contains'"),
        ("questions", [{"id": "a", "question": "?", "max_tokens": -1,
                        "expect": {"kind": "refusal"}}], "greater than or equal to 1"),
        ("questions", OWN["questions"] * 2, "same id: q"),
        ("corpus", None, 'need a "corpus"'),
    ],
)  # fmt: skip
def test_mistakes_have_their_line(tmp_path: Path, field: str, value: Any, words: str) -> None:
    found = problems(write(tmp_path, {**OWN, field: value}))
    assert words in found
    assert "own.yaml:" in found


def test_mistakes_beside_the_suite_have_file_and_line(tmp_path: Path) -> None:
    corpus = '{"id": "p1", "text": "P."}\n{"id": "p1", "text": "again"}\nnot json\n{"id": "x"}\n'
    found = problems(write(tmp_path, OWN, corpus, '{"id":"s","question":"?","passage":"p9"}\n'))
    assert "c.jsonl:2: id 'p1' is given twice" in found
    assert "c.jsonl:3: not valid JSON" in found
    assert "c.jsonl:4: needs texts under: text" in found
    assert "r.jsonl:1: the corpus has no passage 'p9'" in found


def test_a_missing_file(tmp_path: Path) -> None:
    path = write(tmp_path, OWN)
    (tmp_path / "c.jsonl").unlink()
    assert "cannot be read" in problems(path)


def test_names_of_suites() -> None:
    assert find_suite("handbook", SHIPPED) == SHIPPED / "handbook.yaml"
    with pytest.raises(ConfigError, match="no suite 'handbok'") as caught:
        find_suite("handbok", SHIPPED)
    assert "did you mean 'handbook'?" in caught.value.hint
