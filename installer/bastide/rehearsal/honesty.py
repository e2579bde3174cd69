"""In what a lab is not production, said before anybody believes the figures. Pure."""

from __future__ import annotations

from bastide.progress import human_bytes
from bastide.schema.plan import Plan
from bastide.schema.rehearsal import Difference, Machine
from bastide.schema.site import Site

UNKNOWN = "not known: production was not asked"


def differences(
    site: Site, plan: Plan | None, machine: Machine, points: int
) -> tuple[Difference, ...]:
    """Return what is always different, with this site's figures.

    Args:
        site: The wanted site, in production.
        plan: The plan for production; None if there is none.
        machine: The lab's machine.
        points: Points in the lab's vector DB.
    """
    return (
        _hosts(site, machine),
        Difference(
            what="addresses, SSH, secrets, certificates",
            production="the site's own",
            lab="the lab's own, made for this rehearsal",
            meaning="a firewall between your hosts, a wrong SSH key or an expired certificate is "
            "not seen here; `bastide preflight` looks at those",
        ),
        Difference(
            what="network",
            production="yours",
            lab="a bridge inside one machine",
            meaning="staging takes longer where the network is slower: see the bytes fetched, not "
            "the seconds",
        ),
        _data(plan, points),
        Difference(
            what="state of the hosts",
            production="as they are, with whatever else was done to them" if plan else UNKNOWN,
            lab="minimal Debian, then the site's present generation as its run left it",
            meaning="drift, full disks and foreign packages are not rehearsed; `bastide plan` and "
            "`bastide preflight` look at the hosts themselves",
        ),
    )


def _hosts(site: Site, machine: Machine) -> Difference:
    count = len(site.hosts)
    share = "its" if count == 1 else f"the {count} hosts share its"
    return Difference(
        what="processors and memory",
        production=f"{count} machines of their own" if count > 1 else "a machine of its own",
        lab=f"one machine: {share} {machine.cpus} CPUs and {human_bytes(machine.memory)} "
        f"({human_bytes(machine.memory_free)} were free)",
        meaning="seconds are this machine's, with a client that asks all the time: start of "
        "services and gates are mostly faster on machines of their own",
    )


def _data(plan: Plan | None, points: int) -> Difference:
    steps = [step for host in plan.hosts for step in host.data] if plan else []
    size = sum(step.bytes for step in steps)
    known = f"the plan's data steps take {human_bytes(size)}" if steps else "no data step planned"
    return Difference(
        what="vector data",
        production=known if plan else UNKNOWN,
        lab=f"{points} points of this rehearsal",
        meaning="a snapshot, and embedding anew, take time and disk in proportion to the data",
    )
