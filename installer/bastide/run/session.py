"""The parts of one run, from its fresh folder to its summary; ``apply`` puts them in order."""

from __future__ import annotations

import hashlib
import threading
import time
from collections import Counter
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from bastide.errors import PreflightError
from bastide.layout import Home, RunFolder, SiteFolder
from bastide.plan.inputs import PlanInputs
from bastide.plan.pieces import FanOut, fan_out
from bastide.plan.planner import make_plan
from bastide.plan.preflight import PreflightInputs, require_fit
from bastide.plan.resume import Move, next_move
from bastide.plan.stage import Passage, stage_description
from bastide.render import run_directory
from bastide.run import journal as journals
from bastide.run.ask import Line
from bastide.run.changeover import ChangeOver, Ended, Ending
from bastide.run.control import Desk
from bastide.run.credentials import Credentials, open_credentials
from bastide.run.depot import Depot
from bastide.run.events import Event, Finished, PhaseStarted, Status, StepEnded
from bastide.run.facts import CANCELLED, not_settled
from bastide.run.follow import Follower
from bastide.run.gates import GateKeeper, NoKeeper
from bastide.run.interrupt import interruptible
from bastide.run.runner import (
    ANSIBLE_CONFIG,
    Job,
    Outcome,
    forks_for,
    run_playbook,
)
from bastide.run.settle import Approve, settle, what_is_left
from bastide.run.state import Fetched
from bastide.run.summary import ApplyResult, failure_of, host_results, write_summary
from bastide.run.survey import survey_at_rest
from bastide.run.swarm import Swarm
from bastide.run.swarm_desk import SwarmDesk
from bastide.run.wanted import Wanted
from bastide.schema.condition import ControlCondition
from bastide.schema.facts import SiteFacts
from bastide.schema.plan import Plan
from bastide.site.salt import new_salt

STORE_LACKS = "BAS-5064"
PREFLIGHT = "preflight"


@dataclass(frozen=True)
class Order:
    """What is to be applied, and where.

    Args:
        folder: The site's folder.
        home: The control node's own state.
        wanted: What the site should be.
        plan: The plan that the operator has seen; None makes one and asks ``approve`` about it.
        approve: Shows a plan and returns whether to go on.
        keeper: Who looks at the gates.
        undo: Do nothing but bring hosts with an open transition back.
        back_to: The earlier run that this one goes back to; empty if it goes forward.
    """

    folder: SiteFolder
    home: Home
    wanted: Wanted
    plan: Plan | None = None
    approve: Approve = lambda plan: False  # noqa: ARG005 - nobody there to ask
    keeper: GateKeeper = field(default_factory=NoKeeper)
    undo: bool = False
    back_to: str = ""


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
        self._fan_out = FanOut({})
        self._plan: Plan | None = None
        self._move = Move.FRESH
        self._change_over: ChangeOver | None = None
        self._played: Counter[str] = Counter()
        # Of the approved plan, so that fingerprints in both can be compared.
        self._salt = (order.plan.salt if order.plan else "") or new_salt()
        self._control: ControlCondition | None = None

    # --- the parts, in the order in which `apply` calls them ---------------------------------
    def ask_hosts(self) -> SiteFacts:
        """Ask every host what it is, read-only; meanwhile open the secrets."""
        order = self.order
        self._enter(PREFLIGHT)
        self.follower.phase("(0/6) PREFLIGHT: ask hosts, compare with the plan")
        with ThreadPoolExecutor(1, "secrets") as pool:
            back = order.undo or bool(order.back_to)
            self._opened = pool.submit(
                open_credentials, order.wanted.site, order.folder, order.home, self._salt, back=back
            )
            desk = Desk(order.folder, order.home, order.wanted)
            facts, self._control = survey_at_rest(
                desk, self.cancelled, self.follower.note, salt=self._salt
            )
            return facts

    def settle_plan(self, facts: SiteFacts) -> PlanInputs:
        """Decide which plan is carried out; return its inputs.

        Raises:
            PreflightError: A host is not fit, the plan is stale or not approved, or somebody
                asked for the end.
        """
        order = self.order
        created = datetime.now(UTC).isoformat(timespec="seconds")
        inputs = order.wanted.plan_inputs(facts, created, self._credentials.fingerprints)
        wanted = order.wanted
        now = int(time.time())
        require_fit(PreflightInputs(inputs, wanted.target, wanted.cards, now, self._control))
        if self.cancelled.is_set():
            raise PreflightError("stopped on request; nothing was changed", code=CANCELLED)
        self._plan, approved = make_plan(inputs), order.plan
        self._move = self._next_move(facts, self._plan)
        if self._move not in {Move.REVERT, Move.PROMOTE}:  # those were decided on already
            with interruptible():
                self._plan = settle(approved, self._plan, order.approve)
        self.journal.settle((approved or self._plan).digest(), self._plan.digest())
        self.tell(what_is_left(approved, self._plan))
        for note in self._credentials.notes:
            self.tell(note)
        self.follower.expect({host.host: host.bytes_to_pull for host in self._plan.hosts})
        return inputs

    def _next_move(self, facts: SiteFacts, plan: Plan) -> Move:
        wanted = {host.host: host.generation_digest for host in plan.hosts}
        return next_move(facts.hosts, wanted, undo=self.order.undo)

    def everything_is_done(self, inputs: PlanInputs) -> Ended | None:
        """Return the end if there is nothing to do, and every host says so itself.

        None means that Ansible has to see to something.
        """
        if self.plan.changes or self._move is not Move.FRESH:
            return None
        given = {
            each.host: {
                "stage": stage_description(each, inputs),
                "groups": self.order.wanted.site.hosts[each.host].groups,
                "secrets": self._credentials.digests_of(each.host),
            }
            for each in self.plan.hosts
        }
        run_directory.write_plan(self.folder, self.plan)
        left = not_settled(self._line, given, self.cancelled)
        for host, reason in left.items():
            self.follower.note(f"{host}  the plan has no changes, but {reason}")
        if left:
            return None
        for host in given:
            self.follower.event(StepEnded(host, "Is there anything to do", "base", Status.OK))
        self._leave(journals.DONE)
        finished = Finished({}, {}, {}, tuple(sorted(given)))
        self.follower.event(finished)
        outcome = Outcome(finished, returncode=0, cancelled=False, last_words="")
        return Ended(outcome, Ending.KEPT)

    def write_folder(self, inputs: PlanInputs) -> None:
        """Write inventory, stage descriptions, trees and sealed secrets into the run's folder.

        The plan is agreed to by now: certificates that it announces go into the vault, too.
        """
        opened = self._credentials
        opened.keep()
        plan = self.plan
        wanted = self.order.wanted
        share = wanted.site.shares
        self._fan_out = fan_out(plan.hosts, wanted.read_chunks(), share=share)
        pass_sha256 = hashlib.sha256(opened.pass_.encode()).hexdigest()
        passage = Passage(self.folder.id, pass_sha256, self._fan_out)
        stages = {each.host: stage_description(each, inputs, passage) for each in plan.hosts}
        self._served = {blob["sha256"] for stage in stages.values() for blob in stage["blobs"]}
        run_directory.write(
            self.folder,
            run_directory.RunContents(
                site=wanted.site,
                site_root=self.order.folder.root,
                plan=plan,
                stages=stages,
                trees=wanted.trees,
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
        return Depot(where, credentials.depot, credentials.token, blobs, self._swarm_desk())

    def _swarm_desk(self) -> SwarmDesk | None:
        """Return who tells hosts which pieces to give each other; None if they are not to."""
        if not self._fan_out.hosts:
            return None
        site = self.order.wanted.site
        port = site.network.staging_port
        addresses = {name: (str(host.address), port) for name, host in site.hosts.items()}
        swarm = Swarm(self._fan_out.sizes, self._fan_out.hosts)
        return SwarmDesk(swarm, addresses, self.follower.note)

    def carry_out(self, depot: Depot) -> Ended:
        """Bring the plan onto the hosts while they pull from ``depot``; return how it ended."""
        names = {str(host.address): n for n, host in self.order.wanted.site.hosts.items()}

        def pulled() -> Mapping[str, Fetched]:
            found = depot.traffic.by_address()
            sent = {names[address]: n for address, n in found.items() if address in names}
            peers = depot.from_peers()
            return {
                name: Fetched(sent.get(name, 0), peers.get(name, 0)) for name in {*sent, *peers}
            }

        self.follower.watch(pulled)
        self._change_over = ChangeOver(self, self.order.keeper, self._credentials.pass_)
        return self._change_over.go(self._move)

    def play(self, playbook: str, variables: Mapping[str, str]) -> Outcome:
        """Run a playbook to its end; return how it ended."""
        self._played[playbook] += 1
        name, turn = Path(playbook).stem, self._played[playbook]
        hosts = self.order.wanted.site.hosts
        job = Job(
            folder=self.folder,
            playbook=playbook,
            forks=forks_for(hosts),
            sockets=self._sockets,
            vault_password=self._credentials.password_file,
            variables=variables,
            ident=name if turn == 1 else f"{name}-{turn}",
        )
        with self.follower.ticking():
            outcome = run_playbook(job, self._take, self.cancelled)
        ending = journals.DONE if outcome.succeeded else journals.FAILED
        self._leave(journals.CANCELLED if outcome.cancelled else ending)
        self.follower.end_phase()
        return outcome

    def announce(self, phase: str) -> None:
        """Begin a phase that no playbook announces."""
        self._leave(journals.DONE)
        self._enter(phase)
        self.follower.phase(phase)

    def say(self, note: str) -> None:
        """Write a line into the timeline."""
        self.follower.note(note)

    def conclude(self, ended: Ended) -> ApplyResult:
        """Write journal and summary; return the result."""
        self._leave(journals.DONE)
        state, outcome = self.follower.state, ended.outcome
        failure = failure_of(state, ended, self.folder.log)
        if ended.ending is Ending.KEPT and failure is None:
            self._credentials.reached()
        result = ApplyResult(
            run=self.folder.id,
            release=self.order.wanted.release,
            generations={h.host: h.generation_after for h in self.plan.hosts},
            hosts=host_results(state, outcome),
            seconds={k: round(v, 2) for k, v in state.seconds_by_phase().items()},
            elapsed=round(self.follower.elapsed, 2),
            directory=self.folder.root,
            log=self.folder.log,
            notes=tuple(self.notes),
            failure=failure,
            plan=self.plan.digest(),
            bundle=self.plan.bundle,
            ending=ended.ending,
            gates=ended.gates,
            undone=ended.undone,
        )
        ending = journals.CANCELLED if outcome.cancelled else journals.FAILED
        self.journal.conclude(
            journals.RUN, ending if failure else journals.DONE, changed=result.changed
        )
        write_summary(result, self.folder.summary)
        self.follower.note(f"run {self.folder.id} {'failed' if failure else 'done'}")
        return result

    @property
    def plan(self) -> Plan:
        """The plan that is carried out."""
        if self._plan is None:
            raise RuntimeError("the plan is settled by settle_plan")
        return self._plan

    # --- inside ------------------------------------------------------------------------------
    @property
    def _line(self) -> Line:
        return Line(self.order.wanted.site, self.order.folder.root)

    @property
    def _credentials(self) -> Credentials:
        if self._opened is None:
            raise RuntimeError("the secrets are opened by ask_hosts")
        return self._opened.result()

    def tell(self, note: str) -> None:
        """Write a note into the timeline and into the summary; an empty one is none."""
        if note:
            self.notes.append(note)
            self.follower.note(note)

    def _take(self, event: Event) -> None:
        if isinstance(event, PhaseStarted):
            self._leave(journals.DONE)
            self._enter(event.name)
        if self._change_over is not None:
            self._change_over.take(event)
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
