"""``bastide verify --isolation``: what left the site, what tried to, and who it was."""

from __future__ import annotations

import shlex
import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import click

from bastide import __version__
from bastide.cli.output import progress, stdout
from bastide.errors import BastideError, Problem, VerifyError
from bastide.host import process
from bastide.host.files import write_atomic
from bastide.layout import Home, SiteFolder
from bastide.render.isolation_page import html
from bastide.run.ask import Line
from bastide.run.interrupt import cancellable
from bastide.run.watch import start_watch, stop_watch
from bastide.schema.isolation_report import IsolationReport
from bastide.schema.receipt import decode64, fingerprint
from bastide.site.config import load_site
from bastide.store.isolation import is_signed, sign_isolation
from bastide.store.receipt import receipt_key
from bastide.verify.isolation import statement, watched_host

NOT_ISOLATED = "BAS-7062"
NOT_AS_SIGNED = "BAS-7063"
SECONDS = 60.0


@dataclass(frozen=True)
class WatchBegun:
    """A watch that goes on until it is stopped.

    Args:
        hosts: Hosts that are watched.
    """

    hosts: tuple[str, ...]


@dataclass(frozen=True)
class ReportCheck:
    """A report whose signature fits.

    Args:
        report: The report.
        key: Fingerprint of the key that signed it, to compare with the site's.
    """

    report: IsolationReport
    key: str


@dataclass(frozen=True)
class IsolationResult:
    """What was seen, signed, and where it is written.

    Args:
        report: The signed report.
        html: The page for people.
        json: The report as JSON.
        command_failed: What the command that went on meanwhile failed with; empty if it did not.
    """

    report: IsolationReport
    html: Path
    json: Path
    command_failed: str = ""

    @property
    def error(self) -> BastideError | None:
        """The failure, if isolation is not proved."""
        faults = self.report.statement.faults
        if not faults and not self.command_failed:
            return None
        problems = [Problem(*fault.split(": ", 1)) for fault in faults]
        if self.command_failed:
            problems.append(Problem("command", self.command_failed))
        return VerifyError(
            f"the isolation of site {self.report.statement.site} is not proved",
            code=NOT_ISOLATED,
            hint=f"read {self.html}; docs/isolation.md says what may be behind each kind",
            problems=tuple(problems),
        )


@dataclass(frozen=True)
class Watch:
    """What was asked for.

    Args:
        start: Only begin.
        stop: Only end, and report.
        seconds: How long to watch, without a command.
        around: A command to run meanwhile; empty if none.
    """

    start: bool
    stop: bool
    seconds: float
    around: tuple[str, ...]

    @property
    def asked(self) -> int:
        """How many things were asked for that exclude one another."""
        return self.start + self.stop + bool(self.around)


def watch(site_dir: Path, wanted: Watch, report_dir: Path | None) -> IsolationResult | WatchBegun:
    """Watch the hosts of a site as asked for, and report.

    Only ``site.yaml`` is needed: hosts may have nothing of Bastide yet, or no more.

    Raises:
        VerifyError: A host cannot be watched, or was not.
    """
    site = load_site(site_dir)
    folder = SiteFolder((site_dir if site_dir.is_dir() else site_dir.parent).resolve())
    line = Line(site, folder.root)
    if not wanted.stop:
        start_watch(line)
    if wanted.start:
        return WatchBegun(tuple(site.hosts))
    failed = "" if wanted.stop else _until_its_end(line, wanted)
    records = stop_watch(line)
    said = statement(
        site,
        (watched_host(site, name, records[name]) for name in site.hosts),
        made=datetime.now(UTC).replace(microsecond=0),
        version=__version__,
        around=shlex.join(wanted.around),
    )
    report = sign_isolation(said, receipt_key(Home.default().receipt_key))
    return _write(report, report_dir or _new_folder(folder), failed)


def check(path: Path) -> ReportCheck:
    """Return a report whose signature fits.

    Raises:
        VerifyError: It is no report, or not as it was signed.
    """
    try:
        report = IsolationReport.model_validate_json(path.read_bytes())
        why = "" if is_signed(report) else "the signature does not fit"
    except (OSError, ValueError) as error:
        why = str(error).splitlines()[0]
    if why:
        raise VerifyError(
            f"{path} is not a report of isolation as a site signed it: {why}",
            code=NOT_AS_SIGNED,
            hint="ask the site for isolation.json again",
        )
    return ReportCheck(report, fingerprint(decode64(report.key)))


def _new_folder(folder: SiteFolder) -> Path:
    return folder.reports / f"isolation-{datetime.now(UTC):%Y%m%dT%H%M%SZ}"


def _until_its_end(line: Line, wanted: Watch) -> str:
    """Let the watch go on; return what failed meanwhile. No host is left watching."""
    with cancellable() as asked:
        try:
            failed = _meanwhile(wanted, asked)
        except BaseException:
            stop_watch(line)
            raise
    return failed or ("the watch was stopped on request before its end" if asked.is_set() else "")


def _meanwhile(wanted: Watch, asked: threading.Event) -> str:
    """Run the command, or let the time pass; return how the command failed."""
    with progress().task("watch all hosts", total=1, unit="steps") as task:
        if wanted.around:
            try:
                process.stream(wanted.around, lambda line: click.echo(line, err=True))
            except process.ProcessError as error:
                return str(error)
        else:
            asked.wait(wanted.seconds)
        task.advance(1)
    return ""


def _write(report: IsolationReport, folder: Path, failed: str) -> IsolationResult:
    folder.mkdir(parents=True, exist_ok=True)
    page, data = folder / "isolation.html", folder / "isolation.json"
    name = fingerprint(decode64(report.key))
    write_atomic(data, report.model_dump_json(indent=2).encode())
    write_atomic(page, html(report, key=name).encode())
    return IsolationResult(report, page, data, failed)


def view(result: IsolationResult | WatchBegun | ReportCheck) -> None:
    """Print a result for people."""
    console = stdout()
    if isinstance(result, ReportCheck):
        said = result.report.statement
        state = "proved" if said.good else f"not proved ({len(said.faults)} faults)"
        console.print(f"site {said.site}, {said.made:%Y-%m-%d %H:%M} UTC: {state}", markup=False)
        console.print(f"signed by {result.key}: compare it with the site's", markup=False)
        return
    if isinstance(result, WatchBegun):
        console.print(f"watching {', '.join(result.hosts)}", markup=False)
        console.print("End it, and report, with: bastide verify --isolation --stop", markup=False)
        return
    said = result.report.statement
    for host in said.hosts:
        bad = any(fault.startswith(f"{host.host}: ") for fault in said.faults)
        mark = "[red]✗[/]" if bad else "[green]✓[/]"
        counts = ", ".join(
            f"{host.count(verdict)} {words}"
            for verdict, words in (
                ("left", "packets left the site"),
                ("attempt", "were stopped"),
                ("lookup", "name lookups"),
            )
        )
        console.print(f"{mark} {host.host:<14} {counts}; {host.until - host.since:.0f} s")
    state = "[bold green]proved[/]" if said.good else "[bold red]not proved[/]"
    console.print(f"Isolation of site {said.site}: {state}")
    console.print(f"Report: {result.html}", markup=False)


def about(result: IsolationResult | WatchBegun | ReportCheck) -> dict[str, str]:
    """Return what the ledger says of it."""
    if isinstance(result, ReportCheck):
        return {"isolation": "a report's signature was checked"}
    if isinstance(result, WatchBegun):
        return {"isolation": "watching"}
    said = result.report.statement
    counts = {verdict: str(said.count(verdict)) for verdict in ("left", "attempt", "lookup")}
    return {"isolation": "proved" if said.good else "not proved", **counts}


def isolation_options(command: Callable[..., object]) -> Callable[..., object]:
    """Add the options of the proof of isolation to ``verify``."""
    for add in (
        click.argument("around", nargs=-1, type=click.UNPROCESSED, metavar="[-- COMMAND…]"),
        click.option("--seconds", type=click.FloatRange(1), default=SECONDS, show_default=True,
                     help="With --isolation: how long to watch."),
        click.option("--stop", is_flag=True, help="With --isolation: end the watch; report."),
        click.option("--check", "check_file", metavar="FILE",
                     type=click.Path(path_type=Path, dir_okay=False),
                     help="With --isolation: check the signature of an isolation.json."),
        click.option("--start", is_flag=True, help="With --isolation: only begin to watch."),
        click.option("--isolation", is_flag=True,
                     help="Watch all hosts for packets that leave the site, and for name lookups, "
                     "for a time or while COMMAND runs; sign a report."),
    ):  # fmt: skip
        command = add(command)
    return command
