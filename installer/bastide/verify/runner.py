"""Runs the suite in a process of its own and writes its reports."""

from __future__ import annotations

import os
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from bastide import resources
from bastide.errors import BastideError, ConfigError, Problem, VerifyError
from bastide.host import process
from bastide.host.files import write_atomic
from bastide.progress import Progress
from bastide.schema.expectations import Expectations
from bastide.schema.verification import VerificationReport
from bastide.verify import results
from bastide.verify.access import Access

CHECKS_FAILED = "BAS-7001"
SUITE_BROKEN = "BAS-7002"
STOPPED = "BAS-7004"
NOTHING_SELECTED = "BAS-2071"

TIMEOUT = 1800.0  # s after which the whole run is ended
GRACE = 10.0  # s in which a suite that was asked to end may clear away what it made
LOOK = 0.2  # s between two looks at the file of results
KEPT = ("report.html", "report.json", "junit.xml", "expectations.json", "pytest.log")

# pytest's own exit codes
ALL_PASSED, SOME_FAILED, NONE_COLLECTED = 0, 1, 5


@dataclass(frozen=True)
class VerificationResult:
    """What a run found and where it wrote that down.

    Args:
        report: Everything that was found.
        folder: The folder of reports.
        html: The page for people.
        json: The report as JSON.
        junit: The report as JUnit XML.
    """

    report: VerificationReport
    folder: Path
    html: Path
    json: Path
    junit: Path

    @property
    def error(self) -> BastideError | None:
        """The failure, if a check failed."""
        failed = self.report.failed
        if not failed:
            return None
        count = "1 check failed" if len(failed) == 1 else f"{len(failed)} checks failed"
        return VerifyError(
            f"site {self.report.site} is not as it should be: {count} of {len(self.report.checks)}",
            code=CHECKS_FAILED,
            hint=f"read {self.html}; after a repair run `bastide verify` again",
            problems=tuple(
                Problem(check.host or check.area, f"{check.title}: {check.message}")
                for check in failed
            ),
        )


def run(  # noqa: PLR0913 - all but two have their names at the call
    expected: Expectations,
    access: Access,
    *,
    folder: Path,
    page: Callable[[VerificationReport], str],
    progress: Progress,
    select: str = "",
    marks: str = "",
    cancelled: threading.Event | None = None,
) -> VerificationResult:
    """Check the site and write the reports.

    Args:
        expected: What the site must be.
        access: How to reach it.
        folder: Where to write the reports; made if need be.
        page: Makes the HTML page.
        progress: Told about each check.
        select: pytest's ``-k`` expression; empty means all checks.
        marks: pytest's ``-m`` expression; empty means all checks.
        cancelled: Once it is set, the suite clears away what it made, and ends.

    Returns:
        The result; its ``error`` is set if a check failed.

    Raises:
        ConfigError: No check matches ``select``.
        VerifyError: The suite itself could not run, or somebody asked for the end.
    """
    asked = cancelled or threading.Event()
    started, clock = datetime.now(UTC), time.monotonic()
    folder.mkdir(parents=True, exist_ok=True)
    with _workplace(expected, access) as place:
        try:
            done = _pytest(place, access, (select, marks), progress, asked)
        except process.ProcessError:
            _refuse_stopped(asked, place)
            raise
        lines = _lines(place / "results.jsonl")
        _refuse_stopped(asked, place)
        _keep(place / "junit.xml", folder / "junit.xml", access)
    log = _redacted((done.stdout + done.stderr).encode(), access)
    write_atomic(folder / "pytest.log", log)
    _refuse_broken(done.returncode, log.decode(errors="replace"), select, folder)
    report = results.read(
        [_redacted(line.encode(), access).decode() for line in lines],
        expected,
        started=started.isoformat(timespec="seconds"),
        seconds=round(time.monotonic() - clock, 2),
    )
    write_atomic(folder / "expectations.json", expected.model_dump_json(indent=2).encode())
    write_atomic(folder / "report.json", report.model_dump_json(indent=2).encode())
    write_atomic(folder / "report.html", page(report).encode())
    paths = (folder / name for name in KEPT[:3])
    return VerificationResult(report, folder, *paths)


def point_latest(folder: Path) -> None:
    """Make ``latest`` beside ``folder`` lead to it, in one step."""
    temporary = folder.parent / f".latest.{folder.name}"
    with suppress(FileNotFoundError):
        temporary.unlink()
    temporary.symlink_to(folder.name)
    temporary.replace(folder.parent / "latest")


@contextmanager
def _workplace(expected: Expectations, access: Access) -> Iterator[Path]:
    """Make the run's private folder: keys, ssh's configuration and its sockets."""
    with tempfile.TemporaryDirectory(prefix="bastide-verify-") as name:
        place = Path(name)
        sockets = f'Host *\n  ControlPath "{place}/%C"\n'
        for file, text in (
            ("expectations.json", expected.model_dump_json()),
            ("ssh_config", access.ssh_config + sockets),
            ("api_key", access.api_key),
            ("read_only_api_key", access.read_only_api_key),
            ("pass", access.pass_),
        ):
            write_atomic(place / file, text.encode(), mode=0o600)
        try:
            yield place
        finally:
            for host in access.hosts:  # else ssh's masters would stay for a minute
                argv = ["ssh", "-F", str(place / "ssh_config"), "-O", "exit", host]
                with suppress(BastideError):
                    process.run(argv, check=False, timeout=5)


def _refuse_stopped(asked: threading.Event, place: Path) -> None:
    if asked.is_set():
        checks = len(_lines(place / "results.jsonl")[1:])
        raise VerifyError(
            f"the verification was stopped on request after {checks} checks: nothing is proved",
            code=STOPPED,
            hint="run it again",
        )


def _pytest(
    place: Path,
    access: Access,
    chosen: tuple[str, str],
    progress: Progress,
    asked: threading.Event,
) -> process.Completed:
    suite = resources.verification_suite()
    argv = [sys.executable, "-m", "pytest", "-c", str(suite / "pytest.ini")]
    argv += ["--rootdir", str(suite), "-p", "testinfra.plugin", "-p", "bastide.verify.plugin"]
    argv += ["--tb=short", "--no-header", "--durations=5", "-k", chosen[0], "-m", chosen[1]]
    argv += ["--hosts", ",".join(f"ssh://{name}" for name in access.hosts)]
    argv += ["--ssh-config", str(place / "ssh_config"), *(["--sudo"] if access.sudo else [])]
    argv += ["--bastide-expectations", str(place / "expectations.json")]
    argv += ["--bastide-results", str(place / "results.jsonl")]
    argv += [f"--junitxml={place / 'junit.xml'}", str(suite)]
    environment = {
        "BASTIDE_API_KEY_FILE": str(place / "api_key"),
        "BASTIDE_READ_ONLY_API_KEY_FILE": str(place / "read_only_api_key"),
        **({"BASTIDE_PASS_FILE": str(place / "pass")} if access.pass_ else {}),
        "PYTEST_ADDOPTS": "",
        "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",  # only what the suite needs; faster, too
        "PYTHONDONTWRITEBYTECODE": "1",  # the suite may lie in a read-only installation
        "NO_PROXY": "*",
        "NO_COLOR": "1",
    }
    wishes = process.Wishes(stop=asked, kill=threading.Event(), grace=GRACE)
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(
            process.supervise, argv, wishes, cwd=place, env=environment, timeout=TIMEOUT
        )
        try:
            _follow(place / "results.jsonl", running, progress)
            return running.result()
        except BaseException:
            wishes.kill.set()  # else the end of the block would wait for the suite's own end
            raise


def _follow(path: Path, running: Future[process.Completed], progress: Progress) -> None:
    """Tell ``progress`` about each check as its line appears in the file of results."""
    while not running.done() and not _lines(path):
        time.sleep(LOOK)
    lines = _lines(path)
    if not lines:
        return
    total = int(results.event(lines[0]).get("count", 0))
    told = 0
    with progress.task("verify", total=total, unit="steps") as task:
        while True:
            ended = running.done()
            checks = _lines(path)[1:]
            for line in checks[told:]:
                check = results.event(line)
                task.describe(f"{check.get('area', '')}: {check.get('title', '')}")
                task.advance(1)
            told = len(checks)
            if ended:
                return
            time.sleep(LOOK)


def _lines(path: Path) -> list[str]:
    """Return the complete lines of a file that may still be growing."""
    try:
        text = path.read_text("utf-8")
    except FileNotFoundError:
        return []
    return text[: text.rfind("\n") + 1].splitlines()


def _keep(source: Path, destination: Path, access: Access) -> None:
    if source.exists():
        write_atomic(destination, _redacted(source.read_bytes(), access))


def _redacted(content: bytes, access: Access) -> bytes:
    """Return ``content`` without API keys, should one ever have come into a message."""
    for key in filter(None, (access.api_key, access.read_only_api_key, access.pass_)):
        content = content.replace(key.encode(), b"[API key]")
    return content


def _refuse_broken(returncode: int, log: str, select: str, folder: Path) -> None:
    if returncode in (ALL_PASSED, SOME_FAILED):
        return
    if returncode == NONE_COLLECTED:
        raise ConfigError(
            f"no check matches -k {select!r}",
            code=NOTHING_SELECTED,
            hint="`bastide verify` without -k runs all; report.html shows every check's id",
        )
    tail = os.linesep.join(log.strip().splitlines()[-12:])
    raise VerifyError(
        f"the verification suite could not run (pytest ended with {returncode}):\n{tail}",
        code=SUITE_BROKEN,
        hint=f"the whole output is in {folder / 'pytest.log'}",
    )
