"""``bastide verify``: prove that the site works, and write it down."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import click

from bastide.cli import isolation as proof
from bastide.cli.context import SiteContext, load_context, site_option
from bastide.cli.output import progress, reports, stdout
from bastide.cli.recording import recorded
from bastide.render.report import html
from bastide.run.interrupt import cancellable
from bastide.run.notes import note
from bastide.schema.expectations import Expectations
from bastide.schema.verification import Check, FirstAnswer, VerificationReport
from bastide.verify.access import open_access
from bastide.verify.runner import VerificationResult, point_latest, run

MARKS = {"passed": "[green]✓[/]", "failed": "[red]✗[/]", "skipped": "[dim]-[/]"}


Result = (
    VerificationResult | Expectations | proof.IsolationResult | proof.WatchBegun | proof.ReportCheck
)


def _view(result: Result) -> None:
    if isinstance(result, proof.IsolationResult | proof.WatchBegun | proof.ReportCheck):
        proof.view(result)
        return
    if isinstance(result, Expectations):
        click.echo(result.model_dump_json(indent=2))
        return
    report, console = result.report, stdout()
    for area, checks in report.areas().items():
        counts = _counts(checks)
        mark = MARKS["failed" if any(c.outcome == "failed" for c in checks) else "passed"]
        console.print(f"{mark} {area:<14} {counts:<24} {sum(c.seconds for c in checks):6.1f} s")
        for check in checks:
            if check.outcome == "failed":
                where = f" ({check.host})" if check.host else ""
                console.print(f"    {MARKS['failed']} ", end="")
                console.print(f"{check.title}{where}: {check.message}", markup=False)
    for figure in report.figures:
        console.print(f"  {figure.label}: {figure.value:.3g} {figure.unit}", markup=False)
    if report.first_answer:
        _print_first_answer(report.first_answer)
    console.print(_sum(report))
    console.print(f"Report: {result.html}", markup=False)


def _counts(checks: tuple[Check, ...]) -> str:
    kinds = {kind: sum(check.outcome == kind for check in checks) for kind in MARKS}
    return ", ".join(f"{count} {kind}" for kind, count in kinds.items() if count)


def _print_first_answer(first: FirstAnswer) -> None:
    timings = (
        f"embedding {first.embed_seconds:.2f} s, search {first.search_seconds:.3f} s, "
        f"first token {first.first_token_seconds:.2f} s, "
        f"whole answer {first.answer_seconds:.2f} s"
    )
    console = stdout()
    console.print()
    for label, text in (
        ("Question", first.question),
        ("Passage", f"{first.passage_id}, {first.passage_title}: {first.passage}"),
        ("Answer", first.answer),
        ("Timings", timings),
    ):
        console.print(f"[bold]{label}[/]  ", end="")
        console.print(text, markup=False)
    console.print()


def _sum(report: VerificationReport) -> str:
    counts = ", ".join(f"{report.count(k)} {k}" for k in ("passed", "failed", "skipped"))
    state = "[bold green]proved[/]" if report.good else "[bold red]not proved[/]"
    return f"Site {report.site}, {report.release}: {state}. {counts}, {report.seconds:.1f} s"


def _about(result: Result) -> dict[str, str]:
    if isinstance(result, proof.IsolationResult | proof.WatchBegun | proof.ReportCheck):
        return proof.about(result)
    if isinstance(result, Expectations):
        return {"expectations": "printed"}
    counts = {kind: str(result.report.count(kind)) for kind in ("passed", "failed", "skipped")}
    return {"release": result.report.release, **counts}


@click.command()
@site_option
@click.option(
    "--report",
    "report_dir",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder for the reports; by default a new one in the site's reports/.",
)
@click.option(
    "-k", "select", default="", metavar="EXPR", help="Run only checks that match, as in pytest."
)
@click.option(
    "--expectations",
    "only_expectations",
    is_flag=True,
    help="Print what the site must be and end: the input for your own runs of the suite.",
)
@proof.isolation_options
@reports(_view)
@recorded("verify", _about)
def command(  # noqa: PLR0913 - click's options
    site_dir: Path,
    report_dir: Path | None,
    select: str,
    *,
    only_expectations: bool,
    isolation: bool,
    start: bool,
    stop: bool,
    check_file: Path | None,
    seconds: float,
    around: tuple[str, ...],
) -> Result:
    """Prove that the site works; write a report.

    Logs in to every host and looks (units, ports, model files, secrets' modes), then uses the
    gateway as clients do: TLS, API keys, chat, streaming, embeddings, vectors. Last, it indexes a
    bundled handbook, asks 20 questions, checks that the right passage is found, and lets the
    model answer. Nothing on the hosts is changed, but that the monitoring host, if there is one,
    notes when it was and how it ended.

    Reports: a summary here, report.html for people, report.json and junit.xml for machines, in
    reports/<time>/ of the site; reports/latest leads to the newest. Exit code 7 if a check fails.

    The suite is plain pytest and testinfra: to run it in your own way, see its README.md.

    With --isolation, another proof: every host records which packets leave the site's networks,
    which tried to, and which names were asked for, each with its process; a packet that is sent
    on purpose shows that the recorders see. isolation.html and isolation.json, signed, go to
    reports/isolation-<time>/; exit code 7 unless there is none. See docs/isolation.md.
    """
    watch = proof.Watch(start, stop, seconds, around)
    if isolation:
        return _prove_isolation(site_dir, report_dir, watch, check_file)
    if watch.asked or check_file is not None:
        raise click.UsageError("--start, --stop, --check and a command are for --isolation")
    context = load_context(site_dir)
    return context.expected() if only_expectations else _run_suite(context, report_dir, select)


def _prove_isolation(
    site_dir: Path, report_dir: Path | None, watch: proof.Watch, check_file: Path | None
) -> Result:
    if watch.asked + (check_file is not None) > 1:
        raise click.UsageError("--start, --stop, --check and a command exclude one another")
    if check_file is not None:
        return proof.check(check_file)
    return proof.watch(site_dir, watch, report_dir)


def _run_suite(context: SiteContext, report_dir: Path | None, select: str) -> Result:
    expected = context.expected()
    access = open_access(context.site, context.folder, context.home)
    stamp = f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}"
    folder = report_dir or context.folder.reports / stamp
    with cancellable() as cancelled:
        result = run(
            expected,
            access,
            folder=folder,
            page=html,
            progress=progress(),
            select=select,
            cancelled=cancelled,
        )
    if report_dir is None:
        point_latest(folder)
    if not select and not note(context.site, context.folder.root, "verify", ok=result.report.good):
        progress().note("monitoring could not be told of this verify")
    return result
