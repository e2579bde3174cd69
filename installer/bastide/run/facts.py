"""Asks every host what it is, read-only: ``playbooks/preflight.yml`` → facts."""

from __future__ import annotations

import contextlib
import re
import shutil
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from pydantic import ValidationError

from bastide.errors import PreflightError
from bastide.layout import Home, RunFolder, SiteFolder
from bastide.progress import Progress
from bastide.render import run_directory
from bastide.run.events import Event, Status, StepEnded, agent_answer
from bastide.run.runner import (
    ANSIBLE_CONFIG,
    Job,
    Outcome,
    forks_for,
    run_playbook,
    ssh_sockets,
)
from bastide.schema.facts import HostFacts, SiteFacts, UnreachableHost
from bastide.schema.site import Site

PLAYBOOK = "preflight.yml"
BROKEN = "BAS-5062"
CANCELLED = "BAS-5063"

_DENIED = re.compile(
    r"permission denied|host key verification failed|no such identity|too many authentication"
    r"|identification has changed|no .*host key is known|load key|password is required"
    r"|a password is required|sudo",
    re.IGNORECASE,
)
_NOISE = re.compile(r"^(warning:(?! remote host)|@{3,})", re.IGNORECASE)


def gather(site: Site, folder: SiteFolder, home: Home, progress: Progress) -> SiteFacts:
    """Return the facts of all hosts of the site; changes nothing on them.

    Args:
        site: The site.
        folder: Its folder, to which the paths in ``site.yaml`` are relative.
        home: The control node's own state.
        progress: Told of every host that has answered.

    Raises:
        PreflightError: Ansible itself could not do its work.
    """
    home.root.mkdir(parents=True, exist_ok=True, mode=0o700)
    with _scratch(home) as run, ssh_sockets() as sockets:
        return gather_into(run, site, folder, sockets, progress)


def gather_into(
    run: RunFolder,
    site: Site,
    folder: SiteFolder,
    sockets: Path,
    progress: Progress,
    cancelled: threading.Event | None = None,
) -> SiteFacts:
    """Return the facts of all hosts, asked from an existing run folder.

    Args:
        run: The run's folder; what Ansible needs is written into it.
        site: The site.
        folder: The site's folder.
        sockets: Folder of SSH's shared connections, which a later playbook can use again.
        progress: Told of every host that has answered.
        cancelled: Once it is set, the asking ends.

    Raises:
        PreflightError: Ansible itself could not do its work, or somebody asked for the end.
    """
    run_directory.write_preflight(run, site, folder.root, ANSIBLE_CONFIG)
    collected = _Collector()
    with progress.task("ask hosts", total=len(site.hosts), unit="steps") as task:

        def take(event: Event) -> None:
            if collected.take(event) and isinstance(event, StepEnded):
                task.describe(event.host)
                task.advance(1)

        job = Job(run, PLAYBOOK, forks_for(site.hosts), sockets, retries=0)
        outcome = run_playbook(job, take, cancelled)
    if outcome.cancelled:
        raise PreflightError(
            "stopped while the hosts were asked; nothing was changed", code=CANCELLED
        )
    return collected.facts(site, outcome)


class _Collector:
    """Picks facts and reasons out of a run's events."""

    def __init__(self) -> None:
        self._hosts: dict[str, HostFacts] = {}
        self._unreachable: dict[str, UnreachableHost] = {}

    def take(self, event: Event) -> bool:
        """Look at one event; return whether a host has now answered or failed."""
        if not isinstance(event, StepEnded):
            return False
        if event.status is Status.UNREACHABLE:
            return self._note(event.host, event.message, "unreachable")
        if event.status is Status.FAILED:
            return self._note(event.host, event.message, "failed")
        answer = event.result.get("bastide_facts") or agent_answer(event.result) or {}
        if answer.get("format") != "bastide.facts/1":
            return False
        try:
            self._hosts[event.host] = HostFacts.model_validate(answer)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"])
            message = f"the host agent's facts are not as expected: {where}: {first['msg']}"
            return self._note(event.host, message, "failed")
        return True

    def _note(self, host: str, message: str, kind: Literal["unreachable", "failed"]) -> bool:
        self._unreachable.setdefault(host, explain_unreachable(message, kind))
        return True

    def facts(self, site: Site, outcome: Outcome) -> SiteFacts:
        """Return what was collected.

        Raises:
            PreflightError: Ansible died before it had asked everybody.
        """
        hosts = {name: self._hosts[name] for name in site.hosts if name in self._hosts}
        missing = [n for n in site.hosts if n not in hosts and n not in self._unreachable]
        if outcome.finished is None and missing:
            raise PreflightError(
                f"Ansible ended before it had asked {', '.join(missing)}: {outcome.last_words}",
                code=BROKEN,
                hint="the lines above are Ansible's own last words",
            )
        silent = UnreachableHost(reason="it gave no facts and no error", kind="failed")
        unreachable = {
            name: self._unreachable.get(name, silent) for name in site.hosts if name not in hosts
        }
        return SiteFacts(hosts=hosts, unreachable=unreachable)


def explain_unreachable(message: str, kind: Literal["unreachable", "failed"]) -> UnreachableHost:
    """Return why a host gave no facts: the most telling line, and of which kind it is.

    Args:
        message: What ssh, Ansible or the host agent said.
        kind: How Ansible called it.
    """
    lines = [line.strip("@ \t\r") for line in message.splitlines()]
    lines = [line for line in lines if line]
    useful = [line for line in lines if not _NOISE.match(line)] or lines or ["no reason given"]
    telling = next((line for line in useful if _DENIED.search(line)), useful[-1])
    if kind == "unreachable":
        denied = _DENIED.search(message) is not None
        return UnreachableHost(reason=telling, kind="denied" if denied else "unreachable")
    if re.search(r"python3?: (command )?not found|No such file.*python|not found.*python", message):
        return UnreachableHost(
            reason="/usr/bin/python3 is missing on the host; Ansible needs it", kind="failed"
        )
    return UnreachableHost(reason=telling, kind="failed")


@contextlib.contextmanager
def _scratch(home: Home) -> Iterator[RunFolder]:
    root = Path(tempfile.mkdtemp(prefix=".facts-", dir=home.root))
    try:
        yield RunFolder(root)
    finally:
        shutil.rmtree(root, ignore_errors=True)
