"""Does a plan still hold, and if not, what exactly is different? Pure.

A plan holds, too, if the hosts are on their way to what it wants: what a run that was cut off has
done already is missing from the fresh plan, and everything that is left was planned.
"""

from __future__ import annotations

from collections.abc import Iterator

from bastide.schema.plan import FileChange, HostPlan, Plan

MOST_KEYS = 8  # of site.yaml that a refusal names one by one
_NOW = {"create": "is missing", "update": "has another content", "remove": "is not ours"}


def is_stale(plan: Plan, fresh: Plan) -> tuple[str, ...]:
    """Return what has changed since ``plan`` was made; nothing if it still holds.

    Args:
        plan: The plan that someone looked at.
        fresh: A plan made just now.
    """
    reasons = list(_site(plan, fresh))
    if plan.bundle != fresh.bundle or plan.release != fresh.release:
        reasons.append(
            f"the bundle is another one: {plan.release} ({plan.bundle[:12]}) when planned, "
            f"{fresh.release} ({fresh.bundle[:12]}) now"
        )
    changed = bool(reasons)
    before = {each.host: each for each in plan.hosts}
    for now in fresh.hosts:
        planned = before.pop(now.host, None)
        if planned is None:
            reasons.append(f"{now.host}: not in the plan")
            continue
        reasons += [f"{now.host}: {what}" for what in _host(planned, now, inputs_changed=changed)]
    reasons += [f"{host}: no longer in the site" for host in before]
    reasons += _leaving(plan, fresh)
    return tuple(reasons)


def _leaving(plan: Plan, fresh: Plan) -> Iterator[str]:
    """Yield what of hosts that leave was not planned; what is done already is no news."""
    known = {each.host: each for each in plan.leaving}
    for now in fresh.leaving:
        planned = known.get(now.host)
        if planned is None:
            yield f"{now.host}: it has left the site, which was not planned"
        elif planned.forgotten != now.forgotten:
            words = "be forgotten" if now.forgotten else "be taken out of service"
            yield f"{now.host}: it would {words} now; that was not planned"
        elif not set(now.units) <= set(planned.units):
            yield f"{now.host}: other units run there now than when planned"


def _site(plan: Plan, fresh: Plan) -> Iterator[str]:
    if plan.site == fresh.site and plan.site_digest == fresh.site_digest:
        return
    was, now = plan.site_view, fresh.site_view
    keys = [key for key in sorted({*was, *now}) if was.get(key) != now.get(key)]
    if not (was and now and keys):
        yield "site.yaml has changed"
        return
    for key in keys[:MOST_KEYS]:
        if key not in now:
            yield f"site.yaml has changed: {key} is gone, it was {was[key]} when planned"
        elif key not in was:
            yield f"site.yaml has changed: {key} is new: {now[key]}"
        else:
            yield f"site.yaml has changed: {key} is {now[key]}, it was {was[key]} when planned"
    if len(keys) > MOST_KEYS:
        yield f"site.yaml has changed: {len(keys) - MOST_KEYS} more keys"


def _host(planned: HostPlan, now: HostPlan, *, inputs_changed: bool) -> list[str]:
    """Return what of ``now`` was not foreseen by ``planned``."""
    # An interrupted build leaves its number used: then the wanted content has a later one.
    moves = planned.generation_before != planned.generation_after
    kept = now.generation_before == now.generation_after
    arrived = now.generation_before == planned.generation_after or (moves and kept)
    found = list(_identity(planned, now, inputs_changed=inputs_changed))
    if now.generation_before != planned.generation_before and not arrived:
        found.append(
            f"its generation is {now.generation_before or 'none'} now, "
            f"it was {planned.generation_before or 'none'} when planned"
        )
    found += _packages(planned, now)
    found += _files(planned, now)
    found += _units(planned, now)
    found += _fetches(planned, now)
    found += _outside(planned, now)
    # After the switch a stopped unit is all that can be left; before it, drift is news.
    if not arrived:
        known = set(planned.drift)
        found += [f"it has drifted: {what}" for what in now.drift if what not in known]
    return found


def _identity(planned: HostPlan, now: HostPlan, *, inputs_changed: bool) -> Iterator[str]:
    if planned.address != now.address:
        yield f"its address is {now.address}, it was {planned.address} when planned"
    if planned.groups != now.groups:
        was, are = ", ".join(planned.groups), ", ".join(now.groups)
        yield f"its groups are {are}, they were {was} when planned"
    if planned.generation_digest != now.generation_digest:
        why = "" if inputs_changed else "; Bastide itself is probably another version"
        yield (
            f"the generation's content changed: {now.generation_digest[:12]} now, "
            f"{planned.generation_digest[:12]} when planned{why}"
        )


def _packages(planned: HostPlan, now: HostPlan) -> Iterator[str]:
    known = {each.name: each for each in planned.packages}
    for each in now.packages:
        was = known.get(each.name)
        if was == each:
            continue
        if was is None:
            held = "the wanted version or a newer one"
            yield f"package {each.name} is {each.before or 'not installed'} now, it was {held}"
        elif was.before != each.before:
            yield (
                f"package {each.name} is {each.before or 'not installed'} now, "
                f"it was {was.before or 'not installed'} when planned"
            )
        else:
            yield f"package {each.name} would become {each.after}, planned was {was.after}"


def _files(planned: HostPlan, now: HostPlan) -> Iterator[str]:
    known = {change.path: change for change in planned.files}
    for change in now.files:
        was = known.get(change.path)
        if was == change:
            continue
        if was is None:
            yield f"file {change.path} {_NOW[change.action]}; it was as wanted when planned"
        elif was.sha256 != change.sha256:
            yield f"file {change.path} would become {_content(change)}, planned was {_content(was)}"
        else:
            words = _NOW[was.action]
            yield f"file {change.path} {_NOW[change.action]} now; when planned it {words}"


def _content(change: FileChange) -> str:
    return f"the one with digest {change.sha256[:12]}" if change.sha256 else "nothing"


def _units(planned: HostPlan, now: HostPlan) -> Iterator[str]:
    known = {unit.name for unit in planned.units}
    states = {
        "start": "does not run now, it was active when planned",
        "stop": "runs now and belongs to no group of this host, it did not run when planned",
        "restart": "would have to restart now, it would not when planned",
    }
    for unit in now.units:
        if unit.name not in known:
            yield f"unit {unit.name} {states[unit.action]}"


def _fetches(planned: HostPlan, now: HostPlan) -> Iterator[str]:
    known = {pull.sha256 for pull in planned.pulls}
    for pull in now.pulls:
        if pull.sha256 not in known:
            yield f"it has to fetch {pull.name} ({pull.filename}), which it had when planned"


def _outside(planned: HostPlan, now: HostPlan) -> Iterator[str]:
    """Yield what of accounts, secrets and places outside the generation was not planned."""
    known = {user.name for user in planned.users}
    for user in now.users:
        if user.name not in known:
            yield f"user {user.name} is missing now, it was there when planned"
    secrets = {secret.path: secret.fingerprint for secret in planned.secrets}
    for secret in now.secrets:
        if secret.path not in secrets:
            yield f"secret {secret.path} is not up to date now, it was when planned"
        elif secrets[secret.path] not in {"", secret.fingerprint}:
            yield f"secret {secret.path} is another one now than when planned"
    paths = {change.path for change in planned.paths}
    for change in now.paths:
        if change.certain and change.path not in paths:
            yield f"{change.path} would be written now ({change.why}), it would not when planned"
