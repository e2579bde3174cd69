"""The single changes of one host, each kind by itself: needs against facts."""

from __future__ import annotations

from bastide.plan.needs import (
    PYTHON_GROUPS,
    TREE_NAME,
    HostNeeds,
    blob_destination,
    destination,
)
from bastide.schema.artifact import Artifact, ArtifactKind
from bastide.schema.debian_version import compare_versions
from bastide.schema.facts import HostFacts
from bastide.schema.plan import FileChange, PackageChange, Pull, UnitChange

ACTIVE = "active"
WHEEL_GROWTH = 4  # room for unpacked wheels with byte code, in sizes of the wheels
DEB_GROWTH = 5  # room for unpacked packages, in sizes of the .debs
TREE_FOLDERS = ("etc/", "units/")  # of a generation; all in them is ours


def present(artifact: Artifact, facts: HostFacts) -> bool:
    """Return whether an artifact is on the host, whole."""
    held = facts.models if artifact.kind is ArtifactKind.MODEL else facts.artifacts
    return held.get(artifact.sha256) == artifact.size


def pulls(needs: HostNeeds, facts: HostFacts) -> tuple[Pull, ...]:
    """Return what the host lacks, and so has to fetch; each blob once."""
    found = {
        artifact.sha256: Pull(
            name=artifact.name,
            filename=artifact.filename,
            sha256=artifact.sha256,
            size=artifact.size,
            destination=destination(artifact),
        )
        for artifact in needs.artifacts
        if not present(artifact, facts)
    }
    tree = needs.tree
    if facts.artifacts.get(tree.sha256) != tree.size:
        found[tree.sha256] = Pull(
            name="tree",
            filename=TREE_NAME,
            sha256=tree.sha256,
            size=tree.size,
            destination=blob_destination(tree.sha256),
        )
    return tuple(found.values())


def packages(needs: HostNeeds, facts: HostFacts) -> tuple[PackageChange, ...]:
    """Return the OS packages that are missing or older than the release's; newer ones stay."""
    found = []
    for artifact in needs.of_kind(ArtifactKind.OS_PACKAGE):
        installed = facts.packages.get(artifact.name)
        if installed is None or compare_versions(installed, artifact.version) < 0:
            found.append(
                PackageChange(name=artifact.name, before=installed, after=artifact.version)
            )
    return tuple(found)


def tree_files(needs: HostNeeds, facts: HostFacts) -> dict[str, str]:
    """Return the files on the host that belong to a tree: path → digest."""
    return {
        path: digest
        for path, digest in facts.files.items()
        if path in needs.tree.files or path.startswith(TREE_FOLDERS)
    }


def files(needs: HostNeeds, facts: HostFacts) -> tuple[FileChange, ...]:
    """Return how the tree differs from the files that are on the host now."""
    wanted, held = needs.tree.files, tree_files(needs, facts)
    found = []
    for path in sorted({*wanted, *held}):
        if path not in wanted:
            found.append(FileChange(path=path, action="remove"))
        elif path not in held:
            found.append(FileChange(path=path, action="create", sha256=wanted[path]))
        elif held[path] != wanted[path]:
            found.append(FileChange(path=path, action="update", sha256=wanted[path]))
    return tuple(found)


def damage(needs: HostNeeds, facts: HostFacts) -> tuple[str, ...]:
    """Return what is broken in a generation whose content should already be the wanted one."""
    words = {"create": "is missing", "update": "was changed by hand", "remove": "is not ours"}
    found = [f"{change.path} {words[change.action]}" for change in files(needs, facts)]
    for artifact in needs.of_kind(ArtifactKind.MODEL):
        if artifact.sha256 not in facts.models:
            found.append(f"model {artifact.name} is missing")
        elif not present(artifact, facts):
            found.append(f"model {artifact.name} has another size")
    found += [
        f"package {change.name} is {'older' if change.before else 'missing'}"
        for change in packages(needs, facts)
    ]
    return tuple(found)


def stopped(needs: HostNeeds, facts: HostFacts) -> tuple[str, ...]:
    """Return which units should run and do not, and the state they are in."""
    states = {unit: facts.units.get(unit, "missing") for unit in needs.units}
    return tuple(f"unit {u} is {state}" for u, state in states.items() if state != ACTIVE)


def affected(needs: HostNeeds, facts: HostFacts) -> frozenset[str]:
    """Return the units that a new generation changes something for.

    If the host does not say what its generation is made of, that is all of them.
    """
    if not facts.contents:
        return frozenset(needs.units)
    found: set[str] = set()
    for change in files(needs, facts):
        if change.action != "remove":  # who read it has a changed file of its own
            found |= needs.affected_by_file(change.path)
    changing = {change.name for change in packages(needs, facts)}
    wanted = needs.contents
    for artifact in needs.artifacts:
        key = f"{artifact.kind}/{artifact.name}"
        lost = artifact.kind is ArtifactKind.MODEL and not present(artifact, facts)
        lost |= artifact.kind is ArtifactKind.OS_PACKAGE and artifact.name in changing
        if lost or facts.contents.get(key) != wanted[key]:
            found |= needs.affected_by(artifact)
    removed = set(facts.contents) - set(wanted)
    if any(not key.startswith(f"{ArtifactKind.OS_PACKAGE}/") for key in removed):
        found |= {f"bastide-{group}.service" for group in PYTHON_GROUPS}
    return frozenset(found)


def units(needs: HostNeeds, facts: HostFacts, touched: frozenset[str]) -> tuple[UnitChange, ...]:
    """Return what happens to each unit; ``touched`` are those that something changes for."""
    found = []
    for unit in needs.units:
        if facts.units.get(unit) != ACTIVE:
            found.append(UnitChange(name=unit, action="start"))
        elif unit in touched:
            found.append(UnitChange(name=unit, action="restart"))
    found += [
        UnitChange(name=unit, action="stop")
        for unit, state in sorted(facts.units.items())
        if unit not in needs.units and state == ACTIVE
    ]
    return tuple(found)


def disk(needs: HostNeeds, facts: HostFacts) -> dict[str, int]:
    """Return the bytes that a new generation takes, by where it takes them."""
    changing = {change.name for change in packages(needs, facts)}
    debs = [a.size for a in needs.of_kind(ArtifactKind.OS_PACKAGE) if a.name in changing]
    wheels = sum(artifact.size for artifact in needs.wheels)
    sizes = {
        "/opt": WHEEL_GROWTH * wheels + 2 * needs.tree.size,
        "/usr": DEB_GROWTH * sum(debs),
        "/var/lib": sum(pull.size for pull in pulls(needs, facts)),
    }
    return {path: size for path, size in sizes.items() if size}
