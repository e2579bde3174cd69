"""What a host has of Bastide outside generations: what should be there, and what changes. Pure.

The host agent's ``places.py`` says what is there. A state is ``folder MODE``, ``link TARGET``,
``file SIZE`` or a digest; an empty one stands for anything.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from bastide import layout
from bastide.layout import (
    HOST_CURRENT,
    HOST_ETC,
    HOST_FOLDERS,
    HOST_OPT,
    HOST_STATE,
    HOST_TEXTS,
)
from bastide.plan.firewall import FIREWALL_FILE
from bastide.plan.inputs import PlanInputs
from bastide.plan.needs import HostNeeds
from bastide.plan.services import ALERTMANAGER, HOST_METRICS, PROMETHEUS, SYSLOG
from bastide.schema.artifact import ArtifactKind
from bastide.schema.facts import HostFacts
from bastide.schema.plan import PackageChange, PathChange, UnitChange, UserChange
from bastide.schema.site import Group

AGENT = str(HOST_OPT / "bin/bastide_host.py")
AGENT_CODE = str(HOST_OPT / "bin/bastide_host.code")
APT_SOURCE = "/etc/apt/sources.list.d/bastide.list"
APT_SOURCE_TEXT = (
    "# Bastide's packages of this release; each was verified by SHA-256 when it came.\n"
    f"deb [trusted=yes] file:{HOST_STATE}/repository ./\n"
)
SYSUSERS = "/etc/sysusers.d/bastide.conf"
UNITS = "/etc/systemd/system"
WANTS = f"{UNITS}/multi-user.target.wants"
INTERNET_SOURCE = "internet source"
SET_ASIDE = ".disabled-by-bastide"
LLM = "bastide-llm.service"
FOLDERS = {str(path): f"{mode:04o}" for path, mode in HOST_FOLDERS.items()}
ACCOUNT_FILES = ("/etc/passwd", "/etc/group", "/etc/shadow", "/etc/gshadow")
BLOBS = ("models", "artifacts", "repository")
GONE_WITH_GENERATIONS = ("models", "artifacts", "snapshots")
DESCRIPTIONS = ("host.json", "release.json", "upgrade-manifest.yaml")
JOURNALD = "/etc/systemd/journald@bastide.conf"


@dataclass(frozen=True)
class PackageEffects:
    """What an OS package's own scripts leave beside the files that dpkg lists.

    Args:
        users: Accounts that they make.
        paths: Files that they write.
        masks: The unit that Bastide masks before, because it runs the program with one of its own.
    """

    users: tuple[str, ...] = ()
    paths: tuple[str, ...] = ()
    masks: str = ""


# Of every package that a release may install and whose scripts do more than trigger ldconfig.
EFFECTS = {
    "haproxy": PackageEffects(
        users=("haproxy",),
        paths=(
            *(f"/etc/rc{level}.d/K01haproxy" for level in (0, 1, 6)),
            *(f"/etc/rc{level}.d/S01haproxy" for level in (2, 3, 4, 5)),
        ),
        masks="haproxy.service",
    ),
    "keepalived": PackageEffects(
        paths=(
            *(f"/etc/rc{level}.d/K01keepalived" for level in (0, 1, 6)),
            *(f"/etc/rc{level}.d/S01keepalived" for level in (2, 3, 4, 5)),
        ),
        masks="keepalived.service",
    ),
    **{
        name: PackageEffects(
            users=("prometheus",),
            paths=(
                *(f"/etc/rc{level}.d/K01{name}" for level in (0, 1, 6)),
                *(f"/etc/rc{level}.d/S01{name}" for level in (2, 3, 4, 5)),
            ),
            masks=f"{name}.service",
        )
        for name in ("prometheus", "prometheus-alertmanager", "prometheus-node-exporter")
    },
}


DATA = {  # folders that systemd makes when a unit starts
    "bastide-vectordb.service": (str(HOST_STATE / "vectordb"), "the vector DB's data"),
    PROMETHEUS: (str(HOST_STATE / "prometheus"), "collected metrics"),
    ALERTMANAGER: (str(HOST_STATE / "alertmanager"), "silences, and who was told what"),
    SYSLOG: (str(HOST_STATE / "syslog"), "which log lines the syslog server has"),
    HOST_METRICS: (str(layout.HOST_METRICS), "what the host tells of itself"),
}


@dataclass(frozen=True)
class Moves:
    """What else of the host's plan decides where is written.

    Args:
        number: The generation that the plan leads to.
        built: Whether that has to be built.
        packages: OS packages that change.
        users: Accounts that come.
        units: What happens to units.
        collected: Generations that are removed.
    """

    number: int
    built: bool
    packages: tuple[PackageChange, ...] = ()
    users: tuple[UserChange, ...] = ()
    units: tuple[UnitChange, ...] = ()
    collected: tuple[int, ...] = ()


def wanted_places(needs: HostNeeds, agent: str = "") -> dict[str, tuple[str, str]]:
    """Return what should be at each place, whatever the generation: path → state, what it is.

    Args:
        needs: What the host must have.
        agent: SHA-256 of the host agent's text; empty if any will do.
    """
    repository = HOST_STATE / "repository"
    found = {path: (f"folder {mode}", "Bastide's folders") for path, mode in FOLDERS.items()}
    found[AGENT] = (agent, "the host agent")
    source = hashlib.sha256(APT_SOURCE_TEXT.encode()).hexdigest()
    found[APT_SOURCE] = (source, "apt source of the local repository")
    found[f"{repository}/Packages"] = ("", "list of the local repository")
    for each in needs.of_kind(ArtifactKind.OS_PACKAGE):
        found[f"{repository}/{each.filename}"] = (f"file {each.size}", "local repository")
    if "etc/sysusers.conf" in needs.tree.files:
        found[SYSUSERS] = (needs.tree.files["etc/sysusers.conf"], "who the services run as")
    for name in DESCRIPTIONS:
        if f"etc/{name}" in needs.tree.files:
            link = f"link {HOST_CURRENT}/etc/{name}"
            found[str(HOST_ETC / name)] = (link, "what this host is, of the live generation")
    if "etc/journald.conf" in needs.tree.files:
        link = f"link {HOST_CURRENT}/etc/journald.conf"
        found[JOURNALD] = (link, "how long services' logs are kept")
    for unit in needs.units:
        found[f"{UNITS}/{unit}"] = (f"link {HOST_CURRENT}/units/{unit}", f"unit {unit}")
        found[f"{WANTS}/{unit}"] = (f"link ../{unit}", f"{unit} starts at boot")
    return found


def misplaced(needs: HostNeeds, facts: HostFacts, agent: str = "") -> tuple[str, ...]:
    """Return what is wrong outside the generation of a host that should need nothing."""
    if not facts.places:
        return ()
    words = []
    for path, (_, what) in _differing(needs, facts, agent):
        fault = "is missing" if path not in facts.places else "is not as it should be"
        words.append(f"{path} ({what}) {fault}")
    words += [f"{path} is left over" for path in _left_over(needs, facts)]
    words += [f"{path} names packages on the internet" for path in _sources(facts)]
    return tuple(words)


def path_changes(needs: HostNeeds, inputs: PlanInputs, moves: Moves) -> tuple[PathChange, ...]:
    """Return everything outside the generation that is written, sorted by path.

    Fetched blobs and secrets are not among it: the plan has lists of their own for these.
    """
    facts = inputs.facts.hosts[needs.host]
    still = facts.generation == moves.number and not facts.places
    static = () if still else _static(needs, facts, inputs.agent)
    parts = (
        static,
        _generation(needs, facts, moves),
        _started(facts, moves),
        _texts(needs, inputs, moves),
        _accounts(moves),
        _packages(facts, moves),
        _collected(moves.collected),
    )
    found = {change.path: change for part in parts for change in part}
    if found:
        found.update((change.path, change) for change in _run(needs))
    return tuple(found[path] for path in sorted(found))


def _differing(
    needs: HostNeeds, facts: HostFacts, agent: str
) -> Iterator[tuple[str, tuple[str, str]]]:
    for path, (state, what) in wanted_places(needs, agent).items():
        held = facts.places.get(path)
        if held is None or (state and held != state):
            yield path, (state, what)


def _left_over(needs: HostNeeds, facts: HostFacts) -> list[str]:
    """Return links of units and packages in the repository that no longer belong."""
    wanted = wanted_places(needs)
    folders = (f"{UNITS}/bastide-", f"{WANTS}/bastide-", f"{HOST_STATE}/repository/")
    stale = [path for path in facts.places if path.startswith(folders) and path not in wanted]
    gone = {path.rpartition("/")[2] for path in stale if path.startswith(UNITS)}
    return stale + [f"{HOST_STATE}/started/{unit}" for unit in sorted(gone)
                    if f"{HOST_STATE}/started/{unit}" in facts.places]  # fmt: skip


def _sources(facts: HostFacts) -> list[str]:
    return [path for path, state in facts.places.items() if state == INTERNET_SOURCE]


def _static(needs: HostNeeds, facts: HostFacts, agent: str) -> Iterator[PathChange]:
    repository = f"{HOST_STATE}/repository/"
    listed = False
    for path, (_, what) in _differing(needs, facts, agent):
        listed |= path.startswith(repository)
        yield PathChange(path=path, why=what)
    for path in _left_over(needs, facts):
        listed |= path.startswith(repository)
        yield PathChange(path=path, why="no longer needed: removed")
        if path.startswith(f"{HOST_STATE}/started/"):
            yield PathChange(path=f"{path}.born", why="no longer needed: removed", certain=False)
    if listed:
        yield PathChange(path=f"{repository}Packages", why="list of the local repository")
    if agent and facts.places.get(AGENT, agent) != agent:
        for name in BLOBS:
            why = "time stamps of verified artifacts, which another agent may set anew"
            yield PathChange(path=str(HOST_STATE / name), why=why, whole=True, certain=False)
    sources = _sources(facts)
    for path in sources:
        yield PathChange(path=path, why="names packages on the internet: set aside")
        yield PathChange(path=path + SET_ASIDE, why="where that apt source goes", certain=False)
    if sources:
        record = str(HOST_STATE / "disabled-sources.json")
        yield PathChange(path=record, why="which apt sources were set aside", certain=False)


def _run(needs: HostNeeds) -> Iterator[PathChange]:
    """Yield what every run writes that changes anything."""
    why = "lock, progress and the run's token; gone after a reboot"
    yield PathChange(path="/run/bastide", why=why, whole=True, certain=False)
    yield PathChange(path=AGENT_CODE, why="the host agent, compiled", certain=False)
    for name, what in (
        ("journald.sha256", "which settings the services' journal has"),
        ("good.json", "which generations have passed their gates"),
        ("transition.json", "the switch under way; gone at its end"),
        *((("vectordb.fence", "writes wait; gone at the switch's end"),)
          if Group.VECTORDB in needs.groups else ()),
        *((("redirects-before.conf", "what ICMP redirects did before the packet filter"),)
          if FIREWALL_FILE in needs.tree.files else ()),
    ):  # fmt: skip
        yield PathChange(path=str(HOST_STATE / name), why=what, certain=False)


def _collected(numbers: Iterable[int]) -> Iterator[PathChange]:
    """Yield what goes together with earlier generations: only things that no other one needs."""
    if tuple(numbers):
        for name in GONE_WITH_GENERATIONS:
            why = "what only removed generations used goes with them"
            yield PathChange(path=str(HOST_STATE / name), why=why, certain=False)


def _generation(needs: HostNeeds, facts: HostFacts, moves: Moves) -> Iterator[PathChange]:
    if facts.generation != moves.number:
        yield PathChange(path=str(HOST_CURRENT), why=f"leads to generation {moves.number}")
    if moves.built and needs.wheels and needs.installer:
        program = f"{HOST_OPT}/bin/uv-{needs.installer.sha256[:12]}"
        if program not in facts.places:
            yield PathChange(path=program, why="builds the Python environment")
        cache = str(HOST_OPT / "cache")
        yield PathChange(path=cache, why="uv's unpacked wheels", whole=True, certain=False)


def _started(facts: HostFacts, moves: Moves) -> Iterator[PathChange]:
    for unit in moves.units:
        if unit.action != "stop":
            path = f"{HOST_STATE}/started/{unit.name}"
            why = f"what {unit.name} was started with"
            yield PathChange(path=path, why=why, certain=path not in facts.places)
            yield PathChange(path=f"{path}.born", why=why, certain=False)
        data, what = DATA.get(unit.name, ("", ""))
        if data and unit.action == "start" and data not in facts.places:
            yield PathChange(path=data, why=what, whole=True)


def _texts(needs: HostNeeds, inputs: PlanInputs, moves: Moves) -> Iterator[PathChange]:
    """Yield the folder that comes when a site begins to record texts; its service restarts then."""
    wanted = inputs.site.records_texts and Group.LLM in needs.groups
    begins = any(unit.name == LLM and unit.action != "stop" for unit in moves.units)
    if wanted and begins and str(HOST_TEXTS) not in inputs.facts.hosts[needs.host].places:
        why = "PROMPTS AND ANSWERS are recorded here from now on (audit.texts_days)"
        yield PathChange(path=str(HOST_TEXTS), why=why, whole=True)


def _accounts(moves: Moves) -> Iterator[PathChange]:
    if moves.users:
        names = ", ".join(user.name for user in moves.users)
        for path in ACCOUNT_FILES:
            yield PathChange(path=path, why=f"accounts: {names}")
            yield PathChange(path=f"{path}-", why="the file before", certain=False)


def _packages(facts: HostFacts, moves: Moves) -> Iterator[PathChange]:
    for package in moves.packages:
        why = f"OS package {package.name}: this and the files that it lists"
        listing = f"/var/lib/dpkg/info/{package.name}.list"
        yield PathChange(path=listing, why=why, certain=False)
        effects = EFFECTS.get(package.name, PackageEffects())
        for path in effects.paths:
            yield PathChange(path=path, why=f"scripts of {package.name}", certain=False)
        mask = f"{UNITS}/{effects.masks}"
        if effects.masks and facts.places.get(mask) != "link /dev/null":
            yield PathChange(path=mask, why="masked: a unit of Bastide's runs the program")
    if moves.packages:
        record = str(HOST_STATE / "installed-packages.json")
        why = "which OS packages were not there before: an uninstall removes them"
        yield PathChange(path=record, why=why, certain=False)
        for path, what in MANAGED.items():
            yield PathChange(path=path, why=what, whole=True, certain=False)


MANAGED = {
    "/etc/ld.so.cache": "ldconfig's cache",
    "/var/cache/apt": "apt's cache",
    "/var/cache/debconf": "debconf's answers",
    "/var/cache/ldconfig": "ldconfig's cache",
    "/var/lib/apt": "apt's lists of the local repository",
    "/var/lib/dpkg": "dpkg's record of packages",
    "/var/lib/systemd/deb-systemd-helper-enabled": "units of OS packages",
    "/var/lib/systemd/deb-systemd-helper-masked": "units of OS packages",
    "/var/log/apt": "apt's log",
    "/var/log/dpkg.log": "dpkg's log",
}
