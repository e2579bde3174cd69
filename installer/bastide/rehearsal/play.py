"""The order of a rehearsal: bring up what is, upgrade, go back, upgrade again, apply once more."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from bastide.layout import RehearsalFolder
from bastide.progress import Progress
from bastide.rehearsal import codes
from bastide.rehearsal.comparison import expected_interruption
from bastide.rehearsal.sides import Cast
from bastide.rehearsal.stage import seed
from bastide.rehearsal.steps import Steps
from bastide.schema.plan import HostPlan, Plan
from bastide.schema.rehearsal import Failure, RehearsedStep

_CODES = {
    "install": codes.NO_PRESENT,
    "load": codes.NOT_MEASURED,
    "upgrade": codes.UPGRADE_FAILED,
    "rollback": codes.ROLLBACK_FAILED,
    "upgrade_again": codes.NOT_SETTLED,
    "settled": codes.NOT_SETTLED,
}
_OWN = {codes.DATA_DIFFERS, codes.NOT_MEASURED, codes.NOT_SETTLED}


@dataclass
class Play:
    """One rehearsal on its stage.

    Args:
        cast: Both generations, as they stand in the lab.
        folder: The rehearsal's own.
        steps: What can be done in the lab.
        progress: Where the work reports to.
    """

    cast: Cast
    folder: RehearsalFolder
    steps: Steps
    progress: Progress
    found: list[RehearsedStep] = field(default_factory=list)
    points: int = 0
    plan: Plan | None = None

    def go(self) -> Failure | None:
        """Play every step until one fails; return why, or None if all went well."""
        if self.cast.present is None:
            return self._first_install()
        return self._install() or self._load() or self._plan("upgrade") or self._watched()

    def _first_install(self) -> Failure | None:
        if failure := self._plan("first install"):
            return failure
        step = self.steps.command("upgrade", "first install", "apply", plans=self._plans)
        return self._add(step) or self._load() or self._add(self.steps.settled())

    def _install(self) -> Failure | None:
        """Bring the hosts to where the site's own run had led, by going "back" to it."""
        if self.cast.present is None:
            return None
        run = seed(self.folder, self.cast.present)
        title = "bring up the present generation"
        return self._add(self.steps.command("install", title, "rollback", "--to", run.id, "--yes"))

    def _load(self) -> Failure | None:
        step, self.points = self.steps.load()
        return self._add(step)

    def _plan(self, what: str) -> Failure | None:
        with self.progress.task(f"plan the {what} in the lab", unit="steps") as task:
            answer = self.steps.control.bastide("plan", tell=task.describe)
        if answer.failure is not None:
            return answer.failure.replace(
                code=codes.UPGRADE_FAILED,
                message=f"no plan for the {what} can be made in the lab: "
                f"{answer.failure.code} {answer.failure.message}",
            )
        self.plan = Plan.model_validate(answer.result["plan"])
        release = self.cast.wanted.release.upgrade.expected_interruption
        self.steps.expected = expected_interruption(self.plan, release)
        return None

    def _watched(self) -> Failure | None:
        """Upgrade and go back under the eyes of a client; then nothing may be left to do."""
        before = self.steps.digests()
        asked = {**self.steps.client, "samples": str(self.folder.samples)}
        with self.steps.control.asking(asked):
            self.progress.note("from now on a client asks every service four times a second")
            if failure := self.steps.warm_up():
                return failure
            if failure := self._back_and_forth(before):
                return failure
        return self._add(self.steps.settled())

    def _back_and_forth(self, before: Mapping[str, str]) -> Failure | None:
        steps = self.steps
        upgrade = steps.command("upgrade", "upgrade", "apply", plans=self._plans)
        if failure := self._add(self._with_data(upgrade, before)):
            return failure
        if self.plan is not None and not self.plan.changes:
            return None  # nothing was changed, so there is no way back to rehearse
        back = steps.command("rollback", "forced rollback", "rollback", "--yes")
        if failure := self._add(steps.compared(back, before)):
            return failure
        words = ("apply", "--replan", "--yes")
        return self._add(steps.command("upgrade_again", "upgrade again", *words))

    def _with_data(self, step: RehearsedStep, before: Mapping[str, str]) -> RehearsedStep:
        """Return the upgrade with a word on the data, which may differ if the plan migrates it."""
        kinds = {each.kind for host in self._plans.values() for each in host.data} - {"snapshot"}
        if kinds and step.good:
            return step.replace(words=f"the plan changes stored data: {', '.join(sorted(kinds))}")
        return self.steps.compared(step, before)

    @property
    def _plans(self) -> dict[str, HostPlan]:
        return {host.host: host for host in self.plan.hosts} if self.plan else {}

    def _add(self, step: RehearsedStep) -> Failure | None:
        """Note a step; return the rehearsal's failure if it was not good."""
        self.found.append(step)
        mark = "good" if step.good else "FAILED"
        words = f": {step.words}" if step.words else ""
        self.progress.note(f"{step.title}: {mark} after {step.seconds:.1f} s{words}")
        if step.failure is None:
            return None
        failure = step.failure
        if failure.code in _OWN:
            return failure
        # A hint that leads into the lab leads nowhere once the lab is gone.
        hint = "" if str(self.folder.root) in failure.hint else failure.hint
        return failure.replace(
            hint=hint,
            code=_CODES[step.name],
            message=f"'{step.title}' failed in the lab: {failure.code} {failure.message}",
        )
