"""``bastide models evaluate``: ask candidate models a suite of questions, on this machine."""

from __future__ import annotations

import difflib
import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
from rich.table import Table

from bastide import resources
from bastide.bundle.catalogue import Catalogue
from bastide.cli.output import progress, reports, stdout
from bastide.errors import ConfigError
from bastide.evaluation.engine import find_engine
from bastide.evaluation.run import Candidate, Evaluation, Outcome, Trial, evaluate
from bastide.evaluation.suites import find_suite, load_suite
from bastide.layout import Home, cache_directory
from bastide.progress import human_bytes
from bastide.schema.gguf_header import HeaderError, read_header
from bastide.sizing.subject import Subject, from_header
from bastide.sources.cache import Cache
from bastide.store.local import Store

NO_MODEL = "BAS-2057"


def view_evaluation(result: Evaluation) -> None:
    """Print candidates side by side: quality, speed, memory."""
    console = stdout()
    console.print(f"{result.title} (suite {result.suite}, {result.digest[:12]})", style="bold")
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("")
    for outcome in result.outcomes:
        table.add_column(outcome.model, overflow="fold")
    for label, show in ROWS.items():
        cells = [show(outcome) for outcome in result.outcomes]
        if any(cells):
            table.add_row(label, *(cell or "-" for cell in cells))
    kinds = sorted({kind for outcome in result.outcomes for kind in outcome.by_kind})
    for kind in kinds:
        counts = [outcome.by_kind.get(kind) for outcome in result.outcomes]
        table.add_row(f"  {kind}", *(f"{c[0]} of {c[1]}" if c else "-" for c in counts))
    console.print(table)
    console.print(
        f"{result.engine}, {result.threads} threads, this machine. Every answer is in "
        f"{result.folder} and in --json.",
        markup=False,
    )


def _retrieval(outcome: Outcome) -> str:
    found = outcome.retrieved
    if found is None:
        return ""
    return (
        f"{found.hit_rate_at_1:.0%} first, {found.hit_rate:.0%} in {found.at}, "
        f"MRR {found.mean_reciprocal_rank:.2f}"
    )


def _quality(outcome: Outcome) -> str:
    text = f"{outcome.good} of {outcome.judged}" if outcome.judged else "nothing to judge"
    if outcome.not_judged:
        text += f" ({outcome.not_judged} not judged)"
    return text


ROWS: dict[str, Callable[[Outcome], str]] = {
    "task": lambda o: o.task + (", no chat template" if o.chat_template is False else ""),
    "good answers": _quality,
    "passage found": _retrieval,
    "tokens/s": lambda o: f"{o.tokens_per_second:.1f}" if o.tokens_per_second else "",
    "first token": lambda o: f"{o.first_token_seconds:.2f} s" if o.first_token_seconds else "",
    "memory": lambda outcome: human_bytes(outcome.memory),
    "from an earlier run": lambda o: f"{o.resumed} answers" if o.resumed else "",
}


@dataclass(frozen=True)
class Wish:
    """What is to be evaluated, and how; as the options of the command give it.

    Args:
        suite: A suite's file, or the name of a shipped one.
        python: A Python with the engine; none: the environment's.
        threads: Threads; none: all.
        embedder: Embedding model for answers judged by meaning; none: they are not judged.
        folder: Where results are kept; none: in Bastide's own data.
        catalogue: Folder of model cards; none: the shipped one.
        seed: For what little chance there is.
    """

    suite: str
    python: Path | None = None
    threads: int | None = None
    embedder: str | None = None
    folder: Path | None = None
    catalogue: Path | None = None
    seed: int = 1


def evaluate_models(models: tuple[str, ...], wish: Wish) -> Evaluation:
    """Return how models do on a suite. `bastide models compare --suite` uses this, too.

    Args:
        models: Names of model cards, or GGUF files.
        wish: The suite and how to run it.

    Raises:
        ConfigError: Suite, engine or a model is not there or wrong.
        VerifyError: The engine cannot run a model.
    """
    loaded = load_suite(find_suite(wish.suite, resources.catalogue() / "suites"))
    shelf = Catalogue(wish.catalogue or resources.catalogue())
    candidates = tuple(_candidate(name, shelf) for name in dict.fromkeys(models))
    embedder = _candidate(wish.embedder, shelf) if wish.embedder else None
    if embedder is not None and not embedder.embedding:
        raise ConfigError(
            f"{embedder.name} is no embedding model",
            code=NO_MODEL,
            hint="give --embedder a model whose task is embedding",
        )
    trial = Trial(
        engine=find_engine(wish.python, wish.threads),
        loaded=loaded,
        folder=(wish.folder or Home.default().root / "evaluations").absolute(),
        seed=wish.seed,
        embedder=embedder,
    )
    return evaluate(candidates, trial, progress())


def _candidate(model: str, shelf: Catalogue) -> Candidate:
    path = Path(model)
    if model.endswith(".gguf") or path.is_file():
        with _open(path) as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        subject = _subject(path)
        return _described(path.stem, path, digest, subject)
    card = shelf.card(model).value
    if card.file is None:
        raise ConfigError(
            f"the card {card.name} pins no file, so there is nothing to run",
            code=NO_MODEL,
            hint="give the model's GGUF file instead of its name",
        )
    digest = card.file.sha256
    places = (Store(Home.default().store).blob(digest), Cache(cache_directory()).path(digest))
    found = next((place for place in places if place.is_file()), None)
    if found is None:
        raise ConfigError(
            f"the file of {card.name} is not on this machine",
            code=NO_MODEL,
            hint="import or build a bundle that has it, or give the GGUF file instead of the name",
        )
    return _described(card.name, found, digest, _subject(found))


def _open(path: Path) -> Any:  # noqa: ANN401 - a binary file
    try:
        return path.open("rb")
    except OSError as error:
        folder = path.parent if path.parent.is_dir() else Path()
        close = difflib.get_close_matches(path.name, [p.name for p in folder.glob("*.gguf")], n=1)
        raise ConfigError(
            f"{path} cannot be read: {error.strerror}",
            code=NO_MODEL,
            hint=f"did you mean {folder / close[0]}?" if close else "check the path",
        ) from error


def _subject(path: Path) -> Subject:
    try:
        return from_header(path.stem, read_header(path), path.stat().st_size)
    except HeaderError as error:
        raise ConfigError(
            f"{path} is no GGUF file that can be read: {error}",
            code=NO_MODEL,
            hint="give a whole GGUF file",
        ) from error


def _described(name: str, path: Path, digest: str, subject: Subject) -> Candidate:
    window = subject.architecture.context_window
    return Candidate(name, path.absolute(), digest, subject.embedding, window)


@click.command("evaluate")
@click.argument("models", metavar="MODEL…", nargs=-1, required=True)
@click.option("--suite", default="handbook", show_default=True, metavar="FILE",
              help="A suite's file, or the name of a shipped one.")  # fmt: skip
@click.option("--python", type=click.Path(path_type=Path), metavar="PATH",
              help="Python that has llama-cpp-python; $BASTIDE_ENGINE_PYTHON.")  # fmt: skip
@click.option("--embedder", metavar="MODEL",
              help="Embedding model that judges answers by meaning; without one these answers are "
              "not judged, and the report says so.")  # fmt: skip
@click.option("--threads", type=click.IntRange(1, 1024), help="Threads; all CPUs if not given.")
@click.option("--seed", type=click.IntRange(0, 2**31 - 1), default=1, show_default=True,
              help="Seed; the most likely token is taken anyway.")  # fmt: skip
@click.option("--results", "folder", type=click.Path(path_type=Path, file_okay=False),
              help="Folder for answers; a run that was killed goes on from there.")  # fmt: skip
@click.option("--catalogue", metavar="DIR",
              type=click.Path(path_type=Path, exists=True, file_okay=False),
              help="Your own folder of models/ instead of Bastide's.")  # fmt: skip
@reports(view_evaluation)
def command(models: tuple[str, ...], **options: Any) -> Evaluation:  # noqa: ANN401
    """Ask MODELs the questions of a suite and show quality, speed and memory side by side.

    A MODEL is a GGUF file, or the name of a model card whose file was imported or built into a
    bundle here. Each runs alone, in a Python of its own that has the engine; docs/evaluation.md
    says how to make one from a bundle. Every answer is kept as it comes: the same command goes on
    after an interruption.

    \b
    bastide models evaluate smollm2.gguf gemma.gguf --suite handbook --python engine/bin/python
    bastide models evaluate all-minilm-l6-v2-q8_0 --suite our-questions.yaml
    """  # noqa: D301 - click's mark for text that it must not wrap
    return evaluate_models(models, Wish(**options))
