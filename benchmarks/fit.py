"""Predicted against measured: resident memory and speed of models on this machine.

    python benchmarks/fit.py --python ENGINE_PYTHON FILE.gguf …  [--markdown TABLE.md]

ENGINE_PYTHON has llama-cpp-python (docs/evaluation.md says how to make one). For each file:

memory   a process is started for each context x parallel of the grid, as a site's server would set
         it; every sequence is filled to the end; its resident memory (Rss of smaps_rollup, shared
         pages of the mapped file counted) stands beside what `bastide models fit` predicts.
speed    several rounds; in each, the machine's kernels are timed and then, at once, a prompt and
         single tokens of the model, so that both see the same load of the machine. Medians of the
         rounds. With one thread its CPU time is counted, which other programs do not lengthen.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from bastide.evaluation.engine import Engine, Event, find_engine
from bastide.evaluation.machine import measure_machine
from bastide.progress import SilentProgress
from bastide.schema.gguf_header import read_header
from bastide.sizing.memory import CacheType, Setting, cpu_parts, resident
from bastide.sizing.speed import predict
from bastide.sizing.subject import Subject, from_header

CHAT = ((512, 1, False), (512, 4, False), (512, 4, True), (1024, 4, True), (2048, 1, False))
EMBEDDING = ((512, 1, False), (512, 4, False), (512, 8, False))
CACHE_KINDS = {CacheType.F16: 1, CacheType.Q8_0: 8}


@dataclass(frozen=True)
class Row:
    """One comparison."""

    model: str
    what: str
    predicted: float
    measured: float
    unit: str

    @property
    def error(self) -> float:
        """How far the prediction is off, in percent of the measured value."""
        return 100 * (self.predicted / self.measured - 1)


def job(path: Path, subject: Subject, setting: Setting, rounds: int) -> dict[str, object]:
    """Return what the worker shall do; ``rounds`` 0: memory only."""
    return {
        "action": "measure",
        "model": str(path.resolve()),
        "embedding": subject.embedding,
        "n_ctx": setting.tokens,
        "parallel": setting.parallel,
        "unified": setting.unified,
        "cache_kind": CACHE_KINDS[setting.cache_type],
        "speed": rounds > 0,
        "runs": rounds,
    }


def memory_rows(engine: Engine, path: Path, subject: Subject) -> Iterator[Row]:
    """Yield a row for each point of the grid."""
    grid = [(*point, CacheType.F16) for point in (EMBEDDING if subject.embedding else CHAT)]
    if not subject.embedding:
        grid.append((1024, 2, False, CacheType.Q8_0))
    for context, parallel, unified, cache_type in grid:
        setting = Setting(context, parallel, cache_type, unified, server=False)
        seen: list[Event] = []
        engine.run(job(path, subject, setting, 0), seen.append)
        label = f"memory, {context} x {parallel}{', unified' if unified else ''}"
        label += f", cache {cache_type.value}" if cache_type is not CacheType.F16 else ""
        predicted = resident(cpu_parts(subject, setting)) / 1e6
        yield Row(subject.name, label, predicted, seen[-1]["rss"] / 1e6, "MB")


def speed_rows(engine: Engine, path: Path, subject: Subject, rounds: int) -> Iterator[Row]:
    """Yield decode (where there is one) and prefill: medians of the rounds."""
    setting = Setting(512, server=False)
    pairs: dict[str, list[tuple[float, float]]] = {"decode": [], "prefill": []}
    for _ in range(rounds):
        machine = measure_machine(engine, tuple(subject.types), SilentProgress())
        seen: list[Event] = []
        engine.run(job(path, subject, setting, 3), seen.append)
        found = seen[-1]
        speed = predict(
            subject,
            machine,
            past=found["prompt"] + 12,
            prompt=found["prompt"],
            cache_type=setting.cache_type,
        )
        for what, value in (("decode", speed.decode), ("prefill", speed.prefill)):
            if value is not None and found[what] is not None:
                pairs[what].append((value, found[what]))
    for what, found_pairs in pairs.items():
        if found_pairs:
            predicted, measured = zip(*found_pairs, strict=True)
            yield Row(
                subject.name,
                f"{what}, prompt of 256",
                statistics.median(predicted),
                statistics.median(measured),
                "tokens/s",
            )


def table(rows: list[Row]) -> str:
    """Return the rows as a Markdown table."""
    lines = ["| model | what | predicted | measured | error |", "|---|---|---|---|---|"]
    lines += [
        f"| {row.model} | {row.what} | {row.predicted:,.1f} {row.unit} | "
        f"{row.measured:,.1f} {row.unit} | {row.error:+.1f} % |"
        for row in rows
    ]
    return "\n".join(lines)


def main() -> int:
    """Measure and print; fails if memory is more than 10 % or speed more than 25 % off."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("files", nargs="+", type=Path)
    parser.add_argument("--python", type=Path, required=True)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--markdown", type=Path)
    options = parser.parse_args()
    engine = find_engine(options.python, options.threads)
    before = os.getloadavg()[0]
    rows: list[Row] = []
    for path in options.files:
        subject = from_header(path.stem, read_header(path), path.stat().st_size)
        for row in (
            *memory_rows(engine, path, subject),
            *speed_rows(engine, path, subject, options.rounds),
        ):
            rows.append(row)
            print(table([row]).splitlines()[-1], flush=True)
    text = (
        f"{table(rows)}\n\nllama-cpp-python {engine.version}, {engine.threads} thread(s), speed: "
        f"medians of {options.rounds} rounds; load of the machine {before:.1f} before and "
        f"{os.getloadavg()[0]:.1f} after.\n"
    )
    print(text)
    if options.markdown:
        options.markdown.write_text(text)
    limits = {"MB": 10, "tokens/s": 25}
    return int(any(abs(row.error) > limits[row.unit] for row in rows))


if __name__ == "__main__":
    sys.exit(main())
