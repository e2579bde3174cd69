"""What a host has of Bastide, as its agent finds it there: the listing before an uninstall."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from bastide.schema.base import Size, Value

KINDS = {  # field → what one of them is, for people
    "units": "unit",
    "masks": "masked unit",
    "tables": "nftables table",
    "packages": "OS package",
    "users": "user",
    "groups": "group",
    "paths": "path",
    "sources": "apt source that was set aside",
}


class Leftovers(Value):
    """Everything of Bastide on one host (``bastide_host.py uninstall-list``)."""

    format: Literal["bastide.leftovers/1"]
    units: tuple[str, ...]
    masks: tuple[str, ...] = Field(description="Units of packages, masked by Bastide.")
    tables: tuple[str, ...] = Field(description="Tables of nftables: family and name.")
    packages: tuple[str, ...] = Field(description="OS packages that were not there before Bastide.")
    users: tuple[str, ...]
    groups: tuple[str, ...]
    paths: tuple[str, ...] = Field(description="Files and folders, declared data left out.")
    sources: tuple[str, ...] = Field(description="apt sources that were set aside: they come back.")
    data: tuple[str, ...] = Field(description="Folders of declared data that have files in them.")
    data_bytes: Size

    @property
    def things(self) -> dict[str, tuple[str, ...]]:
        """Everything but declared data, by kind; kinds without anything left out."""
        found = {kind: tuple(getattr(self, kind)) for kind in KINDS}
        return {kind: each for kind, each in found.items() if each}
