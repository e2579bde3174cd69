"""Needs against facts: the exact changes of every host.

What decides a plan, and so what makes it stale, is in ``facts_digest``: of each host its current
generation (number, digest, contents, files as they are on disk), the newest number, the versions of
the packages that it needs, which of the artifacts that it needs are there, and its units' states.
Free room, memory and listeners are not: preflight looks at them, afresh, before every apply.
Whether a plan still holds with other facts is ``staleness``'s question.
"""

from __future__ import annotations

import hashlib
import json

from bastide.errors import PreflightError, Problem
from bastide.plan import changes, contract, protocol, switching
from bastide.plan.inputs import PlanInputs
from bastide.plan.leaving import leaving_hosts
from bastide.plan.needs import HostNeeds, generation_digest, host_needs
from bastide.plan.path import Route, solve
from bastide.plan.places import Moves, misplaced, path_changes
from bastide.schema.artifact import ArtifactKind
from bastide.schema.facts import HostFacts
from bastide.schema.plan import HostPlan, Plan, UserChange
from bastide.schema.release import RESTART_ORDER

NO_FACTS = "BAS-5002"


def make_plan(inputs: PlanInputs) -> Plan:
    """Return the exact changes from what the hosts are to what the site wants.

    Equal inputs give an equal plan. A plan without changes has ``changes == 0``.

    Raises:
        ConfigError: The bundle does not carry a chosen model, or a host that has left the site
            cannot be let go (``leaving``).
        PreflightError: A host gave no facts, or the release cannot be reached in one apply.
    """
    needs = host_needs(inputs.site, inputs.manifest, inputs.trees, inputs.replaces)
    _require_facts(inputs)
    leaving = leaving_hosts(inputs)
    hosts = {each.host: plan_host(each, inputs) for each in needs}
    canary = switching.canary_of(inputs.site, inputs.facts.hosts)
    ordered = tuple(hosts[name] for name in switching.host_order(inputs.site, canary))
    route = _route(inputs)
    switching.require_embeddings(inputs.site, ordered)
    return Plan(
        site=inputs.site.name,
        release=inputs.release,
        coming_from=route.coming_from,
        why_legal=route.why,
        bundle=inputs.bundle,
        site_digest=inputs.site_digest,
        site_view=contract.site_view(inputs.site),
        facts_digest=facts_digest(inputs),
        created=inputs.created,
        salt=inputs.secrets.salt,
        certificates=inputs.secrets.certificates,
        canary=canary if any(host.changes for host in ordered) else None,
        gates=switching.gates_of(inputs, ordered),
        order=inputs.upgrade.order if inputs.upgrade else RESTART_ORDER,
        hosts=ordered,
        leaving=leaving,
    )


def plan_host(needs: HostNeeds, inputs: PlanInputs) -> HostPlan:
    """Return one host's part of the plan.

    A host keeps its generation if the content is the wanted one and is intact; a unit that has
    stopped is then only started. If an earlier generation has the wanted content, the host goes
    back to that. Otherwise the next free number is used.
    """
    facts = inputs.facts.hosts[needs.host]
    digest = generation_digest(needs)
    same = facts.generation is not None and facts.generation_digest == digest
    damage = changes.damage(needs, facts) if same else ()
    keep = same and not damage
    secrets = contract.secrets(needs, inputs)
    touched = contract.readers(secrets, inputs.site, needs.host)
    touched |= frozenset(facts.outdated) & frozenset(needs.units)
    if not keep:
        touched |= changes.affected(needs, facts)
    built = [number for number, found in facts.generations.items() if found == digest and not same]
    number = max(built, default=max(facts.newest_generation, facts.generation or 0) + 1)
    packages = changes.packages(needs, facts)
    after = facts.generation if keep and facts.generation else number
    moves = Moves(
        number=after,
        built=not (keep or built),
        packages=packages,
        users=contract.users(needs, facts, packages),
        units=changes.units(needs, facts, touched),
        collected=switching.collected(facts, after, inputs.site.upgrades.keep_generations),
    )
    plan = HostPlan(
        host=needs.host,
        address=str(inputs.site.hosts[needs.host].address),
        groups=needs.groups,
        generation_before=facts.generation,
        generation_after=moves.number,
        generation_digest=digest,
        tree_sha256=needs.tree.sha256,
        pulls=() if keep else changes.pulls(needs, facts),
        packages=packages,
        files=changes.files(needs, facts),
        units=moves.units,
        drift=(*damage, *_strays(needs, inputs, moves.users)) if same else (),
        disk_needed=changes.disk(needs, facts) if moves.built else {},
        users=moves.users,
        ports=contract.ports(needs, facts, inputs.site, moves.units),
        firewall=contract.firewall(needs, facts, inputs.site),
        models=() if keep else contract.models(needs, facts),
        secrets=secrets,
        paths=path_changes(needs, inputs, moves),
        interruption={
            **contract.interruption(needs.host, moves.units, inputs, secrets, same=keep),
            **protocol.pauses(inputs).get(needs.host, {}),
        },
        collected=moves.collected,
    )
    return contract.with_data(plan, switching.data_steps(inputs, facts, moves.units, moves.number))


def _strays(needs: HostNeeds, inputs: PlanInputs, users: tuple[UserChange, ...]) -> tuple[str, ...]:
    """Return in what a host differs from its own generation, damaged files left out."""
    facts = inputs.facts.hosts[needs.host]
    return (
        *changes.stopped(needs, facts),
        *misplaced(needs, facts, inputs.agent),
        *(f"unit {unit} runs with older files or programs" for unit in facts.outdated),
        *(f"user {user.name} is missing" for user in users if facts.users),
        *_filter_drift(facts),
        *_unproved(facts),
    )


def _filter_drift(facts: HostFacts) -> tuple[str, ...]:
    if facts.firewall is None or facts.firewall.state == "live":
        return ()
    what = "are missing" if facts.firewall.state == "missing" else "were changed by hand"
    return (f"rules of the packet filter {what}",)


def _unproved(facts: HostFacts) -> tuple[str, ...]:
    if facts.transition is None:
        return ()
    return (f"run {facts.transition.run} was cut off before this generation was marked good",)


def facts_digest(inputs: PlanInputs) -> str:
    """Return the digest of the facts that decide; see the module's description."""
    decisive = {}
    for needs in host_needs(inputs.site, inputs.manifest, inputs.trees):
        facts = inputs.facts.hosts[needs.host]
        names = {artifact.name for artifact in needs.of_kind(ArtifactKind.OS_PACKAGE)}
        decisive[needs.host] = {
            "generation": facts.generation,
            "digest": facts.generation_digest,
            "newest": facts.newest_generation,
            "generations": {str(n): each for n, each in sorted(facts.generations.items())},
            "contents": facts.contents,
            "files": changes.tree_files(needs, facts),
            "packages": {n: v for n, v in facts.packages.items() if n in names},
            "present": sorted(a.sha256 for a in needs.artifacts if changes.present(a, facts)),
            "tree": needs.tree.sha256 in facts.artifacts,
            "units": facts.units,
            "outdated": facts.outdated,
            "tls": facts.tls_units,
            "firewall": facts.firewall and facts.firewall.model_dump(mode="json"),
        }
    text = json.dumps(decisive, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def _route(inputs: PlanInputs) -> Route:
    facts = [inputs.facts.hosts[host] for host in inputs.site.hosts]
    if not inputs.running and any(each.generation for each in facts):
        return Route((), "")  # installed, but no host knows of which release
    return solve(inputs.release, inputs.running, inputs.road)


def _require_facts(inputs: PlanInputs) -> None:
    problems = []
    for host in inputs.site.hosts:
        if host not in inputs.facts.hosts:
            lost = inputs.facts.unreachable.get(host)
            problems.append(Problem(host, lost.reason if lost else "it gave no facts"))
    if problems:
        raise PreflightError(
            f"{len(problems)} of {len(inputs.site.hosts)} hosts cannot be planned for",
            code=NO_FACTS,
            hint="run `bastide preflight` to see what is wrong with them",
            problems=tuple(problems),
        )
