"""Checks of apt and dpkg: would the OS packages that are missing be installed?

Where none is missing, apt is not called, and what is wrong with it is only told.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Iterator

from bastide.plan import changes
from bastide.plan.preflight.check import HostView, Subject, Trouble, checks_in, refuses, warns
from bastide.schema.site import Group

CONDITION = Subject.CONDITION


@refuses(
    CONDITION,
    "BAS-5143",
    "dpkg's database is whole",
    "dpkg's list of installed packages on a host is missing, empty or damaged",
    "put back the newest whole one: `ls -l /var/lib/dpkg/status* /var/backups/dpkg.status*`",
)
def package_database(host: HostView) -> Iterator[Trouble]:
    """Look for a damaged database: from it comes which packages are missing."""
    if host.condition.packages_database:
        yield Trouble(host.condition.packages_database)


@refuses(
    CONDITION,
    "BAS-5144",
    "every package is whole",
    "Packages of a host are half installed or not configured; apt refuses to go on",
    "`dpkg --audit` lists them; `dpkg --configure -a` finishes what was begun",
)
def whole_packages(host: HostView) -> Iterator[Trouble]:
    """List broken packages."""
    broken = host.condition.packages_broken
    if broken:
        shown = [f"{name} ({state})" for name, state in sorted(broken.items())[:5]]
        more = f" and {len(broken) - 5} more" if len(broken) > 5 else ""
        yield Trouble(f"not whole: {', '.join(shown)}{more}", mild=not host.installs_packages)


@refuses(
    CONDITION,
    "BAS-5145",
    "dpkg was not interrupted",
    "dpkg was interrupted on a host; apt refuses to go on",
    "`dpkg --configure -a`",
)
def interrupted(host: HostView) -> Iterator[Trouble]:
    """Look for dpkg's own journal."""
    if host.condition.packages_interrupted:
        yield Trouble("/var/lib/dpkg/updates is not empty", mild=not host.installs_packages)


@refuses(
    CONDITION,
    "BAS-5146",
    "nobody else installs packages now",
    "Another program holds the lock of dpkg or apt on a host",
    "wait until it ends; often it is unattended-upgrades or apt-daily",
)
def package_lock(host: HostView) -> Iterator[Trouble]:
    """Look for holders of dpkg's and apt's locks."""
    for path, holder in host.condition.packages_locks.items():
        yield Trouble(f"{path} is locked by {holder}", mild=not host.installs_packages)


@refuses(
    CONDITION,
    "BAS-5147",
    "no package that must change is held",
    "A package that must be installed or upgraded is on hold on a host",
    "`apt-mark unhold NAME`, if whoever held it agrees",
)
def held_packages(host: HostView) -> Iterator[Trouble]:
    """Compare held packages with those that would change."""
    held = set(host.condition.packages_held)
    for change in changes.packages(host.needs, host.facts):
        if change.name in held:
            before = change.before or "none"
            yield Trouble(f"{change.name} is held at {before}; {change.after} is needed")


@refuses(
    CONDITION,
    "BAS-5148",
    "no preference of apt forbids a package that must change",
    "apt's preferences on a host forbid a package that must be installed; apt would take it all "
    "the same, because Bastide names its version, so Bastide asks first",
    "take the pin out of /etc/apt/preferences(.d), or give it a priority above 0",
)
def pins(host: HostView) -> Iterator[Trouble]:
    """Compare pins below 0 with the packages that would change."""
    for change in changes.packages(host.needs, host.facts):
        for pattern, priority in host.condition.pins.items():
            if fnmatch.fnmatchcase(change.name, pattern):
                what = f"{change.name} {change.after} is needed, but '{pattern}' is pinned"
                yield Trouble(f"{what} to {priority}")
                break


@refuses(
    CONDITION,
    "BAS-5149",
    "apt's settings can be read",
    "apt's settings on a host have a mistake; apt does not start",
    "correct the file that the message names",
)
def apt_settings(host: HostView) -> Iterator[Trouble]:
    """Look at what apt says of its own settings."""
    if host.condition.apt_fault:
        yield Trouble(host.condition.apt_fault, mild=not host.installs_packages)


@warns(
    CONDITION,
    "BAS-5150",
    "no policy of ours was left behind",
    "A run was cut off while it installed packages: daemons may still be kept from starting",
    "`mv /usr/sbin/policy-rc.d.before-bastide /usr/sbin/policy-rc.d`",
)
def policy_left(host: HostView) -> Iterator[Trouble]:
    """Look for a policy that was put aside and not put back."""
    if host.condition.policy_left:
        yield Trouble("/usr/sbin/policy-rc.d.before-bastide was left by a run that was cut off")


@refuses(
    CONDITION,
    "BAS-5151",
    "haproxy is not somebody else's",
    "A host has a haproxy.service of its own, which the gateway would take over",
    "put the gateway on another host, or stop and remove that haproxy.service",
)
def own_haproxy(host: HostView) -> Iterator[Trouble]:
    """Look for a haproxy that somebody set up."""
    seen = host.condition
    if Group.GATEWAY not in host.needs.groups:
        return
    if seen.haproxy_unit == "own":
        yield Trouble("/etc/systemd/system/haproxy.service is the administrator's own")
    if seen.rivals.get("haproxy") == "haproxy.service":
        yield Trouble("haproxy runs as haproxy.service, for something else")


@warns(
    CONDITION,
    "BAS-5152",
    "no other program does what ours do",
    "Another vector DB or gateway runs on a host; both will want its memory",
    "see whether it is still used; if not, stop it",
)
def rivals(host: HostView) -> Iterator[Trouble]:
    """Look for another Qdrant."""
    if "qdrant" in host.condition.rivals:
        unit = host.condition.rivals["qdrant"]
        yield Trouble(f"qdrant runs{f' as {unit}' if unit else ''}")


CHECKS = checks_in(globals())
