"""A site of production → the same site on lab hosts. Pure.

Names of hosts, groups, ports, models and releases stay. Addresses, the way in by SSH and secrets
are the lab's; sizes shrink only as far as this machine's memory asks for.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from bastide.errors import ConfigError
from bastide.lab import spec as lab
from bastide.plan.memory import memory_needed
from bastide.progress import human_bytes
from bastide.rehearsal.codes import NOT_READY
from bastide.render.trees import HostTree, TreeFile
from bastide.schema.model_card import ModelCard
from bastide.schema.plan import Plan
from bastide.schema.rehearsal import Difference, HostPair
from bastide.schema.site import Site, Ssh

MEMORY_SHARE = 0.85  # of what is free now; the rest is for this machine's own work
_LEAST_CONTEXT = 256
_DEBIAN = {"12": "bookworm", "13": "trixie"}


@dataclass(frozen=True)
class Scene:
    """Who plays whom.

    Args:
        lab: The lab's name.
        hosts: Every host of the site, the wanted one's first.
        control: The control node's addresses: in production, in the lab.
        floating: The address that the gateways share, in production, with the lab's.
    """

    lab: str
    hosts: tuple[HostPair, ...]
    control: tuple[str, str]
    floating: Mapping[str, str] = field(default_factory=dict)

    @property
    def addresses(self) -> dict[str, str]:
        """The lab's address for each address of production."""
        pairs = {pair.address: pair.lab_address for pair in self.hosts}
        return {**pairs, **dict([self.control]), **self.floating}

    def pair(self, host: str) -> HostPair:
        """Return a host of the site with the one that plays it."""
        return next(pair for pair in self.hosts if pair.host == host)


def set_scene(name: str, wanted: Site, present: Site | None) -> Scene:
    """Return who plays whom: hosts of the wanted site first, then those that only the present has.

    Args:
        name: The lab's name.
        wanted: The site as it shall be.
        present: The site as it is; None if nothing is installed.

    Raises:
        ConfigError: The site has more hosts than a lab.
    """
    hosts = {**(present.hosts if present else {}), **wanted.hosts}
    order = [*wanted.hosts, *(host for host in hosts if host not in wanted.hosts)]
    if len(order) > lab.MAX_HOSTS:
        raise ConfigError(
            f"the site has {len(order)} hosts, a lab at most {lab.MAX_HOSTS}",
            code=NOT_READY,
            hint="rehearse with a site.yaml that has fewer hosts of the same kind",
        )
    pairs = []
    for number, host in enumerate(order, start=1):
        player = lab.host_name(number)
        pairs.append(
            HostPair(
                host=host,
                address=str(hosts[host].address),
                groups=hosts[host].groups,
                lab_host=player,
                lab_address=lab.host_address(name, player),
            )
        )
    control = (str(wanted.network.control_address), lab.control_address(name))
    shared = (site.network.gateway_address for site in (present, wanted) if site is not None)
    floating = {str(each): lab.floating_address(name) for each in shared if each is not None}
    return Scene(name, tuple(pairs), control, floating)


def lab_release(site: Site, distribution: str, version: str) -> str:
    """Return the Debian release of lab hosts that can play the site's.

    Raises:
        ConfigError: The lab has no such hosts.
    """
    if distribution != "debian" or version not in _DEBIAN:
        raise ConfigError(
            f"the lab cannot play hosts of target '{site.target}' ({distribution} {version}); it "
            f"can play Debian {', '.join(_DEBIAN)}",
            code=NOT_READY,
            hint="rehearse on spare machines of that kind, with a site.yaml of their own",
        )
    return _DEBIAN[version]


def site_in_lab(site: Site, scene: Scene, ssh: Ssh) -> Site:
    """Return ``site`` as it stands in the lab; nothing but addresses and the way in differs."""
    hosts = {
        name: host.replace(address=scene.pair(name).lab_address)
        for name, host in site.hosts.items()
    }
    network = site.network.replace(control_address=scene.control[1])
    if network.gateway_address is not None:
        here = scene.floating[str(network.gateway_address)]
        network = network.replace(gateway_address=here)
    return site.replace(hosts=hosts, network=network, ssh=ssh)


# --- memory ----------------------------------------------------------------------------------
def memory_of(site: Site, cards: Mapping[str, ModelCard]) -> int:
    """Return the bytes of memory that all hosts of a site need together on one machine."""
    return sum(
        size
        for host in site.hosts.values()
        for what, size in memory_needed(host.groups, site, cards).items()
        if what != "the operating system"
    )


def bounded(site: Site, cards: Mapping[str, ModelCard], room: int, cpus: int) -> Site:
    """Return ``site`` with sizes that fit into ``room`` bytes and ``cpus``; the same if they do.

    First fewer requests at once, then shorter contexts; models stay.

    Raises:
        ConfigError: It does not fit with the smallest sizes either.
    """
    smaller = _fewer_threads(site, cpus)
    while memory_of(smaller, cards) > room:
        llm, embeddings = smaller.sizes.llm, smaller.sizes.embeddings
        if llm.parallel > 1:
            llm = llm.replace(parallel=llm.parallel // 2)
        elif embeddings.parallel > 1:
            embeddings = embeddings.replace(parallel=embeddings.parallel // 2)
        elif llm.context_tokens > _LEAST_CONTEXT:
            llm = llm.replace(context_tokens=max(_LEAST_CONTEXT, llm.context_tokens // 2))
        else:
            raise ConfigError(
                f"this machine has {human_bytes(room)} of memory for the lab; the site's "
                f"{len(site.hosts)} hosts need {human_bytes(memory_of(smaller, cards))} with the "
                "smallest sizes",
                code=NOT_READY,
                hint="rehearse on a machine with more memory, or free some",
            )
        sizes = smaller.sizes.replace(llm=llm, embeddings=embeddings)
        smaller = smaller.replace(sizes=sizes)
    return smaller


def _fewer_threads(site: Site, cpus: int) -> Site:
    sizes = site.sizes
    llm = sizes.llm.replace(threads=min(sizes.llm.threads, cpus))
    embeddings = sizes.embeddings.replace(threads=min(sizes.embeddings.threads, cpus))
    return site.replace(sizes=sizes.replace(llm=llm, embeddings=embeddings))


def size_differences(site: Site, smaller: Site, when: str) -> tuple[Difference, ...]:
    """Return in which sizes the lab's site is smaller.

    Args:
        site: In production.
        smaller: In the lab.
        when: Which of the two generations, for the operator.
    """
    return tuple(
        Difference(
            what=f"sizes.{group}.{name}, {when}",
            production=str(getattr(before, name)),
            lab=str(getattr(after, name)),
            meaning="reduced to fit this machine: memory and speed under load are not rehearsed at "
            "production's size",
        )
        for group, before, after in (
            ("llm", site.sizes.llm, smaller.sizes.llm),
            ("embeddings", site.sizes.embeddings, smaller.sizes.embeddings),
        )
        for name in type(before).model_fields
        if getattr(before, name) != getattr(after, name)
    )


# --- the present generation's files ----------------------------------------------------------
def tree_in_lab(tree: HostTree, addresses: Mapping[str, str]) -> HostTree:
    """Return a host's files with every address of production replaced by the lab's."""
    pattern = _pattern(list(addresses))
    files = {}
    for path, file in tree.files.items():
        text = file.content.decode("utf-8", "surrogateescape")
        text = pattern.sub(lambda found: addresses[found["address"]], text)
        files[path] = TreeFile(text.encode("utf-8", "surrogateescape"), file.mode)
    return HostTree(tree.host, files)


def _pattern(addresses: Sequence[str]) -> re.Pattern[str]:
    """Return what finds whole addresses: 10.0.0.1, but not within 10.0.0.11 or 110.0.0.1."""
    longest_first = sorted(addresses, key=len, reverse=True)
    words = "|".join(re.escape(address) for address in longest_first)
    return re.compile(rf"(?<![0-9A-Fa-f.:])\[?(?P<address>{words})\]?(?![0-9A-Fa-f]|\.[0-9])")


def plan_in_lab(plan: Plan, site: Site, trees: Mapping[str, HostTree]) -> Plan:
    """Return the plan of an earlier run as if it had been carried out in the lab.

    Args:
        plan: What the run carried out in production.
        site: The lab's site.
        trees: The lab hosts' files.
    """
    hosts = tuple(
        each.replace(
            address=str(site.hosts[each.host].address),
            tree_sha256=trees[each.host].sha256,
        )
        for each in plan.hosts
    )
    return plan.replace(site_digest=site.digest(), hosts=hosts)
