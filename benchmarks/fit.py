"""Predicted against measured: resident memory and speed of models on this machine.

    python benchmarks/fit.py --python ENGINE_PYTHON FILE.gguf … [--server llama_server.py]

ENGINE_PYTHON has llama-cpp-python (docs/evaluation.md says how to make one). For each file:

memory   a process is started for each context x parallel of the grid, as a site's server would set
         it; every sequence is filled to the end; its resident memory (Rss of smaps_rollup, shared
         pages of the mapped file counted) stands beside what `bastide models fit` predicts.
speed    several rounds; in each, the machine's kernels are timed and then, at once, a prompt and
         single tokens of the model, so that both see the same load of the machine. Medians of the
         rounds. With one thread its CPU time is counted, which other programs do not lengthen.
server   (with --server FILE, the engine's HTTP server as a bundle carries it) resident memory of
         the real server with a site's settings, after twice as many requests as it takes at once.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
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


def server_row(engine: Engine, server: Path, path: Path, subject: Subject) -> Row:
    """Return the real server's memory after a few requests beside the prediction."""
    setting = Setting(512, 4, unified=not subject.embedding)
    model = {
        "path": str(path.resolve()), "alias": "m", "n_ctx": setting.tokens, "n_seq_max": 4,
        "n_batch": 512, "n_ubatch": 512, "n_gpu_layers": 0, "use_mmap": True, "use_mlock": False,
        "kv_unified": setting.unified, "threads": engine.threads, "threads_batch": engine.threads,
    }  # fmt: skip
    model |= {"embedding": True, "store_logits": False} if subject.embedding else {}
    where = "import llama_cpp, pathlib; print(pathlib.Path(llama_cpp.__file__).parent / 'lib')"
    with tempfile.TemporaryDirectory() as folder, socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
        free.close()
        config = Path(folder) / "server.json"
        config.write_text(
            json.dumps({"server": {"host": "127.0.0.1", "port": port}, "model": model})
        )
        lib = subprocess.run(
            [engine.python, "-c", where], capture_output=True, text=True, check=True
        ).stdout.strip()
        process = subprocess.Popen(
            [engine.python.absolute(), "-I", server.resolve(), "-C", config],
            cwd=lib, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        try:
            base = f"http://127.0.0.1:{port}"
            wait(f"{base}/healthz")
            for _ in range(2):
                with ThreadPoolExecutor(4) as pool:
                    list(pool.map(lambda number: ask(base, subject, number), range(4)))
            measured = resident_of(process.pid)
        finally:
            process.terminate()
            process.wait(20)
    predicted = resident(cpu_parts(subject, setting))
    return Row(subject.name, "the server, 512 x 4", predicted / 1e6, measured / 1e6, "MB")


def ask(base: str, subject: Subject, number: int) -> None:
    """Send one request of about 350 tokens."""
    words = " ".join(f"word{number * 37 + index}" for index in range(90))
    body = {"model": "m", "prompt": words, "max_tokens": 24, "temperature": 0}
    if subject.embedding:
        body = {"model": "m", "input": [words] * 4}
    url = f"{base}/v1/{'embeddings' if subject.embedding else 'completions'}"
    header = {"Content-Type": "application/json"}
    request = urllib.request.Request(url, json.dumps(body).encode(), header)  # noqa: S310
    urllib.request.urlopen(request, timeout=300).read()  # noqa: S310 - loopback


def wait(url: str) -> None:
    """Return once a server answers; it has two minutes."""
    until = time.monotonic() + 120
    while True:
        try:
            urllib.request.urlopen(url, timeout=2).read()  # noqa: S310 - loopback
        except OSError:
            if time.monotonic() > until:
                raise
            time.sleep(0.5)
        else:
            return


def resident_of(process: int) -> int:
    """Return the resident memory of a process in bytes."""
    lines = Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("Rss:")).split()[1]) * 1024


def table(rows: list[Row]) -> str:
    """Return the rows as a Markdown table."""
    lines = ["| model | what | predicted | measured | error |", "|---|---|---|---|---|"]
    lines += [
        f"| {row.model} | {row.what} | {row.predicted:,.1f} {row.unit} | "
        f"{row.measured:,.1f} {row.unit} | {row.error:+.1f} % |"
        for row in rows
    ]
    return "\n".join(lines)


def rows_of(
    engine: Engine, path: Path, subject: Subject, options: argparse.Namespace
) -> Iterator[Row]:
    """Yield all that was asked for of one model."""
    if "memory" in options.only:
        yield from memory_rows(engine, path, subject)
    if "speed" in options.only:
        yield from speed_rows(engine, path, subject, options.rounds)
    if options.server:
        yield server_row(engine, options.server, path, subject)


def main() -> int:
    """Measure and print; fails if memory is more than 10 % or speed more than 25 % off."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("files", nargs="+", type=Path)
    parser.add_argument("--python", type=Path, required=True)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--server", type=Path, help="llama_server.py of a bundle")
    parser.add_argument("--only", nargs="*", default=["memory", "speed"])
    parser.add_argument("--markdown", type=Path)
    options = parser.parse_args()
    engine = find_engine(options.python, options.threads)
    before = os.getloadavg()[0]
    rows: list[Row] = []
    for path in options.files:
        subject = from_header(path.stem, read_header(path), path.stat().st_size)
        for row in rows_of(engine, path, subject, options):
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
