"""How hosts go over to the new generation: in which order, past which gates, with what data."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from bastide.errors import PreflightError
from bastide.plan.inputs import PlanInputs
from bastide.schema.facts import DataSnapshot, HostFacts
from bastide.schema.plan import DataStep, HostPlan, Plan, UnitChange
from bastide.schema.release import DataMigration, Gate, MigrationKind, MigrationReverse
from bastide.schema.site import SERVING, Group, Site

VECTORDB_UNIT = "bastide-vectordb.service"
NO_EMBEDDINGS = "BAS-5083"


def canary_of(site: Site, facts: Mapping[str, HostFacts]) -> str | None:
    """Return the host that switches first; None if all switch without waiting for one.

    A site with one host has none, nor has a first installation: the gateway is well only when
    everything behind it runs. Otherwise it is the one that ``site.yaml`` names, or a host whose
    work another one can do meanwhile: an LLM server with as few other groups as possible.
    """
    known = [facts[name] for name in site.hosts if name in facts]
    if len(site.hosts) == 1 or any(each.generation is None for each in known):
        return None
    if site.upgrades.canary is not None:
        return site.upgrades.canary
    candidates = site.hosts_in(Group.LLM)
    if len(candidates) == 1:
        candidates = tuple(site.hosts)
    return min(candidates, key=lambda name: len(site.hosts[name].groups))


def host_order(site: Site, canary: str | None) -> tuple[str, ...]:
    """Return the hosts in the order in which they switch: the canary first, the gateway last."""

    def place(name: str) -> tuple[bool, bool, bool]:
        groups = site.hosts[name].groups
        return name != canary, Group.GATEWAY in groups, Group.VECTORDB in groups

    return tuple(sorted(site.hosts, key=place))


def early_gateways(plan: Plan) -> tuple[str, ...]:
    """Return the gateways' hosts whose turn comes before some service runs anywhere.

    So it is when a site is installed whose gateways share their hosts with services: the first of
    them answers 503 until the last host has had its turn.
    """
    hosts, found = plan.hosts, []
    for turn, host in enumerate(hosts):
        served = {
            group
            for number, each in enumerate(hosts)
            for group in each.groups
            if number <= turn or not _starts(each, group)
        }
        wanted = {group for each in hosts for group in each.groups} & set(SERVING)
        if Group.GATEWAY in host.groups and not wanted <= served:
            found.append(host.host)
    return tuple(found)


def _starts(host: HostPlan, group: Group) -> bool:
    unit = f"bastide-{group}.service"
    return any((each.name, each.action) == (unit, "start") for each in host.units)


def gates_of(inputs: PlanInputs, hosts: tuple[HostPlan, ...]) -> tuple[Gate, ...]:
    """Return the gates that a plan's generations must pass; none if the plan changes nothing.

    Services must answer after any change. The release's other gates guard new content: a change
    of settings alone, or a way back to a generation that has passed them, needs no others.
    """
    changing = [host for host in hosts if host.changes]
    if not changing:
        return ()
    if inputs.backwards or inputs.upgrade is None or not _new_content(inputs, changing):
        return (Gate.HEALTH,)
    return tuple(gate for gate in Gate if gate in {Gate.HEALTH, *inputs.upgrade.gates})


def _new_content(inputs: PlanInputs, changing: list[HostPlan]) -> bool:
    """Return whether a host gets other software or models than it has, or got them unproved."""
    for host in changing:
        facts = inputs.facts.hosts[host.host]
        wanted = {artifact.sha256 for artifact in inputs.manifest.artifacts}
        unproved = facts.transition is not None and not facts.transition.restore
        if unproved or not set(facts.contents.values()) <= wanted or not facts.contents:
            return True
        if host.pulls and any(pull.name != "tree" for pull in host.pulls):
            return True
    return False


def data_steps(
    inputs: PlanInputs, facts: HostFacts, units: tuple[UnitChange, ...], target: int
) -> tuple[DataStep, ...]:
    """Return what happens to the data of one host.

    Args:
        inputs: What the plan is made from.
        facts: The host as it is.
        units: What happens to its units.
        target: The generation that it goes to.
    """
    if facts.generation is None or facts.generation == target:
        return ()
    if inputs.backwards and not inputs.keep_data:
        return _back(facts, target)
    touched = any(unit.name == VECTORDB_UNIT for unit in units)
    migrations = _migrations(inputs, facts)
    if VECTORDB_UNIT not in facts.units or not (touched or migrations):
        return ()
    what = (
        "copy the vector DB's data, proved; writes get a retryable 503 until the gates have passed"
    )
    steps = [DataStep(kind="snapshot", what=what, bytes=facts.data_bytes)]
    if not inputs.backwards:
        steps += [_migration(each, inputs) for each in migrations]
    return tuple(steps)


def _migrations(inputs: PlanInputs, facts: HostFacts) -> tuple[DataMigration, ...]:
    """Return the changes of data on the way to the release; none if the host runs it already."""
    if inputs.upgrade is None or facts.release == inputs.release:
        return ()
    return inputs.upgrade.data_migrations


def _migration(migration: DataMigration, inputs: PlanInputs) -> DataStep:
    what, declared = migration.what, sorted(inputs.site.upgrades.collections)
    if migration.kind is MigrationKind.REEMBED:
        what = (
            f"{what} (collections: {', '.join(declared)})"
            if declared
            else "no collection is declared under upgrades.collections: nothing is embedded anew"
        )
    return DataStep(
        kind=migration.kind.value,
        what=what,
        reversible=migration.reverse is not MigrationReverse.IRREVERSIBLE,
        why=migration.why,
    )


def require_embeddings(site: Site, hosts: Iterable[HostPlan]) -> None:
    """See that each host whose data is embedded anew runs the model that does it.

    Raises:
        PreflightError: One does not.
    """
    for host in hosts:
        anew = any(step.kind == "reembed" for step in host.data)
        if anew and site.upgrades.collections and Group.EMBEDDINGS not in host.groups:
            raise PreflightError(
                f"{host.host} has the vector DB, whose collections are to be embedded anew, but no "
                "embedding server: it has no model for that; nothing was changed",
                code=NO_EMBEDDINGS,
                hint=f"give {host.host} the group embeddings in site.yaml, or take the collections "
                "out of upgrades.collections and embed them anew yourself",
            )


def _back(facts: HostFacts, target: int) -> tuple[DataStep, ...]:
    found = snapshot_of(facts, target)
    if found is None:
        return ()
    points = sum(found.points.values())
    what = (
        f"put back the data as of {found.created} ({points} points); what was written since is "
        "kept aside"
    )
    return (DataStep(kind="restore", what=what, snapshot=found.id),)


def snapshot_of(facts: HostFacts, generation: int) -> DataSnapshot | None:
    """Return the newest snapshot of a generation's data; None if its data was never touched."""
    found = [each for each in facts.snapshots if each.generation == generation]
    return found[-1] if found else None


def collected(facts: HostFacts, target: int, keep: int) -> tuple[int, ...]:
    """Return the generations that are removed once the generation ``target`` is good.

    Args:
        facts: The host as it is.
        target: The generation that it goes to.
        keep: How many good generations stay, the live one included.
    """
    good = [each.number for each in facts.good if each.number in facts.generations]
    kept = {target, facts.generation, *[n for n in good if n != target][-(keep - 1) :]}
    if facts.transition is not None:
        kept |= {facts.transition.before, facts.transition.after}
    newest = max(good, default=0)
    # One that was built and never became good, newer than all that are, may be wanted next.
    return tuple(sorted(n for n in facts.generations if n not in kept and n < max(newest, target)))
