"""Checks of what earlier runs, or others, left on a host."""

from __future__ import annotations

import re
from collections.abc import Iterator

from bastide.layout import HOST_CURRENT, HOST_TEXTS, host_model
from bastide.plan.preflight.check import HostView, Subject, Trouble, checks_in, refuses, warns
from bastide.schema.artifact import Artifact, ArtifactKind
from bastide.schema.site import Group

CONDITION = Subject.CONDITION


@refuses(
    CONDITION,
    "BAS-5158",
    "/opt/bastide is ours",
    "/opt/bastide on a host holds something that Bastide did not put there",
    "see what it is, and move it away",
)
def strangers(host: HostView) -> Iterator[Trouble]:
    """Look for a folder of ours that is full of something else."""
    if host.condition.strangers:
        yield Trouble(f"in /opt/bastide: {', '.join(host.condition.strangers[:5])}")


@refuses(
    CONDITION,
    "BAS-5159",
    "the live generation is there",
    "/opt/bastide/current on a host leads to no generation",
    "`ls /opt/bastide/generations`, then `ln -sfn generations/N /opt/bastide/current` with the "
    "newest; if there is none, remove the link",
)
def current(host: HostView) -> Iterator[Trouble]:
    """Look where /opt/bastide/current leads."""
    seen = host.condition
    if seen.current_kind == "other":
        yield Trouble("/opt/bastide/current is not a link")
    elif seen.current_kind == "link":
        if not re.fullmatch(r"generations/\d+", seen.current_target):
            yield Trouble(f"{HOST_CURRENT} leads to {seen.current_target}, no generation")
        elif not seen.current_exists:
            yield Trouble(f"{HOST_CURRENT} leads to {seen.current_target}, which is gone")


@refuses(
    CONDITION,
    "BAS-5160",
    "the live generation says what it is",
    "The record of a host's live generation is missing or damaged; nothing could go back to it",
    "go back to an earlier one by hand (`ln -sfn generations/N /opt/bastide/current`), or remove "
    "the link and apply",
)
def record(host: HostView) -> Iterator[Trouble]:
    """Look at generation.json of the live generation."""
    if host.condition.record_damaged:
        yield Trouble("/opt/bastide/current/generation.json is missing or damaged")


@refuses(
    CONDITION,
    "BAS-5161",
    "the live generation's Python environment is whole",
    "Files of the live generation's Python environment are missing or have another size",
    "move /opt/bastide/current/generation.json and the link away; the next apply builds a new one",
)
def environment(host: HostView) -> Iterator[Trouble]:
    """Look at the files that the environment's wheels brought."""
    if host.condition.environment_fault:
        yield Trouble(host.condition.environment_fault)


@refuses(
    CONDITION,
    "BAS-5162",
    "the engine finds its plug-ins",
    "A link to the engine's plug-ins in the live generation leads nowhere: no model would load",
    "move /opt/bastide/current/generation.json and the link away; the next apply builds a new one",
)
def backends(host: HostView) -> Iterator[Trouble]:
    """Look where the link to the plug-ins leads."""
    if host.condition.backends_dangling:
        yield Trouble("a link in /opt/bastide/current/backends leads nowhere")


@refuses(
    CONDITION,
    "BAS-5163",
    "models are the store's",
    "A model file on a host begins or ends otherwise than the store's, though it looks as it did "
    "when it came",
    "remove the file: the next apply fetches it again; and look at the disk",
)
def model_content(host: HostView) -> Iterator[Trouble]:
    """Look for damaged models that an apply would take for whole ones."""
    for artifact in _damaged_models(host):
        if artifact.sha256 not in host.condition.models_touched:
            path = host_model(artifact.sha256)
            yield Trouble(f"{artifact.name}: {path} is damaged", f"rm {path}")


@warns(
    CONDITION,
    "BAS-5164",
    "models are whole",
    "A model file on a host is missing bytes, or was written to; the next apply fetches it again",
    "`bastide apply`",
)
def model_mended(host: HostView) -> Iterator[Trouble]:
    """Look for models of another size, and for damaged ones that an apply reads anyhow."""
    for artifact in host.needs.of_kind(ArtifactKind.MODEL):
        found = host.facts.models.get(artifact.sha256)
        if found is not None and found != artifact.size:
            yield Trouble(f"{artifact.name} has {found} bytes, not {artifact.size}")
    for artifact in _damaged_models(host):
        if artifact.sha256 in host.condition.models_touched:
            yield Trouble(f"{artifact.name}: {host_model(artifact.sha256)} is damaged")


def _damaged_models(host: HostView) -> Iterator[Artifact]:
    """Yield the models that have their size, and other ends than those in the store."""
    control = host.inputs.control
    for artifact in host.needs.of_kind(ArtifactKind.MODEL):
        wanted = control.model_ends.get(artifact.sha256) if control else None
        found = host.condition.model_ends.get(artifact.sha256)
        whole = host.facts.models.get(artifact.sha256) == artifact.size
        if wanted and found and whole and found != wanted:
            yield artifact


@refuses(
    CONDITION,
    "BAS-5165",
    "no other run is at work",
    "The agent of another run is at work on a host",
    "wait until it ends (`ps -C python3`)",
)
def agent_busy(host: HostView) -> Iterator[Trouble]:
    """Look for the holder of the agent's lock."""
    if host.condition.agent_busy:
        yield Trouble(f"the agent's lock is held by {host.condition.agent_busy}")


@warns(
    Subject.FACTS,
    "BAS-5166",
    "no switch is open",
    "A run was cut off between a switch and its end; the next apply finishes it or undoes it",
    "`bastide apply`",
)
def open_transition(host: HostView) -> Iterator[Trouble]:
    """Look for a transition."""
    found = host.facts.transition
    if found:
        way = "being undone" if found.reverting else "open"
        yield Trouble(f"the switch of run {found.run} to generation {found.after} is {way}")


@warns(
    CONDITION,
    "BAS-5167",
    "the vector DB takes writes",
    "A run that is over left the vector DB refusing writes",
    "remove /var/lib/bastide/vectordb.fence; the service takes writes again",
)
def fence(host: HostView) -> Iterator[Trouble]:
    """Look for a fence without a transition."""
    seen = host.condition
    if seen.fence_since is not None and host.facts.transition is None:
        yield Trouble(f"writes are refused since {seen.fence_since or 'an unknown time'}")


@warns(
    Subject.FACTS,
    "BAS-5168",
    "our services run",
    "A service of ours does not run on a host that has it; the next apply starts it",
    "`systemctl status UNIT` and `journalctl --namespace=+bastide -u UNIT` say why",
)
def services(host: HostView) -> Iterator[Trouble]:
    """Look for services that have given up."""
    for unit, state in sorted(host.facts.units.items()):
        if state in {"failed", "activating"} and unit in host.needs.units:
            yield Trouble(f"{unit} is {state}")


@warns(
    Subject.FACTS,
    "BAS-5195",
    "no recorded texts are left to themselves",
    "A host has a record of prompts and answers that nobody adds to any more, and so nobody "
    "deletes days from",
    "`rm -r /var/lib/bastide/texts`, once nobody may need it; or copy it elsewhere before",
)
def texts(host: HostView) -> Iterator[Trouble]:
    """Look for a record of texts that the site does not keep, or that this host has no part in."""
    kept = host.site.records_texts and Group.LLM in host.needs.groups
    if str(HOST_TEXTS) in host.facts.places and not kept:
        yield Trouble(f"{HOST_TEXTS} is there, and no server that would delete its old days")


CHECKS = checks_in(globals())
