"""A host's part of a plan, as the host agent reads it (``stage.json``)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from bastide.plan.inputs import PlanInputs
from bastide.plan.needs import (
    TREE_NAME,
    HostNeeds,
    blob_destination,
    destination,
    host_needs,
)
from bastide.plan.pieces import FanOut
from bastide.plan.places import wanted_places
from bastide.plan.planner import plan_host
from bastide.schema.artifact import Artifact, ArtifactKind
from bastide.schema.plan import HostPlan
from bastide.schema.site import Site

FORMAT = "bastide.stage/1"


@dataclass(frozen=True)
class Passage:
    """What a run adds to the stage descriptions of its hosts.

    Args:
        run: The run's id; a data snapshot that it takes has the same.
        pass_sha256: Digest of the pass with which its gates may write while clients may not.
        fan_out: What is fetched in pieces, and who gives others some.
    """

    run: str = ""
    pass_sha256: str = ""
    fan_out: FanOut = field(default_factory=lambda: FanOut({}))


def stage_description(
    host_plan: HostPlan, inputs: PlanInputs, passage: Passage | None = None
) -> dict[str, Any]:
    """Return what ``host_plan``'s host must stage, as plain JSON values.

    Which units restart or stop follows from the facts in ``inputs``, not from the plan: after a
    run that was cut off, some of them have been restarted already.

    Args:
        host_plan: The host's part of the plan.
        inputs: What the plan was made from, with the facts of now.
        passage: What the run adds.
    """
    site = inputs.site
    needs = next(
        each
        for each in host_needs(site, inputs.manifest, inputs.trees)
        if each.host == host_plan.host
    )
    units, passage = plan_host(needs, inputs).units, passage or Passage()
    address = site.network.control_address
    control = f"[{address}]" if address.version == 6 else str(address)
    return {
        "format": FORMAT,
        "host": host_plan.host,
        "generation": host_plan.generation_after,
        "digest": host_plan.generation_digest,
        "release": inputs.release,
        "bundle": inputs.bundle,
        "depot": {"url": f"https://{control}:{site.network.depot_port}"},
        "blobs": _blobs(needs, passage.fan_out),
        "swarm": _swarm(host_plan, site, passage.fan_out),
        **_contents(needs),
        "contents": needs.contents,
        "tree": {"sha256": needs.tree.sha256, "size": needs.tree.size},
        "places": {
            path: state
            for path, (state, _) in wanted_places(needs).items()
            if state  # of the others, the agent has eyes of its own
        },
        "units": list(needs.units),
        "restart": [unit.name for unit in units if unit.action == "restart"],
        "stop": [unit.name for unit in units if unit.action == "stop"],
        "users": [unit.removesuffix(".service") for unit in needs.units],
        "transition": _transition(host_plan, passage),
        "reembed": _reembed(host_plan, inputs),
        "collect": list(host_plan.collected),
    }


def _transition(host_plan: HostPlan, passage: Passage) -> dict[str, Any]:
    restored = [step.snapshot for step in host_plan.data if step.kind == "restore"]
    return {
        "run": passage.run,
        "pass_sha256": passage.pass_sha256,
        "snapshot": any(step.kind == "snapshot" for step in host_plan.data),
        "restore": restored[0] if restored else "",
    }


def _reembed(host_plan: HostPlan, inputs: PlanInputs) -> dict[str, Any]:
    """Return which collections are embedded anew, each with the field of its text; often none."""
    declared = inputs.site.upgrades.collections
    if not declared or not any(step.kind == "reembed" for step in host_plan.data):
        return {}
    return {"collections": {name: each.text for name, each in sorted(declared.items())}}


def _swarm(host_plan: HostPlan, site: Site, fan_out: FanOut) -> dict[str, Any]:
    """Return as whom the host takes part in giving each other pieces; empty if it does not."""
    if host_plan.host not in fan_out.hosts:
        return {}
    return {
        "host": host_plan.host,
        "address": str(site.hosts[host_plan.host].address),
        "port": site.network.staging_port,
    }


def _blobs(needs: HostNeeds, fan_out: FanOut) -> list[dict[str, Any]]:
    blobs: dict[str, dict[str, Any]] = {
        artifact.sha256: {
            "name": artifact.name,
            "filename": artifact.filename,
            "sha256": artifact.sha256,
            "size": artifact.size,
            "destination": destination(artifact),
        }
        for artifact in needs.artifacts
    }
    blobs[needs.tree.sha256] = {
        "name": "tree",
        "filename": TREE_NAME,
        "sha256": needs.tree.sha256,
        "size": needs.tree.size,
        "destination": blob_destination(needs.tree.sha256),
    }
    for sha256, table in fan_out.tables.items():
        if sha256 in blobs:
            blobs[sha256]["pieces"] = table.told()
    return list(blobs.values())


def _contents(needs: HostNeeds) -> dict[str, Any]:
    def files(artifacts: tuple[Artifact, ...]) -> list[dict[str, str]]:
        return [{"filename": a.filename, "sha256": a.sha256} for a in artifacts]

    packages = needs.of_kind(ArtifactKind.OS_PACKAGE)
    models = needs.of_kind(ArtifactKind.MODEL)
    installer = needs.installer
    return {
        "wheels": files(needs.wheels),
        "requirements": [f"{a.name}=={a.version}" for a in needs.wheels],
        "uv": {"sha256": installer.sha256, "filename": installer.filename} if installer else None,
        "os_packages": [f"{a.name}={a.version}" for a in packages],
        "repository": files(packages),
        "models": [{"name": a.name, "sha256": a.sha256} for a in models],
        "sources": files(needs.of_kind(ArtifactKind.SOURCE)),
        "programs": files(needs.of_kind(ArtifactKind.BINARY)),
    }
