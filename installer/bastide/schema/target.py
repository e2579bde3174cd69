"""Targets: what a bundle is built for. One YAML file each in ``models_manifest/targets``."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, field_validator

from bastide.schema.base import Name, Value

PackageName = Annotated[
    str,
    Field(
        pattern=r"^[a-z0-9][a-z0-9+.-]+$",
        description="A Debian package's name.",
    ),
]

PackagePin = Annotated[
    str,
    Field(
        pattern=r"^[a-z0-9][a-z0-9+.-]+(=[A-Za-z0-9][A-Za-z0-9.+~:-]*)?$",
        description="A Debian package's name, with = and a version if that one is to be taken.",
    ),
]

Suite = Annotated[
    str,
    Field(
        pattern=r"^[a-z0-9][a-z0-9./-]*$",
        description="A suite of the archive, such as bookworm-updates.",
    ),
]


class Mirror(Value):
    """An archive of OS packages."""

    url: str = Field(description="The archive's address.", pattern=r"^(https?|file)://[^\s\[\]]+$")
    suites: tuple[Suite, ...] = Field(description="Suites to solve against.", min_length=1)
    components: tuple[Suite, ...] = Field(description="Components, such as main.", min_length=1)
    keyring: str = Field(
        description="Keyring on the building machine whose keys must have signed the archive.",
        pattern=r"^/[^\s\[\]]+$",
    )


class Target(Value):
    """A platform: its OS, its Python and what every host of it already has."""

    name: Name = Field(description="The target's name, which is its file's name too.")
    distribution: Literal["debian"] = Field(description="The distribution's ID in os-release.")
    version: str = Field(description="VERSION_ID in os-release, in quotes.")
    codename: Name = Field(description="VERSION_CODENAME in os-release.")
    architecture: Literal["x86_64"] = Field(description="What uname -m says on a host.")
    os_architecture: Literal["amd64"] = Field(description="The distribution's word for it.")
    python: str = Field(description="Version of the hosts' python3, in quotes.")
    glibc: str = Field(description="Version of the hosts' C library, in quotes.")
    mirrors: tuple[Mirror, ...] = Field(description="Where OS packages come from.", min_length=1)
    base_packages: tuple[PackageName, ...] = Field(
        description="What hosts have installed beyond the packages that the distribution "
        "calls required; OS packages are solved against these."
    )

    @field_validator("python", "glibc")
    @classmethod
    def _two_numbers(cls, value: str) -> str:
        parts = value.split(".")
        if len(parts) != 2 or not all(part.isdigit() for part in parts):
            raise ValueError('should be two numbers, such as "3.11"')
        return value

    @property
    def uv_platform(self) -> str:
        """The word of uv for architecture and C library."""
        return f"{self.architecture}-manylinux_{self.glibc.replace('.', '_')}"
