"""Reads a question suite and the files beside it; every mistake with file and line."""

from __future__ import annotations

import difflib
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bastide.errors import ConfigError, Problem
from bastide.schema.artifact import SUITE, ArtifactKind
from bastide.schema.loading import load_yaml, parse_yaml
from bastide.schema.suite import Suite
from bastide.store.local import Store, StoredBundle

WRONG_SUITE = "BAS-2056"
# What a bundle calls the files that a suite names.
CORPUS = "corpus"
QUESTIONS = "questions"


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
    corpus = path.parent / suite.corpus if suite.corpus else None
    questions = path.parent / suite.retrieval.questions if suite.retrieval else None
    return assemble(suite, path, corpus, questions)


def read_suite(store: Store, bundle: StoredBundle, name: str) -> LoadedSuite:
    """Return a question suite that an imported bundle carries.

    Args:
        store: The imported bundles.
        bundle: The one whose release asks for the suite.
        name: The suite's name, as ``upgrade.evaluation.suite`` says it.

    Raises:
        BundleError: The bundle does not carry it, or the store's copy is damaged.
        ConfigError: It has mistakes.
    """
    files = {a.name: a for a in bundle.manifest.of_kind(ArtifactKind.CATALOGUE)}
    head = f"{SUITE}{name}"
    filename = files[head].filename if head in files else f"{head}.yaml"
    content = store.read_catalogue(bundle.manifest, filename)
    suite = parse_yaml(content, Suite, where=filename, code=WRONG_SUITE)
    beside: dict[str, Path] = {}
    for part in (CORPUS, QUESTIONS):
        if artifact := files.get(f"{head}-{part}"):
            store.read_catalogue(bundle.manifest, artifact.filename)  # refuses a damaged one
            beside[part] = store.blob(artifact.sha256)
    lost = Path(f"{bundle.root.release} (not in the bundle)")
    corpus = beside.get(CORPUS, lost) if suite.corpus else None
    questions = beside.get(QUESTIONS, lost) if suite.retrieval else None
    return assemble(suite, Path(filename), corpus, questions)


def assemble(
    suite: Suite, where: Path, corpus_file: Path | None, questions_file: Path | None
) -> LoadedSuite:
    """Return a suite with what the files that it names say.

    Args:
        suite: What the suite's own file says.
        where: That file, for messages.
        corpus_file: Its corpus; None if it has none.
        questions_file: Its questions of retrieval; None if it has none.

    Raises:
        ConfigError: A file has mistakes; all are listed with file and line.
    """
    problems: list[Problem] = []
    corpus = _corpus(corpus_file, problems)
    searches = _searches(questions_file, corpus, problems)
    for question in suite.questions:
        lacking = [each for each in question.passages if each not in corpus]
        if lacking:
            what = f"question {question.id}: the corpus has no passage {', '.join(lacking)}"
            problems.append(Problem(str(where), what))
    if problems:
        raise ConfigError(
            f"{where} or the files that it names have {len(problems)} mistakes",
            code=WRONG_SUITE,
            hint="correct them and run the command again",
            problems=tuple(problems),
        )
    whole = json.dumps([suite.digest(), corpus, [vars(each) for each in searches]], sort_keys=True)
    digest = hashlib.sha256(whole.encode()).hexdigest()
    return LoadedSuite(suite, corpus, searches, digest)


def _corpus(file: Path | None, problems: list[Problem]) -> dict[str, str]:
    corpus: dict[str, str] = {}
    for where, item in _lines(file, ("id", "text"), problems) if file else ():
        if item["id"] in corpus:
            problems.append(Problem(where, f"id {item['id']!r} is given twice"))
        title = item.get("title")
        corpus[item["id"]] = f"{title}\n{item['text']}" if title else item["text"]
    return corpus


def _searches(
    file: Path | None, corpus: Mapping[str, str], problems: list[Problem]
) -> tuple[Search, ...]:
    searches = []
    for where, item in _lines(file, ("id", "question", "passage"), problems) if file else ():
        searches.append(Search(item["id"], item["question"], item["passage"]))
        if item["passage"] not in corpus:
            problems.append(Problem(where, f"the corpus has no passage {item['passage']!r}"))
    return tuple(searches)


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
