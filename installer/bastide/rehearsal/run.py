"""One rehearsal from the empty lab to the report.

Production is never touched: only the site's folder and the store are read, and the report is
written into the site's ``reports/``.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bastide.errors import BastideError, VerifyError
from bastide.host.files import write_atomic
from bastide.host.lock import exclusive_lock
from bastide.layout import Home, RehearsalFolder, SiteFolder
from bastide.progress import Progress
from bastide.rehearsal import stage
from bastide.rehearsal.comparison import compare, require_same_goal
from bastide.rehearsal.control import Control
from bastide.rehearsal.honesty import differences
from bastide.rehearsal.machine import this_machine
from bastide.rehearsal.play import Play
from bastide.rehearsal.scene import MEMORY_SHARE, Scene, lab_release, set_scene
from bastide.rehearsal.sides import Cast, Present, Side, cast_for_lab
from bastide.rehearsal.steps import Steps
from bastide.schema.plan import Plan
from bastide.schema.rehearsal import Difference, Failure, Machine, Rehearsal
from bastide.schema.site import Site
from bastide.schema.target import Target

COLLECTION = "rehearsal"


@dataclass(frozen=True)
class Order:
    """What is to be rehearsed.

    Args:
        folder: The site's folder.
        home: The operator's home: store, labs.
        wanted: The wanted generation.
        present: What the site runs now; None if nothing is installed.
        target: What the site's hosts are.
        plan: The plan for production, which the lab's is compared with; None if there is none.
        lab: The lab's name.
        keep: Leave the lab standing.
        page: Draws the report.
        notes: What the report should say of the site's present state.
    """

    folder: SiteFolder
    home: Home
    wanted: Side
    present: Present | None
    target: Target
    plan: Plan | None
    lab: str
    keep: bool
    page: Callable[[Rehearsal], str]
    notes: tuple[Difference, ...] = ()


@dataclass(frozen=True)
class RehearsalResult:
    """What a rehearsal came to. A true ``error`` makes the command fail.

    Args:
        report: All that was found.
        html: The report for people.
        json: The report for programs.
        kept: The lab's site folder, if the lab was left standing; empty if not.
        entrance: What to type before a command of Bastide's on that site.
    """

    report: Rehearsal
    html: Path
    json: Path
    kept: str = ""
    entrance: str = ""

    @property
    def error(self) -> BastideError | None:
        """What makes the command fail; None if all went as it should."""
        failure = self.report.failure
        if failure is None:
            return None
        hint = f"; {failure.hint}" if failure.hint else ""
        return VerifyError(
            f"{failure.message}. Production was not touched",
            code=failure.code,
            hint=f"the whole story: {self.html}{hint}",
        )


def rehearse(order: Order, progress: Progress) -> RehearsalResult:
    """Rehearse in a lab of its own, which is gone afterwards; return what was found.

    Raises:
        ConfigError: The rehearsal cannot begin.
        LabError: The lab cannot be raised on this machine.
        LockedError: Another rehearsal of that name is under way.
    """
    wanted = order.wanted
    if order.plan is not None:
        full_name = wanted.bundle.root.release
        require_same_goal(order.plan, wanted.site, full_name, wanted.bundle.digest)
    release = lab_release(wanted.site, order.target.distribution, order.target.version)
    present = order.present.side.site if order.present else None
    scene = set_scene(order.lab, wanted.site, present)
    machine = this_machine()
    ssh = stage.ssh_of(order.home, order.lab)
    cast = cast_for_lab(wanted, order.present, scene, ssh, machine, MEMORY_SHARE)
    lock = order.home.rehearsal(order.lab).lock
    lock.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with exclusive_lock(lock, f"rehearsal of site {wanted.site.name}"):
        folder = stage.claim(order.home, order.lab, progress)
        try:
            return _Setting(order, scene, cast, machine, folder).play(release, progress)
        finally:
            if not order.keep:
                stage.strike(order.home, order.lab, progress)


@dataclass(frozen=True)
class _Setting:
    """Everything that one rehearsal is made of."""

    order: Order
    scene: Scene
    cast: Cast
    machine: Machine
    folder: RehearsalFolder

    def play(self, release: str, progress: Progress) -> RehearsalResult:
        """Raise the lab, play every step, write the report."""
        order, begun, started = self.order, time.monotonic(), datetime.now(UTC)
        reports = order.folder.reports / f"{started:%Y%m%dT%H%M%SZ}-rehearsal"
        lab = stage.raise_lab(order.home, order.lab, release, len(self.scene.hosts), progress)
        control = stage.furnish(self.folder, order.home, lab, self.cast)
        players = {pair.host: pair.lab_host for pair in self.scene.hosts}
        steps = Steps(
            control=control,
            disks=stage.disks_of(lab, players),
            samples=self.folder.samples,
            client=_client(self._first.site, control),
            logs=reports / "logs",
            progress=progress,
        )
        play = Play(self.cast, self.folder, steps, progress)
        failure = play.go()
        report = self._report(play, failure, started, time.monotonic() - begun)
        return self._write(report, reports, control)

    @property
    def _first(self) -> Side:
        """What the lab runs first."""
        return self.cast.present.side if self.cast.present else self.cast.wanted

    def _report(
        self, play: Play, failure: Failure | None, started: datetime, seconds: float
    ) -> Rehearsal:
        order, present = self.order, self.order.present
        given = order.plan
        notes = compare(given, play.plan) if given and play.plan else ()
        always = differences(order.wanted.site, given, self.machine, play.points)
        return Rehearsal(
            site=order.wanted.site.name,
            release=order.wanted.bundle.root.release,
            bundle=order.wanted.bundle.digest,
            coming_from=present.side.bundle.root.release if present else "",
            present_run=present.run.folder.id if present else "",
            lab=order.lab,
            started=started.isoformat(timespec="seconds"),
            seconds=round(seconds, 1),
            machine=self.machine,
            hosts=self.scene.hosts,
            plan=given.digest() if given else "",
            plan_notes=notes,
            data_points=play.points,
            differences=(*order.notes, *self.cast.differences, *always),
            steps=tuple(play.found),
            failure=failure,
        )

    def _write(self, report: Rehearsal, reports: Path, control: Control) -> RehearsalResult:
        reports.mkdir(mode=0o700, parents=True, exist_ok=True)
        html, data = reports / "rehearsal.html", reports / "rehearsal.json"
        write_atomic(html, self.order.page(report).encode(), mode=0o600)
        write_atomic(data, (report.model_dump_json(indent=2) + "\n").encode(), mode=0o600)
        if not self.order.keep:
            return RehearsalResult(report, html, data)
        return RehearsalResult(report, html, data, str(control.site.root), control.entrance())


def _client(site: Site, control: Control) -> dict[str, Any]:
    """Return what a client of the lab's gateway needs to know."""
    address = site.gateway_addresses()[0]
    texts = {name: each.text for name, each in site.upgrades.collections.items()}
    return {
        "url": f"https://{address}:{site.network.gateway_port}",
        "authority": str(control.site.authority),
        "key": control.bastide("keys", "show", tell=lambda _: None).result["key"],
        "llm": site.models.llm,
        "embeddings": site.models.embeddings,
        "collections": texts or {COLLECTION: "text"},
    }
