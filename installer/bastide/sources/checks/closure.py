"""Whether the OS packages of a bundle can be installed on the target's base system; pure.

Debian Policy 7: each of Depends and Pre-Depends is a conjunction of alternatives; a package or a
virtual package that another one provides meets it, in the version that is asked for.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from bastide.schema.debian_version import compare_versions

_RELATION = re.compile(
    r"^(?P<name>[a-z0-9][a-z0-9+.-]*)(?::(?P<qualifier>[a-z0-9-]+))?"
    r"(?:\s*\(\s*(?P<operator><<|<=|=|>=|>>)\s*(?P<version>[^\s)]+)\s*\))?$"
)
_HOLDS: dict[str, Callable[[int], bool]] = {
    "<<": lambda order: order < 0,
    "<=": lambda order: order <= 0,
    "=": lambda order: order == 0,
    ">=": lambda order: order >= 0,
    ">>": lambda order: order > 0,
}

MAX_VERSION = 256  # characters; longer ones are nobody's version

Control = Mapping[str, str]


@dataclass(frozen=True)
class Unmet:
    """A dependency that nothing meets.

    Args:
        package: Who has it.
        dependency: The dependency as it is written.
    """

    package: str
    dependency: str


def unmet(bundle: Sequence[Control], base: Sequence[Control]) -> list[Unmet]:
    """Return the dependencies of the bundle's packages that neither bundle nor base meets.

    Args:
        bundle: Control files of the bundle's packages; they replace the base's of equal name.
        base: Package, Version and Provides of what the target's hosts have installed.
    """
    replaced = {control.get("Package", "") for control in bundle}
    kept = [control for control in base if control.get("Package", "") not in replaced]
    offered = _offers([*bundle, *kept])
    return [
        Unmet(control.get("Package", ""), clause)
        for control in bundle
        for field in ("Pre-Depends", "Depends")
        for clause in _clauses(control.get(field, ""))
        if not any(_is_met(option, offered) for option in clause.split("|"))
    ]


def _clauses(text: str) -> Iterable[str]:
    return (clause.strip() for clause in " ".join(text.split()).split(",") if clause.strip())


def _offers(packages: Iterable[Control]) -> dict[str, list[str | None]]:
    """Return which versions of each name there are; None stands for a provided name without."""
    offered: dict[str, list[str | None]] = {}
    for control in packages:
        name, version = control.get("Package", ""), control.get("Version", "")
        offered.setdefault(name, []).append(version)
        for clause in _clauses(control.get("Provides", "")):
            match = _RELATION.match(clause)
            if match:
                offered.setdefault(match["name"], []).append(match["version"])
    return offered


def _is_met(option: str, offered: Mapping[str, list[str | None]]) -> bool:
    match = _RELATION.match(option.strip())
    if match is None:
        return False
    versions = offered.get(match["name"], [])
    if match["version"] is None:
        return bool(versions)
    if len(match["version"]) > MAX_VERSION:
        return False
    holds = _HOLDS[match["operator"]]
    return any(
        version is not None
        and len(version) <= MAX_VERSION
        and holds(compare_versions(version, match["version"]))
        for version in versions
    )
