"""Site, release and manifest → each host's tree of files, as bytes with one digest. Pure."""

from __future__ import annotations

import hashlib
import io
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, Field

from bastide import resources
from bastide.render.context import host_context
from bastide.render.engine import TemplateFolder
from bastide.schema.artifact import Manifest
from bastide.schema.base import Value
from bastide.schema.loading import load_yaml
from bastide.schema.site import Group, Site

TREE_LIST = "tree.yaml"
BAD_TREE_LIST = "BAS-2062"

TreePath = Annotated[
    str,
    Field(
        pattern=r"^(etc|units|lib)(/[A-Za-z0-9][A-Za-z0-9._@-]*)+$",
        description="Where the file goes, below the generation's folder.",
    ),
]


class TreeEntry(Value):
    """One line of ``templates/tree.yaml``."""

    path: TreePath
    template: str = Field(description="Template that fills it, a path below templates/.")
    groups: tuple[Group, ...] = Field(
        default=(), description="Hosts in any of these groups get it; empty means every host."
    )
    when: Literal[
        "",
        "floating",
        "monitored",
        "alert_logins",
        "receivers_ca",
        "edge",
        "server",
        "mutual_tls",
        "syslog",
        "syslog_ca",
        "own_journal",
    ] = Field(
        default="",
        description="floating: only on hosts that share a floating address; monitored: only if "
        "site and release have monitoring; alert_logins, receivers_ca: only if, moreover, a "
        "receiver of alerts has a secret, or receivers have a CA of their own; edge, server: only "
        "with this engine of the vector DB; "
        "mutual_tls: only on hosts with a service that takes only clients with a certificate; "
        "syslog, syslog_ca: only if the site has a syslog server, with a CA of its own; "
        "own_journal: only if services log into a journal of their own.",
    )
    feature: str = Field(default="", description="Only if the site has it: see features.py.")
    mode: str = Field(default="0644", pattern=r"^0[0-7]{3}$", description="Octal, in quotes.")


class TreeList(Value):
    """``templates/tree.yaml``: which files a generation has, on which hosts."""

    format: Literal["bastide.tree/1"]
    files: tuple[TreeEntry, ...]


@dataclass(frozen=True)
class TreeFile:
    """One rendered file.

    Args:
        content: Its bytes.
        mode: Permission bits.
    """

    content: bytes
    mode: int

    @cached_property
    def sha256(self) -> str:
        """The digest of its content, in hex."""
        return hashlib.sha256(self.content).hexdigest()


@dataclass(frozen=True)
class HostTree:
    """All rendered files of one host's generation.

    Args:
        host: The host's name.
        files: By path below the generation's folder, sorted.
    """

    host: str
    files: Mapping[str, TreeFile]

    @property
    def digests(self) -> dict[str, str]:
        """The SHA-256 of every file, by path."""
        return {path: file.sha256 for path, file in self.files.items()}

    @cached_property
    def tar(self) -> bytes:
        """The tree as an archive whose bytes depend on nothing but paths, contents and modes."""
        return _tar(self.files)

    @cached_property
    def sha256(self) -> str:
        """The digest of ``tar``, in hex."""
        return hashlib.sha256(self.tar).hexdigest()

    @property
    def units(self) -> tuple[str, ...]:
        """The names of its systemd units that run all the time, sorted."""
        names = (path.removeprefix("units/") for path in self.files if path.startswith("units/"))
        return tuple(sorted(name for name in names if name.endswith(".service")))


def _tar(files: Mapping[str, TreeFile]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for folder in sorted({str(parent) for path in files for parent in Path(path).parents}):
            if folder == ".":
                continue
            member = _member(folder, 0o755)
            member.type = tarfile.DIRTYPE
            archive.addfile(member)
        for path in sorted(files):
            member = _member(path, files[path].mode)
            member.size = len(files[path].content)
            archive.addfile(member, io.BytesIO(files[path].content))
    return buffer.getvalue()


def read_tree(host: str, archive: bytes) -> HostTree:
    """Return the tree that an archive holds; writing it again gives the same bytes.

    Args:
        host: The host's name.
        archive: What ``HostTree.tar`` was.

    Raises:
        ValueError: It is no such archive.
    """
    files = {}
    try:
        with tarfile.open(fileobj=io.BytesIO(archive)) as members:
            for member in members:
                stream = members.extractfile(member) if member.isreg() else None
                if stream is not None:
                    files[member.name] = TreeFile(stream.read(), member.mode)
    except tarfile.TarError as error:
        raise ValueError(f"no tree archive: {error}") from error
    tree = HostTree(host, files)
    if tree.tar != archive:
        raise ValueError("not a tree archive that Bastide wrote")
    return tree


def _member(name: str, mode: int) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.mode = mode
    member.mtime = 0
    member.uid = member.gid = 0
    member.uname = member.gname = "root"
    return member


def read_tree_list(templates: Path) -> TreeList:
    """Return ``tree.yaml`` of a templates folder.

    Raises:
        ConfigError: It cannot be read or has mistakes; all are listed.
    """
    return load_yaml(templates / TREE_LIST, TreeList, code=BAD_TREE_LIST)


def render_trees(
    site: Site,
    release: BaseModel,
    manifest: Manifest,
    cards: Mapping[str, BaseModel],
    *,
    templates: Path | None = None,
) -> dict[str, HostTree]:
    """Return the tree of every host of the site, by host name.

    The same inputs give the same bytes, on any machine and at any time.

    Args:
        site: The site as it should be.
        release: The release's catalogue file.
        manifest: The bundle's artifacts.
        cards: The release's model cards by model name.
        templates: Templates folder; the one that ships with this version if None.

    Raises:
        ConfigError: A chosen model is not in the bundle, or a template is wrong.
    """
    folder = TemplateFolder(templates or resources.templates())
    entries = read_tree_list(folder.root).files
    trees = {}
    for name, host in site.hosts.items():
        context = host_context(site, release, manifest, cards, name)
        wanted = [e for e in entries if not e.groups or set(e.groups) & set(host.groups)]
        wanted = [e for e in wanted if not e.when or context[e.when]]
        wanted = [e for e in wanted if not e.feature or e.feature in context["features"]]
        files = {
            entry.path: TreeFile(folder.render(entry.template, context), int(entry.mode, 8))
            for entry in sorted(wanted, key=lambda entry: entry.path)
        }
        trees[name] = HostTree(name, files)
    return trees
