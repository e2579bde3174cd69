"""``bastide models fit``: whether a model fits a machine, and how fast it will be."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
from pydantic import ValidationError
from rich.table import Table

from bastide import resources
from bastide.bundle.catalogue import Catalogue
from bastide.cli.output import progress, reports, stdout
from bastide.errors import ConfigError
from bastide.evaluation.engine import find_engine
from bastide.evaluation.machine import measure_machine
from bastide.progress import human_bytes
from bastide.schema.facts import HostFacts
from bastide.schema.gguf_header import HeaderError, read_header
from bastide.sizing.fit import Place, Verdict, amount, cards_needed, place_cpu, place_gpu
from bastide.sizing.memory import ABSURD, CacheType, Setting
from bastide.sizing.speed import Machine, Speed, predict
from bastide.sizing.subject import Subject, from_card, from_header

WRONG_FILE = "BAS-2043"
COLOURS = {Verdict.FITS: "green", Verdict.LESS_CONTEXT: "yellow", Verdict.NO: "red"}


@dataclass(frozen=True)
class Fit:
    """The answer of ``bastide models fit``.

    Args:
        model: Name and weight format.
        setting: Context, requests, cache.
        exact_size: Whether the weights' size is a file's own.
        places: Main memory and GPUs, as far as they were asked for.
        cards: GPUs of each common size (GB) that would hold it.
        speed: Predicted speed of one request; none without a bandwidth.
        machine: Where the machine's figures come from.
        notes: What the reader should know.
    """

    model: str
    setting: Setting
    exact_size: bool
    places: tuple[Place, ...]
    cards: dict[int, int]
    speed: Speed | None
    machine: str
    notes: tuple[str, ...]


def _view(result: Fit) -> None:
    console = stdout()
    setting = result.setting
    shared = ", one shared cache" if setting.unified else ""
    console.print(
        f"{result.model}, {setting.parallel} x {setting.context:,} tokens of context{shared}",
        style="bold",
    )
    for place in result.places:
        _place(place)
    counts = ", ".join(f"{count} of {size} GB" for size, count in result.cards.items())
    console.print(f"GPUs that would hold it: {counts}", markup=False)
    if result.speed:
        for label, value, formula in (
            ("decode", result.speed.decode, result.speed.decode_formula),
            ("prefill", result.speed.prefill, result.speed.prefill_formula),
        ):
            text = f"{value:,.1f} tokens/s" if value else "unknown"
            console.print(f"{label:<8} {text}: {formula}", markup=False)
        console.print(f"         machine: {result.machine}", markup=False)
    for note in result.notes:
        console.print(f"note: {note}", markup=False)


def _place(place: Place) -> None:
    console = stdout()
    where = "main memory (CPU)" if place.kind == "cpu" else "GPU memory"
    line = f"{where}: {human_bytes(place.needed)} needed"
    if place.available is not None:
        line += f" of {human_bytes(max(place.available, 0))} there"
    console.print(line + (": " if place.verdict else ""), markup=False, end="")
    if place.verdict:
        console.print(f"[{COLOURS[place.verdict]}]{place.verdict.value}[/]", end="")
        if place.verdict is Verdict.LESS_CONTEXT:
            console.print(f": {place.most_context:,} tokens each", end="")
        elif place.verdict is Verdict.FITS and place.most_context:
            console.print(f", with up to {place.most_context:,} tokens each", end="")
    console.print()
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 2))
    table.add_column(justify="right")
    table.add_column()
    table.add_column(style="dim", overflow="fold")
    for part in place.parts:
        size = f"({human_bytes(part.size)})" if part.given_back else human_bytes(part.size)
        table.add_row(size, part.name, part.formula)
    console.print(table)


@click.command("fit")
@click.argument("model", metavar="MODEL")
@click.option("--quant", metavar="FORMAT", help="Weight format, such as Q4_K_M; the card's own if "
              "not given. A file has its own.")  # fmt: skip
@click.option("--context", type=int, default=4096, show_default=True,
              help="Tokens that one request may have, prompt and answer together.")  # fmt: skip
@click.option("--parallel", type=int, default=1, show_default=True, help="Requests at once.")
@click.option("--cache-type", type=click.Choice([each.value for each in CacheType]),
              default="f16", show_default=True, help="How keys and values are kept.")  # fmt: skip
@click.option("--unified", is_flag=True,
              help="All requests share one cache, as in a site; else each has a part.")  # fmt: skip
@click.option("--window-cache", is_flag=True,
              help="Layers with a sliding window keep only their window. The engine's default is "
              "to keep all, so that requests can share the beginning of a prompt.")  # fmt: skip
@click.option("--host", "host_file", type=click.Path(path_type=Path, dir_okay=False),
              help="Facts of a host, as JSON (bastide.facts/1).")  # fmt: skip
@click.option("--ram", metavar="AMOUNT", help="Main memory, such as 64GB.")
@click.option("--vram", metavar="AMOUNT", help="GPU memory, such as 24GB or 2x80GB.")
@click.option("--bandwidth", metavar="AMOUNT",
              help="Bytes a second of the memory that holds the model, such as 50GB.")  # fmt: skip
@click.option("--flops", metavar="AMOUNT",
              help="Floating point operations a second, such as 1.5T.")  # fmt: skip
@click.option("--measure", is_flag=True,
              help="Time this machine with the engine's own kernels instead.")  # fmt: skip
@click.option("--python", type=click.Path(path_type=Path), metavar="PATH",
              help="Python with llama-cpp-python; $BASTIDE_ENGINE_PYTHON.")  # fmt: skip
@click.option("--threads", type=click.IntRange(1, 1024), help="Threads for --measure.")
@click.option("--catalogue", metavar="DIR",
              type=click.Path(path_type=Path, exists=True, file_okay=False),
              help="Your own folder of models/ instead of Bastide's.")  # fmt: skip
@reports(_view)
def command(model: str, **options: Any) -> Fit:  # noqa: ANN401
    """Say whether MODEL fits a machine, with how much context, and how fast it will be.

    MODEL is the name of a model card (`bastide models list`) or a GGUF file. Memory is weights,
    key-value cache, buffers and the server itself, each with its formula; docs/sizing.md says how
    far off they were when measured. Without --ram, --vram or --host only the need is told.

    \b
    bastide models fit mixtral-8x7b-instruct --quant F16 --vram 2x80GB
    bastide models fit llama-3.1-8b-instruct --quant Q4_K_M --context 8192 --parallel 4 --ram 16GB
    bastide models fit ./model.gguf --measure --python engine/bin/python
    """  # noqa: D301 - click's mark for text that it must not wrap
    subject = _subject(model, options["quant"], options["catalogue"])
    setting = Setting(
        context=options["context"],
        parallel=options["parallel"],
        cache_type=CacheType(options["cache_type"]),
        unified=options["unified"],
        full_window=not options["window_cache"],
    )
    machine = _machine(subject, options)
    prompt = min(256, setting.context)
    return Fit(
        model=subject.name,
        setting=setting,
        exact_size=subject.exact,
        places=_places(subject, setting, options),
        cards=cards_needed(subject, setting),
        speed=predict(subject, machine, past=prompt, prompt=prompt, cache_type=setting.cache_type)
        if machine
        else None,
        machine=machine.measured if machine else "",
        notes=tuple(_notes(subject, setting)),
    )


def _subject(model: str, quant: str | None, catalogue: Path | None) -> Subject:
    path = Path(model)
    if not (model.endswith(".gguf") or path.is_file()):
        return from_card(Catalogue(catalogue or resources.catalogue()).card(model).value, quant)
    if quant:
        raise ConfigError(
            f"{model} is a file: its weight format cannot be chosen",
            code=ABSURD,
            hint="leave --quant out, or name a model card",
        )
    try:
        return from_header(path.stem, read_header(path), path.stat().st_size)
    except (HeaderError, OSError) as error:
        what = error.strerror if isinstance(error, OSError) else str(error)
        raise ConfigError(
            f"{path} is no GGUF file that can be read: {what}",
            code=WRONG_FILE,
            hint="give a whole GGUF file, or the name of a model card (`bastide models list`)",
        ) from error


def _places(subject: Subject, setting: Setting, options: dict[str, Any]) -> tuple[Place, ...]:
    ram = int(amount(options["ram"], "--ram")[1]) if options["ram"] else None
    if options["host_file"]:
        ram = _facts(options["host_file"]).memory_bytes
    places = []
    if options["vram"]:
        cards, vram = amount(options["vram"], "--vram")
        places.append(place_gpu(subject, setting, int(vram), cards))
    if ram is not None or not places:
        places.insert(0, place_cpu(subject, setting, ram))
    return tuple(places)


def _facts(path: Path) -> HostFacts:
    try:
        return HostFacts.model_validate_json(path.read_bytes())
    except (OSError, ValidationError) as error:
        what = error.strerror if isinstance(error, OSError) else str(error).splitlines()[0]
        raise ConfigError(
            f"{path} holds no facts of a host: {what}",
            code=WRONG_FILE,
            hint="give the JSON that the host agent prints, or --ram",
        ) from error


def _machine(subject: Subject, options: dict[str, Any]) -> Machine | None:
    if options["measure"]:
        engine = find_engine(options["python"], options["threads"])
        return measure_machine(engine, tuple(subject.types), progress())
    if not options["bandwidth"]:
        return None
    flops = amount(options["flops"], "--flops")[1] if options["flops"] else None
    return Machine(amount(options["bandwidth"], "--bandwidth")[1], flops)


def _notes(subject: Subject, setting: Setting) -> list[str]:
    notes = []
    window = subject.architecture.context_window
    if setting.context > window:
        notes.append(f"the model was made for {window:,} tokens; more than that is not useful")
    if not subject.exact:
        notes.append(f"the weights' size is an estimate ({subject.origin}); a file's may differ")
    if subject.architecture.experts:
        notes.append(
            "a mixture of experts: all weights must be held, a token reads only "
            f"{subject.architecture.experts_used} of {subject.architecture.experts} experts"
        )
    return notes
