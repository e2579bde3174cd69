"""Addresses and names of hosts → others that stay the same within one bundle. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from ipaddress import AddressValueError, IPv4Address, IPv6Address

_IPV4 = re.compile(r"(?<![\w.])(?:\d{1,3}\.){3}\d{1,3}(?![\w]|\.\d)")
_IPV6 = re.compile(r"(?<![\w:.])(?:[0-9a-fA-F]{0,4}:){2,7}[0-9a-fA-F]{0,4}(?![\w:])")
_MAC = re.compile(r"(?<![\w:])(?:[0-9a-fA-F]{2}:){5}[0-9a-fA-F]{2}(?![\w:])")


class Pseudonyms:
    """Gives each address and name another, the same one each time.

    Args:
        names: Names that must go, longest first or not, with what kind of thing each is.
    """

    def __init__(self, names: Mapping[str, str]) -> None:
        self._given: dict[str, str] = {}
        self._names = {name: self._new(kind) for name, kind in names.items() if name}
        words = "|".join(map(re.escape, sorted(names, key=len, reverse=True)))
        self._pattern = re.compile(rf"(?<!\w)(?:{words})(?!\w)") if words else None

    def __call__(self, text: str) -> str:
        """Return ``text`` with all of them replaced."""
        text = _MAC.sub(lambda m: self._for(m[0].lower(), "mac"), text)
        text = _IPV4.sub(lambda m: self._ipv4(m[0]), text)
        text = _IPV6.sub(lambda m: self._ipv6(m[0]), text)
        if self._pattern is not None:
            text = self._pattern.sub(lambda m: self._names[m[0]], text)
        return text

    def _new(self, kind: str) -> str:
        number = sum(each.startswith(f"{kind}-") for each in self._given.values()) + 1
        made = f"{kind}-{number}"
        self._given[f"{kind}:{number}"] = made
        return made

    def _for(self, value: str, kind: str) -> str:
        if value not in self._given:
            number = sum(each.startswith(f"{kind}-") for each in self._given.values()) + 1
            self._given[value] = f"{kind}-{number}"
        return self._given[value]

    def _ipv4(self, word: str) -> str:
        try:
            address = IPv4Address(word)
        except AddressValueError:
            return word
        kept = address.is_loopback or address.is_unspecified or address.is_multicast
        return word if kept or word.startswith("255.") else self._for(word, "address")

    def _ipv6(self, word: str) -> str:
        try:
            address = IPv6Address(word)
        except AddressValueError:
            return word
        kept = address.is_loopback or address.is_unspecified or address.is_multicast
        return word if kept else self._for(str(address), "address")


def names_of(hosts: Iterable[str], site: str, gateway: str) -> dict[str, str]:
    """Return the names of a site that say who it is."""
    found = {**dict.fromkeys(hosts, "host"), site: "site"}
    return found if gateway == "bastide.internal" else {**found, gateway: "gateway"}
