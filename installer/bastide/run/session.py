"""The parts of one run, from its fresh folder to its summary; ``apply`` puts them in order."""

from __future__ import annotations

import contextlib
import secrets
import threading
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from bastide.errors import PreflightError
from bastide.host.files import write_atomic
from bastide.layout import Home, RunFolder, SiteFolder
from bastide.plan.inputs import PlanInputs
from bastide.plan.planner import is_stale, make_plan
from bastide.plan.preflight import PreflightInputs, require_fit
from bastide.plan.stage import stage_description
from bastide.progress import SilentProgress
from bastide.render import run_directory
from bastide.run import journal as journals
from bastide.run.credentials import Credentials, open_credentials
from bastide.run.depot import Depot
from bastide.run.events import Event, PhaseStarted
from bastide.run.facts import CANCELLED, gather_into
from bastide.run.follow import Follower, RunObserver
from bastide.run.interrupt import cancellable
from bastide.run.runner import (
    ANSIBLE_CONFIG,
    Job,
    Outcome,
    forks_for,
    run_playbook,
    ssh_sockets,
)
from bastide.run.state import RunState
from bastide.run.summary import ApplyResult, error_of, host_results
from bastide.run.wanted import Wanted
from bastide.schema.facts import SiteFacts
from bastide.schema.plan import Plan

STALE = "BAS-5065"
STORE_LACKS = "BAS-5064"
INSTALL = "install.yml"
PREFLIGHT = "preflight"


@dataclass(frozen=True)
class Order:
    """What is to be applied, and where.

    Args:
        folder: The site's folder.
        home: The control node's own state.
        wanted: What the site should be.
        plan: The plan that the operator has seen.
    """

    folder: SiteFolder
    home: Home
    wanted: Wanted
    plan: Plan


class Session:
    """One run under way.

    Args:
        order: What is to be applied.
        folder: The run's own, fresh folder.
        journal: Its journal.
        follower: Its timeline.
        sockets: Folder of SSH's shared connections.
        cancelled: Set when somebody asks for the end.
    """

    def __init__(
        self,
        order: Order,
        folder: RunFolder,
        journal: journals.Journal,
        follower: Follower,
        sockets: Path,
        cancelled: threading.Event,
    ) -> None:
        self.order = order
        self.folder = folder
        self.journal = journal
        self.follower = follower
        self.cancelled = cancelled
        self.notes: list[str] = []
        self._sockets = sockets
        self._phase = ""
        self._opened: Future[Credentials] | None = None
        self._served: set[str] = set()

    # --- the parts, in the order in which `apply` calls them ---------------------------------
    def ask_hosts(self) -> SiteFacts:
        """Ask every host what it is, read-only; meanwhile open the secrets."""
        order = self.order
        self._enter(PREFLIGHT)
        self.follower.phase("(0/5) PREFLIGHT: ask hosts, compare with the plan")
        with ThreadPoolExecutor(1, "secrets") as pool:
            site, folder, home = order.wanted.site, order.folder, order.home
            self._opened = pool.submit(open_credentials, site, folder, home)
            return gather_into(
                self.folder, site, folder, self._sockets, SilentProgress(), self.cancelled
            )

    def require_current(self, facts: SiteFacts) -> PlanInputs:
        """Return the plan's inputs as they are now.

        Raises:
            PreflightError: A host is not fit, the inputs are no longer those that the plan was
                made from, or somebody asked for the end.
        """
        wanted = self.order.wanted
        inputs = wanted.plan_inputs(facts, self.order.plan.created)
        require_fit(PreflightInputs(inputs, wanted.target, wanted.cards, int(time.time())))
        if self.cancelled.is_set():
            raise PreflightError("stopped on request; nothing was changed", code=CANCELLED)
        reasons = is_stale(self.order.plan, make_plan(inputs))
        if reasons:
            raise PreflightError(
                "the plan is stale, nothing was changed: " + "; ".join(reasons),
                code=STALE,
                hint="run `bastide plan` and look at the new plan, then `bastide apply`",
            )
        return inputs

    def write_folder(self, inputs: PlanInputs) -> None:
        """Write inventory, stage descriptions, trees and sealed secrets into the run's folder."""
        opened = self._credentials
        self.notes += opened.notes
        plan = self.order.plan
        stages = {each.host: stage_description(each, inputs) for each in plan.hosts}
        self._served = {blob["sha256"] for stage in stages.values() for blob in stage["blobs"]}
        run_directory.write(
            self.folder,
            run_directory.RunContents(
                site=self.order.wanted.site,
                site_root=self.order.folder.root,
                plan=plan,
                stages=stages,
                trees=self.order.wanted.trees,
                sealed_secrets=opened.sealed,
                ansible_config=ANSIBLE_CONFIG,
            ),
        )
        self._leave(journals.DONE)
        self.follower.end_phase()

    def depot(self) -> Depot:
        """Return the depot with everything that the plan's hosts may pull.

        Raises:
            PreflightError: It cannot listen, or the store lacks an artifact.
        """
        wanted, credentials = self.order.wanted, self._credentials
        network = wanted.site.network
        trees = {tree.sha256: self.folder.tree(name) for name, tree in wanted.trees.items()}
        known = {**wanted.blobs, **trees}
        lost = sorted(digest for digest in self._served if digest not in known)
        if lost:
            raise PreflightError(
                f"the store lacks {len(lost)} artifacts that hosts need, such as {lost[0]};"
                " nothing was changed",
                code=STORE_LACKS,
                hint="run `bastide import` again with the bundle",
            )
        blobs = {digest: known[digest] for digest in self._served}
        where = (str(network.control_address), network.depot_port)
        return Depot(where, credentials.depot, credentials.token, blobs)

    def carry_out(self, depot: Depot) -> Outcome:
        """Run the playbook while hosts pull from ``depot``; return how it ended."""
        names = {str(host.address): n for n, host in self.order.wanted.site.hosts.items()}

        def pulled() -> Mapping[str, int]:
            found = depot.traffic.by_address()
            return {names[address]: size for address, size in found.items() if address in names}

        self.follower.watch(pulled)
        hosts = self.order.wanted.site.hosts
        vault_password = self._credentials.password_file
        job = Job(self.folder, INSTALL, forks_for(hosts), self._sockets, vault_password)
        with self.follower.ticking():
            outcome = run_playbook(job, self._take, self.cancelled)
        ending = journals.DONE if outcome.succeeded else journals.FAILED
        self._leave(journals.CANCELLED if outcome.cancelled else ending)
        self.follower.end_phase()
        return outcome

    def conclude(self, outcome: Outcome) -> ApplyResult:
        """Write journal and summary; return the result."""
        state = self.follower.state
        error = error_of(state, outcome, self.folder.log)
        result = ApplyResult(
            run=self.folder.id,
            release=self.order.plan.release,
            generations={h.host: h.generation_after for h in self.order.plan.hosts},
            hosts=host_results(state, outcome),
            seconds={k: round(v, 2) for k, v in state.seconds_by_phase().items()},
            elapsed=round(self.follower.elapsed, 2),
            directory=self.folder.root,
            log=self.folder.log,
            notes=tuple(self.notes),
            error=error,
        )
        ending = journals.CANCELLED if outcome.cancelled else journals.FAILED
        self.journal.conclude(
            journals.RUN, ending if error else journals.DONE, changed=result.changed
        )
        self.follower.note(f"run {self.folder.id} {'failed' if error else 'done'}")
        return result

    # --- inside ------------------------------------------------------------------------------
    @property
    def _credentials(self) -> Credentials:
        if self._opened is None:
            raise RuntimeError("the secrets are opened by ask_hosts")
        return self._opened.result()

    def _take(self, event: Event) -> None:
        if isinstance(event, PhaseStarted):
            self._leave(journals.DONE)
            self._enter(event.name)
        self.follower.event(event)

    def _enter(self, phase: str) -> None:
        self._phase = phase
        self.journal.intend(phase)

    def _leave(self, outcome: str) -> None:
        if self._phase:
            self.journal.conclude(self._phase, outcome)
        self._phase = ""

    def abandon(self, error: BaseException) -> None:
        """Write into the journal that the run ended early."""
        self._leave(journals.FAILED)
        asked = self.cancelled.is_set() or isinstance(error, KeyboardInterrupt)
        ending = journals.CANCELLED if asked else journals.FAILED
        self.journal.conclude(journals.RUN, ending, reason=str(error)[:500])
        self.follower.note(f"run {self.folder.id} ended early: {error}")


@contextlib.contextmanager
def open_session(order: Order, observer: RunObserver) -> Iterator[Session]:
    """Begin a run: fresh folder, journal, timeline, signals; end them all when the block ends."""
    killed = journals.last_unfinished(order.folder)
    folder = RunFolder(order.folder.runs / new_run_id(datetime.now(UTC)))
    run_directory.create(folder)
    to_pull = {host.host: host.bytes_to_pull for host in order.plan.hosts}
    follower = Follower(RunState.begin(to_pull), folder.log, observer)
    with (
        contextlib.closing(follower),
        journals.open_journal(folder.journal, _now) as journal,
        ssh_sockets() as sockets,
        cancellable() as cancelled,
    ):
        session = Session(order, folder, journal, follower, sockets, cancelled)
        journal.intend(journals.RUN, plan=order.plan.digest(), release=order.plan.release)
        if killed is not None:
            session.notes.append(_tell_of(killed))
            follower.note(session.notes[-1])
        try:
            yield session
        except BaseException as error:
            session.abandon(error)
            raise


def new_run_id(now: datetime) -> str:
    """Return an id that sorts by time and never comes twice."""
    return f"{now.astimezone(UTC):%Y%m%dT%H%M%SZ}-{secrets.token_hex(3)}"


def write_summary(result: ApplyResult, text: str) -> None:
    """Keep a result's JSON in the run's folder."""
    write_atomic(result.directory / "summary.json", text.encode(), mode=0o600)


def _tell_of(killed: journals.Unfinished) -> str:
    return (
        f"the last run, {killed.run}, was killed in phase {killed.phase} at {killed.at};"
        " this one does all steps again, which is safe"
    )


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
