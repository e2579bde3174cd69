"""The steps of a rehearsal: each runs the real command, and writes down what it did."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bastide.errors import BastideError
from bastide.progress import Progress
from bastide.rehearsal.codes import DATA_DIFFERS, NOT_MEASURED, NOT_SETTLED
from bastide.rehearsal.control import Answer, Control
from bastide.rehearsal.disk import Watch
from bastide.rehearsal.measure import SERVICES, Sample, services
from bastide.schema.artifact import Component
from bastide.schema.plan import HostPlan
from bastide.schema.rehearsal import (
    Failure,
    GateSeen,
    HostWork,
    RehearsedStep,
    StepName,
)

_WARM_UP = 6.0  # s of asking before the first change, and as long for the first good answers
_WARM_UP_MOST = 40.0
_SETTLE = 2.0  # s of asking after a step, so that its last gap is seen


@dataclass
class Steps:
    """Steps on one lab.

    Args:
        control: The lab's control node.
        disks: Root of each host's disk.
        samples: Where the client writes each answer.
        client: What the client needs to know.
        logs: Where each step's timeline is kept.
        progress: Where the work reports to.
        expected: The plan's seconds of interruption, by component.
    """

    control: Control
    disks: Mapping[str, Path]
    samples: Path
    client: Mapping[str, Any]
    logs: Path
    progress: Progress
    expected: Mapping[Component, int] = field(default_factory=dict)

    def command(
        self, name: StepName, title: str, *words: str, plans: Mapping[str, HostPlan] | None = None
    ) -> RehearsedStep:
        """Run a command that changes hosts, and measure it.

        Args:
            name: The step's name.
            title: What it is, for the operator.
            words: The command and its options.
            plans: The plan of each host, for what its disks should need.
        """
        watch = Watch(self.disks)
        begin = time.monotonic()
        with watch.watching(), self.progress.task(title, unit="steps") as task:

            def tell(line: str) -> None:
                task.describe(line)
                task.advance(1)

            answer = self.control.bastide(*words, tell=tell)
        seconds = time.monotonic() - begin
        if self.samples.exists():
            time.sleep(_SETTLE)
        seen = services(self.read_samples(), begin, time.monotonic(), self.expected)
        step = _step_of(name, title, answer, seconds)
        return self._with_papers(step, answer).replace(services=seen, disk=watch.uses(plans or {}))

    def load(self) -> tuple[RehearsedStep, int]:
        """Load data through the gateway; return the step, and how many points there are."""
        title, begin = "load data through the gateway", time.monotonic()
        try:
            points = int(self.control.ask("fill", self.client)["points"])
        except BastideError as error:
            return self._failed("load", title, begin, error), 0
        words = f"{points} points in {', '.join(self.client['collections'])}"
        took = time.monotonic() - begin
        return RehearsedStep(name="load", title=title, good=True, seconds=took, words=words), points

    def warm_up(self) -> Failure | None:
        """Wait until every service has answered the client; None if all do."""
        begin = time.monotonic()
        silent = set(SERVICES)
        while silent and time.monotonic() < begin + _WARM_UP_MOST:
            time.sleep(_WARM_UP)
            silent = set(SERVICES) - {s.service for s in self.read_samples() if s.answered}
        if not silent:
            return None
        return Failure(
            code=NOT_MEASURED,
            message=f"before the upgrade, the lab gave no answer to: {', '.join(sorted(silent))}",
            hint="look at the hosts: rehearse again with --keep",
        )

    def digests(self) -> dict[str, str]:
        """Return the digest of the data in every collection.

        Raises:
            VerifyError: The gateway did not give it.
        """
        found: dict[str, str] = self.control.ask("digest", self.client)["digests"]
        return found

    def compared(self, step: RehearsedStep, before: Mapping[str, str]) -> RehearsedStep:
        """Return ``step`` with the verdict on the data: it must be as it was."""
        if not step.good:
            return step
        try:
            after = self.digests()
        except BastideError as error:
            return step.replace(good=False, failure=_failure(error))
        other = sorted(name for name, digest in before.items() if after.get(name) != digest)
        if not other:
            words = "every point, payload and vector is as it was before the upgrade"
            return step.replace(words=words)
        lost = Failure(
            code=DATA_DIFFERS,
            message=f"the vector data is not as it was before: {', '.join(other)}",
            hint="do not upgrade production; rehearse again with --keep and look at the hosts",
        )
        return step.replace(good=False, failure=lost)

    def settled(self) -> RehearsedStep:
        """Apply once more: nothing may change."""
        title = "apply again: nothing is left to do"
        step = self.command("settled", title, "apply", "--replan", "--yes")
        if step.good and step.changed:
            names = ", ".join(host.host for host in step.hosts if host.changed)
            left = Failure(
                code=NOT_SETTLED,
                message=f"a second apply still changed {step.changed} steps, on: {names}",
                hint="this is a defect of Bastide or of the bundle: report it with the log",
            )
            return step.replace(good=False, failure=left)
        return step.replace(words="0 changes" if step.good else "")

    def read_samples(self) -> tuple[Sample, ...]:
        """Return every answer that the client has written down."""
        try:
            lines = self.samples.read_text(encoding="utf-8").splitlines()
        except FileNotFoundError:
            return ()
        return tuple(_samples(lines))

    def _with_papers(self, step: RehearsedStep, answer: Answer) -> RehearsedStep:
        """Return ``step`` with its log and its gates' pages, kept beside the report."""
        found = _applied(answer)
        pages = [str(each.get("report") or "") for each in found.get("gates", ())]
        gates = tuple(
            gate.replace(report=self._keep(page, f"{step.name}-{gate.gate}.html"))
            for gate, page in zip(step.gates, pages, strict=True)
        )
        log = self._keep(str(found.get("log") or ""), f"{step.name}.log")
        return step.replace(gates=gates, log=log)

    def _keep(self, source: str, name: str) -> str:
        """Copy a file of the lab's site, which will be gone; return its place in the report."""
        if not source or not Path(source).is_file():
            return ""
        self.logs.mkdir(mode=0o700, parents=True, exist_ok=True)
        shutil.copyfile(source, self.logs / name)
        return f"{self.logs.name}/{name}"

    @staticmethod
    def _failed(name: StepName, title: str, begin: float, error: BastideError) -> RehearsedStep:
        took = time.monotonic() - begin
        return RehearsedStep(
            name=name, title=title, good=False, seconds=took, failure=_failure(error)
        )


def _samples(lines: list[str]) -> list[Sample]:
    found = []
    for line in lines:
        try:
            found.append(Sample(**json.loads(line)))
        except (ValueError, TypeError):
            continue  # the last line of a client that was stopped while it wrote
    return found


def _failure(error: BastideError) -> Failure:
    return Failure(code=error.code, message=str(error), hint=error.hint)


def _applied(answer: Answer) -> Mapping[str, Any]:
    """Return the apply in a command's result; a rollback has it one level deeper."""
    inner = answer.result.get("apply")
    return inner if isinstance(inner, dict) else answer.result


def _step_of(name: StepName, title: str, answer: Answer, seconds: float) -> RehearsedStep:
    """Return a command's result as a step; pure."""
    found = _applied(answer)
    generations = found.get("generations") or {}
    hosts = tuple(
        HostWork(
            host=each["host"],
            outcome=each["outcome"],
            changed=each["changed"],
            pulled=each["pulled"],
            generation=generations.get(each["host"]),
        )
        for each in found.get("hosts", ())
    )
    gates = tuple(
        GateSeen(
            gate=str(each["gate"]),
            passed=each["passed"],
            words=each["words"],
            host=each.get("host") or "",
            seconds=each.get("seconds") or 0.0,
        )
        for each in found.get("gates", ())
    )
    return RehearsedStep(
        name=name,
        title=title,
        command=answer.command,
        good=answer.failure is None,
        seconds=round(seconds, 2),
        phases=dict(found.get("seconds") or {}),
        hosts=tuple(sorted(hosts, key=lambda host: host.host)),
        gates=gates,
        failure=answer.failure,
    )
