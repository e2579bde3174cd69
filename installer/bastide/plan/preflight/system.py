"""Checks of the operating system: its manager, rights, identity, security policies."""

from __future__ import annotations

from collections.abc import Iterator

from bastide.plan.preflight.check import HostView, Subject, Trouble, checks_in, refuses, warns

CONDITION = Subject.CONDITION
WORKING = frozenset({"running", "degraded", "starting"})


@refuses(
    CONDITION,
    "BAS-5115",
    "process 1 is systemd",
    "A host is not run by systemd (a container, or another init system)",
    "use a host with systemd; of a container, boot its init",
)
def init(host: HostView) -> Iterator[Trouble]:
    """Look at process 1."""
    if host.condition.init != "systemd":
        yield Trouble(f"process 1 is {host.condition.init or 'unknown'}, not systemd")


@refuses(
    CONDITION,
    "BAS-5116",
    "the system manager takes orders",
    "systemd of a host does not answer, or is shutting down or in maintenance",
    "see `systemctl is-system-running` and `systemctl list-jobs` there; reboot it if need be",
)
def manager(host: HostView) -> Iterator[Trouble]:
    """Look at the system's state."""
    if host.condition.system_state not in WORKING:
        yield Trouble(f"the system's state is '{host.condition.system_state}'")


@warns(
    CONDITION,
    "BAS-5117",
    "no unit of the system has failed",
    "Units of a host have failed",
    "`systemctl status UNIT` says why; mend it, then `systemctl reset-failed UNIT`",
)
def failed_units(host: HostView) -> Iterator[Trouble]:
    """List failed units."""
    if host.condition.failed_units:
        yield Trouble(f"failed: {', '.join(host.condition.failed_units)}")


@refuses(
    CONDITION,
    "BAS-5118",
    "the login has root's rights",
    "The login has not all of root's rights on a host",
    "log in as root, or as a user whose sudo gives root; of a container, give it the capabilities",
)
def rights(host: HostView) -> Iterator[Trouble]:
    """Look at user id and capabilities of the agent."""
    seen = host.condition
    if seen.uid != 0:
        yield Trouble(f"commands run as user {seen.uid}, not as root")
    if seen.capabilities_missing:
        yield Trouble(f"root lacks the capabilities {', '.join(seen.capabilities_missing)}")


@refuses(
    CONDITION,
    "BAS-5119",
    "Python has the modules that the agent uses",
    "The host agent needs modules that a host's Python lacks",
    "install the distribution's whole `python3` and `libpython3-stdlib`",
)
def python_modules(host: HostView) -> Iterator[Trouble]:
    """List missing modules."""
    if host.condition.modules_missing:
        yield Trouble(f"/usr/bin/python3 lacks {', '.join(host.condition.modules_missing)}")


@refuses(
    CONDITION,
    "BAS-5120",
    "Python can do TLS and SHA-256",
    "A host's Python cannot make a TLS connection or a SHA-256",
    "mend its OpenSSL and its crypto policy (`openssl ciphers -v`)",
)
def tls(host: HostView) -> Iterator[Trouble]:
    """Look at what the agent fetches with."""
    if host.condition.tls_fault:
        yield Trouble(host.condition.tls_fault)


@refuses(
    CONDITION,
    "BAS-5121",
    "the programs that the agent calls are there",
    "Programs that the host agent calls are missing on a host",
    "install the packages that have them (`dpkg -S NAME` on another host names it)",
)
def programs(host: HostView) -> Iterator[Trouble]:
    """List missing programs."""
    if host.condition.programs_missing:
        yield Trouble(f"missing: {', '.join(host.condition.programs_missing)}")


@warns(
    CONDITION,
    "BAS-5122",
    "units can be held to the network that they may use",
    "A host has only the old control groups: `IPAddressDeny=` of our units has no effect there",
    "boot it with `systemd.unified_cgroup_hierarchy=1`; the services' addresses still bind them",
)
def control_groups(host: HostView) -> Iterator[Trouble]:
    """Look at the kind of control groups."""
    if host.condition.cgroup in {"legacy", "none"}:
        yield Trouble(f"its control groups are '{host.condition.cgroup}', not 'unified'")


@warns(
    CONDITION,
    "BAS-5123",
    "SELinux lets the services be",
    "SELinux enforces a policy on a host that knows nothing of our services",
    "let the policy allow them, or try in permissive mode first",
)
def selinux(host: HostView) -> Iterator[Trouble]:
    """Look for an enforced policy."""
    if host.condition.selinux == "enforcing":
        yield Trouble("SELinux is enforcing")


@warns(
    CONDITION,
    "BAS-5124",
    "AppArmor lets the services be",
    "AppArmor of a host confines programs that our services run",
    "see that the profile allows /opt/bastide/current and /run/bastide-gateway",
)
def apparmor(host: HostView) -> Iterator[Trouble]:
    """Look for profiles of our programs."""
    if host.condition.apparmor:
        yield Trouble(f"enforced profiles: {', '.join(host.condition.apparmor)}")


@refuses(
    CONDITION,
    "BAS-5125",
    "new programs may run",
    "fapolicyd on a host refuses programs that its packages do not know, such as ours",
    "trust the folder: `fapolicyd-cli --file add /opt/bastide/`, or stop fapolicyd",
)
def allow_listing(host: HostView) -> Iterator[Trouble]:
    """Look for a daemon that lets only listed programs run."""
    if host.condition.allow_listing:
        yield Trouble("fapolicyd is running")


@refuses(
    CONDITION,
    "BAS-5126",
    "the machine has an id",
    "A host has no machine id: journal and services do not work right without one",
    "`systemd-machine-id-setup`, then reboot it",
)
def machine_id(host: HostView) -> Iterator[Trouble]:
    """Look at /etc/machine-id."""
    found = host.condition.machine_id
    if len(found) != 32:
        yield Trouble(f"/etc/machine-id is {'empty or missing' if not found else 'not an id'}")


@refuses(
    CONDITION,
    "BAS-5127",
    "no other host of the site is the same machine",
    "Two hosts of the site are one machine with two addresses, or copies of one disk",
    "correct the addresses in `site.yaml`; give a copy its own id (`systemd-machine-id-setup`)",
)
def same_machine(host: HostView) -> Iterator[Trouble]:
    """Compare the ids of all hosts."""
    mine = host.condition
    for name, facts in host.inputs.plan.facts.hosts.items():
        other = facts.condition
        if name == host.name or other is None or not mine.machine_id:
            continue
        if other.machine_id == mine.machine_id:
            one = other.boot_id == mine.boot_id
            what = "is the same machine as" if one else "has the same machine id as"
            yield Trouble(f"{what} {name}", mild=not one)


@warns(
    CONDITION,
    "BAS-5128",
    "something keeps the clock right",
    "Nothing keeps a host's clock right; it may be off one day, and certificates refused",
    "run chrony or systemd-timesyncd with a time server of the site",
)
def clock_kept(host: HostView) -> Iterator[Trouble]:
    """Look for a time service."""
    if host.condition.synchronised is False:
        yield Trouble("no time service runs")


@warns(
    CONDITION,
    "BAS-5129",
    "localhost is this host",
    "The name localhost does not lead to a host's own loopback address",
    "let /etc/hosts begin with `127.0.0.1 localhost`",
)
def localhost(host: HostView) -> Iterator[Trouble]:
    """Resolve localhost."""
    if not host.condition.localhost.startswith("127."):
        yield Trouble(f"localhost leads to {host.condition.localhost or 'nothing'}")


@warns(
    CONDITION,
    "BAS-5130",
    "the host has a name of its own",
    "A host has no name of its own; logs of several hosts cannot be told apart",
    "`hostnamectl set-hostname NAME`",
)
def hostname(host: HostView) -> Iterator[Trouble]:
    """Look for a host that is only called localhost."""
    if host.facts.hostname.split(".")[0] in {"", "localhost"}:
        yield Trouble(f"its name is '{host.facts.hostname}'")


CHECKS = checks_in(globals())
