"""Reads a question suite and the files beside it; every mistake with file and line."""

from __future__ import annotations

import difflib
import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bastide.errors import ConfigError, Problem
from bastide.schema.loading import load_yaml
from bastide.schema.suite import Suite

WRONG_SUITE = "BAS-2056"


@dataclass(frozen=True)
class Search:
    """One question to an embedding model, and the passage that answers it."""

    id: str
    question: str
    passage: str


@dataclass(frozen=True)
class LoadedSuite:
    """A suite with its corpus.

    Args:
        suite: What the file says.
        corpus: Passages by id: title and text.
        searches: Questions of retrieval.
        digest: SHA-256 over all of it: results of one digest can be compared.
    """

    suite: Suite
    corpus: dict[str, str]
    searches: tuple[Search, ...]
    digest: str


def find_suite(named: str, shipped: Path) -> Path:
    """Return the file of a suite: a path, or the name of a shipped one.

    Raises:
        ConfigError: There is none of that name.
    """
    path = Path(named)
    if path.is_file() or "/" in named or named.endswith((".yaml", ".yml")):
        return path
    names = sorted(each.stem for each in shipped.glob("*.yaml"))
    if named in names:
        return shipped / f"{named}.yaml"
    close = difflib.get_close_matches(named, names, n=1)
    raise ConfigError(
        f"there is no suite '{named}'; shipped: {', '.join(names) or 'none'}",
        code=WRONG_SUITE,
        hint=f"did you mean '{close[0]}'?" if close else "give a file's path",
    )


def load_suite(path: Path) -> LoadedSuite:
    """Return the suite of a file.

    Raises:
        ConfigError: It or a file beside it has mistakes; all are listed with file and line.
    """
    suite = load_yaml(path, Suite, code=WRONG_SUITE)
    corpus: dict[str, str] = {}
    searches: list[Search] = []
    problems: list[Problem] = []
    if suite.corpus:
        for where, item in _lines(path.parent / suite.corpus, ("id", "text"), problems):
            if item["id"] in corpus:
                problems.append(Problem(where, f"id {item['id']!r} is given twice"))
            title = item.get("title")
            corpus[item["id"]] = f"{title}\n{item['text']}" if title else item["text"]
    if suite.retrieval:
        file = path.parent / suite.retrieval.questions
        for where, item in _lines(file, ("id", "question", "passage"), problems):
            searches.append(Search(item["id"], item["question"], item["passage"]))
            if item["passage"] not in corpus:
                problems.append(Problem(where, f"the corpus has no passage {item['passage']!r}"))
    for question in suite.questions:
        lacking = [each for each in question.passages if each not in corpus]
        if lacking:
            what = f"question {question.id}: the corpus has no passage {', '.join(lacking)}"
            problems.append(Problem(str(path), what))
    if problems:
        raise ConfigError(
            f"{path} or the files that it names have {len(problems)} mistakes",
            code=WRONG_SUITE,
            hint="correct them and run the command again",
            problems=tuple(problems),
        )
    whole = json.dumps([suite.digest(), corpus, [vars(each) for each in searches]], sort_keys=True)
    digest = hashlib.sha256(whole.encode()).hexdigest()
    return LoadedSuite(suite, corpus, tuple(searches), digest)


def _lines(
    path: Path, keys: tuple[str, ...], problems: list[Problem]
) -> list[tuple[str, dict[str, Any]]]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        problems.append(Problem(str(path), f"cannot be read: {reason}"))
        return []
    found = []
    for number, line in enumerate(lines, 1):
        where = f"{path}:{number}"
        if not line.strip():
            continue
        try:
            item = json.loads(line)
        except ValueError as error:
            problems.append(Problem(where, f"not valid JSON: {error}"))
            continue
        item = item if isinstance(item, dict) else {}
        lacking = [key for key in keys if not isinstance(item.get(key), str) or not item[key]]
        if lacking:
            problems.append(Problem(where, f"needs texts under: {', '.join(lacking)}"))
        else:
            found.append((where, item))
    return found
