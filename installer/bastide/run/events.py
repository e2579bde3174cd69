"""ansible-runner's raw events → the few typed events that a run is followed by. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

Json = Mapping[str, Any]

_LONGEST_MESSAGE = 2000  # characters; the whole is in the kept events

# What Ansible says before what ssh or a module says.
_PREFIX = re.compile(
    r"^(task failed:\s*)?(module failed:|data could not be sent to remote host .* over ssh:"
    r"|failed to connect to the host via ssh:)?\s*",
    re.IGNORECASE,
)


class Status(StrEnum):
    """How a step ended on a host."""

    OK = "ok"
    CHANGED = "changed"
    FAILED = "failed"
    UNREACHABLE = "unreachable"
    SKIPPED = "skipped"


@dataclass(frozen=True)
class PhaseStarted:
    """A play began; its name is the phase's, such as ``(2/5) STAGE: put artifacts on hosts``."""

    name: str


@dataclass(frozen=True)
class StepStarted:
    """A task began, on all hosts of the phase."""

    name: str
    role: str


@dataclass(frozen=True)
class StepEnded:
    """A task ended on one host.

    Args:
        host: The host's name.
        step: The task's name.
        role: The task's role; empty outside roles.
        status: How it ended.
        message: What went wrong, in Ansible's or the host agent's words; empty if nothing did.
        code: The host agent's own error code, if it gave one.
        hint: The host agent's own advice, if it gave one.
        seconds: How long it took.
        result: The whole result, for those who look for data in it; not for display.
    """

    host: str
    step: str
    role: str
    status: Status
    message: str = ""
    code: str = ""
    hint: str = ""
    seconds: float = 0.0
    result: Json = field(default_factory=dict, repr=False, compare=False)


@dataclass(frozen=True)
class Finished:
    """Ansible's own count at the very end; without it a run has not ended properly.

    Args:
        changed: Changed tasks by host.
        failed: Failed tasks by host, without rescued ones.
        unreachable: Unreachable counts by host.
        processed: All hosts that took part.
    """

    changed: Mapping[str, int]
    failed: Mapping[str, int]
    unreachable: Mapping[str, int]
    processed: tuple[str, ...]


Event = PhaseStarted | StepStarted | StepEnded | Finished


def parse_event(raw: Json) -> Event | None:
    """Return the typed form of one of ansible-runner's events; None if nobody needs it."""
    kind = raw.get("event")
    data = raw.get("event_data") or {}
    if kind == "playbook_on_play_start":
        return PhaseStarted(str(data.get("name", "")))
    if kind == "playbook_on_task_start" and not _is_noise(Status.OK, data):
        return StepStarted(_step(data), str(data.get("role") or ""))
    if kind in _ENDED:
        return _ended(_ENDED[str(kind)], data)
    if kind == "playbook_on_stats":
        return _finished(data)
    return None


_ENDED = {
    "runner_on_ok": Status.OK,
    "runner_on_failed": Status.FAILED,
    "runner_on_unreachable": Status.UNREACHABLE,
    "runner_on_skipped": Status.SKIPPED,
}


def _is_noise(status: Status, data: Json) -> bool:
    """Return whether a step is only Ansible's own check of a role's inputs, and it was good."""
    action = str(data.get("task_action", ""))
    return action.endswith("validate_argument_spec") and status in {Status.OK, Status.SKIPPED}


def _step(data: Json) -> str:
    return str(data.get("task") or data.get("name") or "").strip()


def _ended(status: Status, data: Json) -> StepEnded | None:
    if _is_noise(status, data):
        return None
    result = data.get("res") or {}
    message = code = hint = ""
    if status is Status.OK and result.get("changed"):
        status = Status.CHANGED
    elif status is Status.FAILED and data.get("ignore_errors"):
        status = Status.OK
    elif status in {Status.FAILED, Status.UNREACHABLE}:
        message, code, hint = explain(result)
    return StepEnded(
        host=str(data.get("host", "")),
        step=_step(data),
        role=str(data.get("role") or ""),
        status=status,
        message=message,
        code=code,
        hint=hint,
        seconds=float(data.get("duration") or 0.0),
        result=result,
    )


def _finished(data: Json) -> Finished:
    def count(key: str) -> dict[str, int]:
        return {str(host): int(number) for host, number in (data.get(key) or {}).items()}

    processed = tuple(sorted(count("processed")))
    return Finished(count("changed"), count("failures"), count("dark"), processed)


def agent_answer(result: Json) -> Json | None:
    """Return the JSON object that the host agent printed, if this result carries one."""
    for text in (result.get("stdout"), result.get("module_stdout"), result.get("msg")):
        if isinstance(text, dict):
            return text
        if not isinstance(text, str):
            continue
        for line in (text, text.strip().splitlines()[-1] if text.strip() else ""):
            try:
                answer = json.loads(line)
            except ValueError:
                continue
            if isinstance(answer, dict):
                return answer
    return None


def explain(result: Json) -> tuple[str, str, str]:
    """Return message, code and hint of a failed result.

    The host agent's own error comes first; then what Ansible says; then what the program printed.
    """
    if "censored" in result:
        return "the step failed; its output is hidden because it handles secrets", "", ""
    error = (agent_answer(result) or {}).get("error")
    if isinstance(error, dict):
        words = [str(error.get(key) or "").strip() for key in ("message", "code", "hint")]
        return words[0], words[1], words[2]
    items = result.get("results")
    for item in items if isinstance(items, list) else ():
        if isinstance(item, dict) and item.get("failed"):
            return explain(item)
    said = [_PREFIX.sub("", str(result.get("msg") or "").strip())]
    if result.get("rc") not in (None, 0) or not said[0]:
        printed = result.get("stderr") or result.get("module_stderr") or result.get("stdout") or ""
        said.append(str(printed or result.get("module_stdout") or "").strip())
    text = "\n".join(part for part in said if part) or "it failed and gave no reason"
    return text[-_LONGEST_MESSAGE:], "", ""
