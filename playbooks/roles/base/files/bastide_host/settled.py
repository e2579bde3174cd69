"""One look at everything: is there anything to do on this host? Reads only."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from bastide_host.facts import check_ports, current_number, transition_of, unit_states
from bastide_host.generation import drift
from bastide_host.host import JsonObject, Paths, read_json, sha256_of, text_of
from bastide_host.packages import are_installed
from bastide_host.places import places
from bastide_host.prepare import OPTIONAL, SECRET_FILES, internet_sources, is_prepared
from bastide_host.reembed import state_file
from bastide_host.rotation import out_of_rotation
from bastide_host.stage import are_staged, blobs_of
from bastide_host.switch import units_to_restart
from bastide_host.units import answers


def settled(paths: Paths, given: JsonObject) -> JsonObject:
    """Return whether the host is in every respect what the stage description says.

    If not, also whether there is anything to prepare, to fetch and to install: most ways back have
    none of it, and each step that is left out saves a round trip.

    Args:
        paths: The host's paths.
        given: ``program`` (the agent's text), ``stage`` (the stage description), ``secrets``
            (SHA-256 of each secret by name), ``groups`` (the host's) and, if another process must
            not hold them, ``ports`` (service → TCP port).

    Raises:
        AgentError: There is something to do, and another process holds a port.
    """
    reason = next(_reasons(paths, given), "")
    if reason and "ports" in given:
        check_ports(paths, given["ports"])
    return {
        "changed": False,
        "settled": not reason,
        "why_not": reason,
        "prepares": bool(reason) and not is_prepared(paths, given["program"]),
        "fetches": bool(reason) and not are_staged(paths, given["stage"]),
        "installs": bool(reason) and not are_installed(paths, given["stage"]),
    }


def _reasons(paths: Paths, given: JsonObject) -> Iterator[str]:
    """Yield what there is to do; the cheapest looks first."""
    description = given["stage"]
    yield from _generation(paths, description)
    if text_of(paths.opt / "bin/bastide_host.py") != given["program"]:
        yield "the host agent is another version"
    if sources := internet_sources(paths):
        yield f"{sources[0]} names packages on the internet"
    yield from _places(paths, description)
    yield from _secrets(paths, given["secrets"], set(given["groups"]))
    if missing := [blob.name for blob in blobs_of(paths, description) if not blob.is_here()]:
        yield f"{missing[0]} is missing"
    if not are_installed(paths, description):
        yield "OS packages are missing"
    yield from _services(paths, description)


def _generation(paths: Paths, description: JsonObject) -> Iterator[str]:
    number = int(description["generation"])
    record = read_json(paths.current / "generation.json") or {}
    if current_number(paths) != number or record.get("digest") != description["digest"]:
        yield f"generation {number} is not the live one"
    elif changed := drift(paths.current, record):
        yield f"{changed[0]} differs from what the generation was built with"
    if transition_of(paths):
        yield "a switch of generations is under way"
    elif state_file(paths).exists():
        yield "what embedding anew left is still there"
    elif paths.fence.exists():
        yield "writes to the vector DB are refused, and no switch is under way"
    good = (read_json(paths.good) or {}).get("good", [])
    if not good or good[-1].get("content") != description["digest"]:
        yield f"generation {number} is not marked good"


def _places(paths: Paths, description: JsonObject) -> Iterator[str]:
    here = places(paths)
    for place, state in description.get("places", {}).items():
        if here.get(place) != state:
            yield f"{place} is not as it should be"
    known = {line.split(":")[0] for line in text_of(paths.at("/etc/passwd")).splitlines()}
    if missing_users := set(description.get("users", ())) - known:
        yield f"user {min(missing_users)} is missing"


def _secrets(paths: Paths, digests: Mapping[str, str], groups: set[str]) -> Iterator[str]:
    for name, path, mode, needed_by in SECRET_FILES:
        if needed_by and not set(needed_by) & groups:
            continue
        if name in OPTIONAL and name not in digests:
            continue
        place = paths.at(path)
        known = place.exists() and place.stat().st_mode & 0o7777 == mode
        if not known or sha256_of(place) != digests.get(name):
            yield f"{path} is not up to date"


def _services(paths: Paths, description: JsonObject) -> Iterator[str]:
    units = description["units"]
    yield from description.get("restart", ())
    yield from units_to_restart(paths, units, unit_states(paths))
    if left := {path.name for path in paths.units.glob("bastide-*.service")} - set(units):
        yield f"{min(left)} is left over"
    services = (read_json(paths.current / "etc/host.json") or {}).get("services", {})
    for unit in units:
        if not (paths.units / "multi-user.target.wants" / unit).is_symlink():
            yield f"{unit} would not start at boot"
        if unit in services and (fault := answers(paths, services[unit])):
            yield f"{unit} {fault}"
    if "bastide-gateway.service" in units and (out := out_of_rotation(paths)):
        yield f"the gateway sends nothing to {out[0].backend}/{out[0].name}"
