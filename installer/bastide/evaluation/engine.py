"""Starts the engine's own Python on a job and hands over what it tells."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bastide.errors import ConfigError, VerifyError
from bastide.host.process import ProcessError, run, stream

NO_ENGINE = "BAS-2055"
ENGINE_FAILED = "BAS-7020"
WORKER = Path(__file__).with_name("worker.py")
MARK = "@bastide "
PYTHON_VARIABLE = "BASTIDE_ENGINE_PYTHON"
CHECK = "import llama_cpp, sys; sys.stdout.write(llama_cpp.__version__)"

Event = Mapping[str, Any]


@dataclass(frozen=True)
class Engine:
    """A Python that has llama-cpp-python.

    Args:
        python: Its path.
        version: The engine's version.
        threads: Threads that it may use.
    """

    python: Path
    version: str
    threads: int

    def run(self, job: Mapping[str, Any], on_event: Callable[[Event], None]) -> None:
        """Do a job of `worker` in a process of its own; hand over each event as it comes.

        Raises:
            VerifyError: The engine could not do it; the message has its reason.
        """
        problems: list[str] = []

        def line(text: str) -> None:
            if text.startswith(MARK):
                event = json.loads(text.removeprefix(MARK))
                if event["event"] == "failed":
                    problems.append(event["what"])
                else:
                    on_event(event)

        with tempfile.TemporaryDirectory(prefix="bastide-engine-") as folder:
            file = Path(folder) / "job.json"
            file.write_text(json.dumps({**job, "threads": self.threads}))
            # Waiting threads sleep, as in a site's units; nothing is fetched.
            quiet = {"OMP_NUM_THREADS": str(self.threads), "OMP_WAIT_POLICY": "PASSIVE"}
            try:
                stream([str(self.python), "-I", "-B", str(WORKER), str(file)], line, env=quiet)
            except ProcessError as error:
                what = problems[0] if problems else _last_words(str(error))
                raise VerifyError(
                    f"{job.get('model', 'the engine')}: {what}",
                    code=ENGINE_FAILED,
                    hint="check that it is a GGUF file that this engine's version knows, and that "
                    "there is enough memory (`bastide models fit`)",
                ) from error


def _last_words(text: str) -> str:
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith(MARK)]
    return "; ".join(lines[-2:]) or "the engine ended without a word"


def find_engine(python: Path | None, threads: int | None) -> Engine:
    """Return the engine of ``python``, or of ``$BASTIDE_ENGINE_PYTHON``.

    Args:
        python: A Python with llama-cpp-python; none: the environment's.
        threads: Threads that it may use; none: one for each CPU.

    Raises:
        ConfigError: There is none, or it has no engine.
    """
    named = os.environ.get(PYTHON_VARIABLE)
    chosen = python or (Path(named) if named else None)
    if chosen is None:
        raise ConfigError(
            "no engine is named: models run in a Python of their own that has llama-cpp-python",
            code=NO_ENGINE,
            hint=f"give --python PATH or ${PYTHON_VARIABLE}; docs/evaluation.md says how to make "
            "one from a bundle's wheels",
        )
    try:
        done = run([str(chosen), "-I", "-B", "-c", CHECK], check=False, timeout=60)
    except (ProcessError, OSError) as error:
        raise ConfigError(
            f"{chosen} cannot be run", code=NO_ENGINE, hint="give the path of a Python"
        ) from error
    if done.returncode:
        raise ConfigError(
            f"{chosen} has no llama-cpp-python: {(done.stderr.strip().splitlines() or [''])[-1]}",
            code=NO_ENGINE,
            hint="install the bundle's wheel into it; docs/evaluation.md says how",
        )
    return Engine(chosen, done.stdout.strip(), threads or len(os.sched_getaffinity(0)))
