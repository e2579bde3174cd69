"""``bastide evaluate``: golden questions to what a host runs now, judged as in an upgrade."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import click

from bastide import __version__, resources
from bastide.cli.context import SiteContext, load_context, site_option
from bastide.cli.evaluation_view import print_evaluation
from bastide.cli.output import progress, reports, stdout
from bastide.cli.recording import recorded
from bastide.errors import BastideError, ConfigError, Problem, VerifyError
from bastide.evaluation.gate import LABELS
from bastide.evaluation.suites import LoadedSuite, find_suite, load_suite, read_suite
from bastide.host.files import write_atomic
from bastide.render.evaluation_page import html
from bastide.run.ask import Line, ask
from bastide.run.evaluate import Gated, KeptScores, gate_host
from bastide.run.facts import facts_of
from bastide.run.interrupt import cancellable
from bastide.schema.facts import HostFacts
from bastide.schema.release import EvaluationGate
from bastide.schema.scores import GateVerdict, GenerationScores
from bastide.schema.site import Group, Site

NOT_TO_EVALUATE = "BAS-2085"
NOT_GOOD_ENOUGH = "BAS-7034"
DEFAULT_SUITE = "handbook"
UNREACHABLE = "BAS-7032"


@dataclass(frozen=True)
class EvaluationResult:
    """What a host's generation answered, judged.

    Args:
        verdict: What the gate says.
        new: The scores of now.
        old: Those of the generation that it was compared with.
        looks: How often the host was asked: once more before a no.
        page: The report for people.
    """

    verdict: GateVerdict
    new: GenerationScores
    old: GenerationScores | None
    looks: int
    page: Path

    @property
    def error(self) -> BastideError | None:
        """The failure, if the gate is not passed."""
        if self.verdict.passed:
            return None
        return VerifyError(
            f"generation {self.new.generation} on {self.new.host} does not pass the evaluation "
            f"gate of suite {self.new.suite}",
            code=NOT_GOOD_ENOUGH,
            hint=f"read {self.page}",
            problems=tuple(
                Problem(LABELS[each.measure], each.words) for each in self.verdict.failed
            ),
        )


def _view(result: EvaluationResult) -> None:
    print_evaluation(stdout(), result.verdict, result.new, result.old)
    if result.looks > 1:
        stdout().print(f"asked {result.looks} times; all answers count together")
    stdout().print(f"Report: {result.page}", markup=False)


def _about(result: EvaluationResult) -> dict[str, str]:
    return {
        "host": result.new.host,
        "generation": str(result.new.generation),
        "suite": result.new.suite,
        "passed": "yes" if result.verdict.passed else "no",
    }


@click.command()
@site_option
@click.option("--host", help="Host to ask; the site's canary, or one with the models.")
@click.option("--suite", metavar="NAME|FILE",
              help="Another suite than the release's; the release's floors do not "
              "count then.")  # fmt: skip
@click.option("--against", type=click.IntRange(1), metavar="GENERATION",
              help="Compare with this earlier generation of the host, which was evaluated while "
              "it ran.")  # fmt: skip
@reports(_view)
@recorded("evaluate", _about)
def command(
    site_dir: Path, host: str | None, suite: str | None, against: int | None
) -> EvaluationResult:
    """Ask what a host runs now the release's golden questions, and judge the answers.

    Questions go to the host's own model servers, past the gateway: answers, refusals, passages
    found, tokens a second and the wait for the first token. The result is kept in the site's
    evaluations/, so that a later generation can be compared with it (--against), as an upgrade
    does by itself. Nothing on the host is changed.

    A report goes to reports/ of the site. Exit code 7 if a floor of the release is not reached,
    or more was lost than it allows.
    """
    context = load_context(site_dir)
    gate, loaded = golden_questions(context, suite)
    line = Line(context.site, context.folder.root)
    kept = KeptScores(context.folder.evaluations)
    name = _host(context.site, host)
    old = _old(line, name, against, loaded, kept) if against is not None else None
    with progress().task(f"evaluate {name}", total=1, unit="steps") as task, cancellable() as ended:
        gated = gate_host(line, name, loaded, gate, old, ended)
        task.advance(1)
    kept.keep(gated.scores)
    return _report(context, gated, old)


def golden_questions(context: SiteContext, suite: str | None) -> tuple[EvaluationGate, LoadedSuite]:
    """Return the release's gate and questions, as its bundle carries them.

    Args:
        context: The site.
        suite: Other questions, by name or file; no floors count for them.
    """
    gate = context.release.upgrade.evaluation
    if suite is None and gate is not None:
        return gate, read_suite(context.store, context.bundle, gate.suite)
    gate = gate or EvaluationGate(suite=DEFAULT_SUITE)
    loaded = load_suite(find_suite(suite or gate.suite, resources.catalogue() / "suites"))
    if suite is not None and loaded.suite.name != gate.suite:
        gate = EvaluationGate(suite=loaded.suite.name)
    return gate, loaded


def _host(site: Site, named: str | None) -> str:
    """Return the host to ask: the one named, the canary, or the one that serves most models."""
    models = {Group.LLM, Group.EMBEDDINGS}
    serving = {name: models & set(host.groups) for name, host in site.hosts.items()}
    chosen = named or site.upgrades.canary
    if chosen is None:
        chosen = max(serving, key=lambda name: (len(serving[name]), Group.LLM in serving[name]))
    if not serving.get(chosen):
        having = ", ".join(name for name, groups in serving.items() if groups)
        what = "serves no model" if chosen in site.hosts else "is no host of this site"
        raise ConfigError(
            f"{chosen} {what}, so it cannot be evaluated",
            code=NOT_TO_EVALUATE,
            hint=f"give --host one of: {having}",
        )
    return chosen


def _old(
    line: Line, host: str, number: int, loaded: LoadedSuite, kept: KeptScores
) -> GenerationScores:
    facts = facts_of(ask(line, "facts", {host: {}})[host])
    if not isinstance(facts, HostFacts):
        raise VerifyError(
            f"{host} could not be asked: {facts.reason}",
            code=UNREACHABLE,
            hint="`bastide status` shows whether the host can be reached and its services run",
        )
    content = facts.generations.get(number)
    if content is None:
        there = ", ".join(map(str, sorted(facts.generations))) or "none"
        raise ConfigError(
            f"{host} has no generation {number}; it has: {there}",
            code=NOT_TO_EVALUATE,
            hint="`bastide status` shows the generations of each host",
        )
    found = kept.find(host, content, loaded.digest)
    if found is None:
        raise ConfigError(
            f"generation {number} of {host} was never asked suite {loaded.suite.name} as it is now",
            code=NOT_TO_EVALUATE,
            hint="a generation can only be evaluated while it is the live one",
        )
    return found


def _report(context: SiteContext, gated: Gated, old: GenerationScores | None) -> EvaluationResult:
    now = datetime.now(UTC)
    folder = context.folder.reports / f"evaluation-{now:%Y%m%dT%H%M%SZ}"
    made = f"Made by bastide {__version__} on {now:%Y-%m-%d %H:%M} UTC."
    page = folder / "evaluation.html"
    result = EvaluationResult(gated.verdict, gated.scores, old, gated.looks, page)
    write_report(result, made)
    return result


def write_report(result: EvaluationResult, made: str) -> None:
    """Write the page and, beside it, the same as data.

    Args:
        result: What was found.
        made: When and with what, in words.
    """
    folder = result.page.parent
    folder.mkdir(parents=True, exist_ok=True)
    text = html(result.verdict, result.new, result.old, made=made)
    write_atomic(result.page, text.encode())
    for name, value in (("evaluation", result.verdict), ("new", result.new), ("old", result.old)):
        if value is not None:
            write_atomic(folder / f"{name}.json", value.model_dump_json(indent=2).encode())
