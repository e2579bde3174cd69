"""Reads what programs on a host print: `ss`, `systemd-analyze`, `systemctl show`, apt; pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import ip_address
from urllib.parse import urlsplit

_EXPOSURE = re.compile(r"Overall exposure level for (?P<unit>\S+?):\s+(?P<level>\d+(?:\.\d+)?)")
_ONE_LINE_SOURCE = re.compile(r"deb(?:-src)?\s+(?:\[[^\]]*\]\s*)?(?P<uri>\S+)")


@dataclass(frozen=True, order=True)
class Listening:
    """A TCP socket that accepts connections."""

    port: int
    address: str
    process: str = ""

    @property
    def everywhere(self) -> bool:
        """Whether it takes connections on every address of the host."""
        return self.address in {"*", "0.0.0.0", "::"}  # noqa: S104 - compared, not bound

    @property
    def loopback(self) -> bool:
        """Whether only the host itself can reach it."""
        return not self.everywhere and ip_address(self.address).is_loopback


def listening(ss_output: str) -> tuple[Listening, ...]:
    """Return the sockets in the output of ``ss -Hltnp``, sorted by port.

    Args:
        ss_output: Lines such as ``LISTEN 0 128 127.0.0.1:8081 0.0.0.0:* users:(("python",…))``.
    """
    found = set()
    for line in ss_output.splitlines():
        words = line.split()
        if len(words) < 4 or words[0] != "LISTEN":
            continue
        address, _, port = words[3].rpartition(":")
        process = re.search(r'users:\(\("([^"]+)"', line)
        address = address.strip("[]").partition("%")[0]
        found.add(Listening(int(port), address, process[1] if process else ""))
    return tuple(sorted(found))


def exposure(analyze_output: str) -> dict[str, float]:
    """Return exposure by unit from the output of ``systemd-analyze security UNIT``."""
    return {match["unit"]: float(match["level"]) for match in _EXPOSURE.finditer(analyze_output)}


def properties(show_output: str) -> dict[str, dict[str, str]]:
    """Return properties by unit from ``systemctl show -p Id -p … UNIT…``."""
    units: dict[str, dict[str, str]] = {}
    for block in show_output.strip().split("\n\n"):
        pairs = dict(line.partition("=")[::2] for line in block.splitlines() if "=" in line)
        if pairs.get("Id"):
            units[pairs["Id"]] = pairs
    return units


def package_sources(files: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    """Return the active package sources as (file, address), in the files' order.

    Args:
        files: Content of ``sources.list``, ``*.list`` and ``*.sources`` files by path.
    """
    found: list[tuple[str, str]] = []
    for path, text in files.items():
        read = _deb822 if path.endswith(".sources") else _one_line
        found.extend((path, uri) for uri in read(text))
    return tuple(found)


def _one_line(text: str) -> list[str]:
    lines = (line.partition("#")[0].strip() for line in text.splitlines())
    return [match["uri"] for line in lines if (match := _ONE_LINE_SOURCE.match(line))]


def _deb822(text: str) -> list[str]:
    found: list[str] = []
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    for stanza in re.split(r"\n\s*\n", "\n".join(lines)):
        folded = re.sub(r"\n[ \t]+", " ", stanza)  # a value goes on in indented lines
        fields = {
            key.strip().lower(): value.strip()
            for key, separator, value in (line.partition(":") for line in folded.splitlines())
            if separator
        }
        if fields.get("enabled", "yes").lower() != "no":
            found.extend(fields.get("uris", "").split())
    return found


def leaves_the_site(uri: str) -> bool:
    """Return whether a package source is neither a local folder nor at a private address."""
    parts = urlsplit(uri.replace("mirror+", "", 1))
    if parts.scheme in {"file", "copy", "cdrom"}:
        return False
    try:
        return ip_address(parts.hostname or "").is_global
    except ValueError:
        return True  # a name: it would need a resolver, which a site does not have
