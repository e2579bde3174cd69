"""Debian packages: a dependency closure solved by apt against the target's base system.

apt works in a private root: its own sources, lists, cache and package status. That status says
that exactly the target's base system is installed, so the builder's own packages do not matter.
Archive signatures are checked against the target's keyring; digests come from the signed indexes.
"""

from __future__ import annotations

import re
import shutil
import urllib.parse
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from bastide.errors import BundleError
from bastide.host.process import ProcessError, run
from bastide.schema.target import Target

Stanza = Mapping[str, str]
# Catalogue artifacts that go with the .debs: a flat repository's index, and what hosts have.
PACKAGE_INDEX = "os-packages-index"
BASE_SYSTEM = "os-base-system"

_CONF = """\
APT::Architecture "{architecture}";
APT::Architectures {{ "{architecture}"; }};
APT::Install-Recommends "false";
APT::Install-Suggests "false";
APT::Get::Always-Include-Phased-Updates "true";
APT::Sandbox::User "";
Dir "{root}/";
Dir::State "{root}/state";
Dir::State::status "{root}/status";
Dir::Cache "{root}/cache";
Dir::Etc "{root}/etc";
Dir::Etc::sourcelist "{root}/etc/sources.list";
Dir::Etc::sourceparts "-";
Dir::Etc::preferences "-";
Dir::Etc::preferencesparts "-";
Dir::Etc::trusted "-";
Dir::Etc::trustedparts "-";
Acquire::Languages "none";
Acquire::GzipIndexes "false";
Acquire::Retries "5";
Acquire::http::Timeout "30";
"""


@dataclass(frozen=True)
class DebFile:
    """One .deb that the hosts may need.

    Args:
        url: Where it is.
        stanza: Its entry of the signed package index.
    """

    url: str
    stanza: Stanza = field(hash=False)

    @property
    def name(self) -> str:
        """The package's name."""
        return self.stanza["Package"]

    @property
    def version(self) -> str:
        """Its version, epoch included."""
        return self.stanza["Version"]

    @property
    def sha256(self) -> str:
        """Its digest."""
        return self.stanza["SHA256"]

    @property
    def size(self) -> int:
        """Its bytes."""
        return int(self.stanza["Size"])

    @property
    def filename(self) -> str:
        """A flat file name; ``%3a`` stands for an epoch's colon, as apt itself writes it."""
        version = self.version.replace(":", "%3a")
        return f"{self.name}_{version}_{self.stanza['Architecture']}.deb"

    @property
    def index_entry(self) -> str:
        """The package's entry in a flat repository's ``Packages``."""
        fields = {**self.stanza, "Filename": f"./{self.filename}"}
        dropped = ("Description-md5", "Tag")
        return "".join(f"{k}: {v}\n" for k, v in fields.items() if k not in dropped)


class DebianSolver:
    """Answers what must be carried so that packages can be installed on a target.

    Args:
        target: The platform.
        root: An empty folder for apt's private state.
    """

    def __init__(self, target: Target, root: Path) -> None:
        self._root = root
        self._target = target
        _require_apt(target)
        for folder in ("state/lists/partial", "cache/archives/partial", "etc"):
            (root / folder).mkdir(parents=True, exist_ok=True)
        configuration = _CONF.format(root=root, architecture=target.os_architecture)
        (root / "apt.conf").write_text(configuration)
        (root / "etc/sources.list").write_text(sources_list(target))
        (root / "status").write_text("")
        self._apt("apt-get", "-qq", "update", "-o", "APT::Update::Error-Mode=any")
        self._available = self._read_lists()
        self._base = self._install_base()

    def closure(self, packages: Sequence[str]) -> tuple[DebFile, ...]:
        """Return the packages that a host of this target needs for ``packages``, sorted by name.

        Base packages that must change in step with one of them are included, because a host
        may have an older build of them.

        Raises:
            BundleError: apt finds no answer.
        """
        if not packages:
            return ()
        found = {deb.name: deb for deb in self._solve(packages)}
        pending = list(found.values())
        while pending:
            for base in in_step(pending.pop().stanza, self._base):
                if base.name not in found:
                    found[base.name] = base
                    pending.append(base)
        return tuple(found[name] for name in sorted(found))

    def base_system(self) -> str:
        """Return the packages that every host of this target has, as Debian writes them."""
        kept = ("Package", "Version", "Architecture", "Provides")
        stanzas = (self._base[name].stanza for name in sorted(self._base))
        return "\n".join(
            "".join(f"{key}: {' '.join(s[key].split())}\n" for key in kept if key in s)
            for s in stanzas
        )

    def _install_base(self) -> dict[str, DebFile]:
        required = [
            stanza["Package"]
            for stanza in self._available.values()
            if stanza.get("Priority") == "required" or stanza.get("Essential") == "yes"
        ]
        base = self._solve([*dict.fromkeys(required), *self._target.base_packages])
        status = "\n".join(
            "".join(f"{key}: {value}\n" for key, value in _installed(deb.stanza).items())
            for deb in base
        )
        (self._root / "status").write_text(status)
        return {deb.name: deb for deb in base}

    def _solve(self, packages: Sequence[str]) -> list[DebFile]:
        output = self._apt("apt-get", "-qq", "--print-uris", "install", *packages)
        return [self._deb(line) for line in output.splitlines() if line.startswith("'")]

    def _deb(self, line: str) -> DebFile:
        url, filename = line.split(" ")[:2]
        name, version, _ = urllib.parse.unquote(filename).split("_")
        stanza = self._available.get((name, version))
        if stanza is None or "SHA256" not in stanza:
            raise BundleError(
                f"the archive's index lacks {name} {version}",
                code="BAS-3026",
                hint="run the command again: the mirror was being updated",
            )
        return DebFile(url.strip("'"), stanza)

    def _read_lists(self) -> dict[tuple[str, str], Stanza]:
        output = self._apt(
            "apt-get", "indextargets", "--format", "$(FILENAME)", "Created-By: Packages"
        )
        stanzas: dict[tuple[str, str], Stanza] = {}
        for filename in output.splitlines():
            for stanza in parse_stanzas(Path(filename).read_text()):
                stanzas.setdefault((stanza["Package"], stanza["Version"]), stanza)
        return stanzas

    def _apt(self, *command: str) -> str:
        try:
            environment = {"APT_CONFIG": str(self._root / "apt.conf"), "LC_ALL": "C.UTF-8"}
            return run(command, env=environment).stdout
        except ProcessError as error:
            raise BundleError(
                f"the OS packages for {self._target.name} cannot be resolved:\n{error}",
                code="BAS-3025",
                hint="check the target's mirrors and the release's os_packages",
            ) from error


def _require_apt(target: Target) -> None:
    if not shutil.which("apt-get"):
        raise BundleError(
            "apt-get is not on this machine; it resolves the OS packages of a bundle",
            code="BAS-3025",
            hint="build on Debian or Ubuntu",
        )
    for mirror in target.mirrors:
        if not Path(mirror.keyring).is_file():
            raise BundleError(
                f"the keyring {mirror.keyring}, which checks {mirror.url}, is not there",
                code="BAS-3025",
                hint="install it: apt-get install debian-archive-keyring",
            )


def sources_list(target: Target) -> str:
    """Return the target's mirrors in apt's one-line form, each bound to its keyring."""
    return "".join(
        f"deb [signed-by={mirror.keyring} arch={target.os_architecture}] "
        f"{mirror.url} {suite} {' '.join(mirror.components)}\n"
        for mirror in target.mirrors
        for suite in mirror.suites
    )


def parse_stanzas(text: str) -> Iterable[dict[str, str]]:
    """Yield the entries of a package index; continued lines stay as they are."""
    for block in re.split(r"\n\s*\n", text):
        stanza: dict[str, str] = {}
        key = ""
        for line in block.splitlines():
            if line.startswith((" ", "\t")) and key:
                stanza[key] += f"\n{line}"
            elif ":" in line:
                key, _, value = line.partition(":")
                stanza[key] = value.strip()
        if "Package" in stanza and "Version" in stanza:
            yield stanza


def in_step(stanza: Stanza, base: Mapping[str, DebFile]) -> list[DebFile]:
    """Return base packages tied to one exact version by ``stanza``, or tied so to it."""
    tied = [base[name] for name in _exact(stanza) if name in base]
    tied += [deb for deb in base.values() if stanza["Package"] in _exact(deb.stanza)]
    return tied


def _exact(stanza: Stanza) -> set[str]:
    depends = f"{stanza.get('Depends', '')}, {stanza.get('Pre-Depends', '')}"
    return set(re.findall(r"([a-z0-9][a-z0-9+.-]+)(?::[a-z0-9]+)? \(= ", depends))


def _installed(stanza: Stanza) -> dict[str, str]:
    dropped = ("Filename", "Size", "MD5sum", "SHA256")
    kept = {key: value for key, value in stanza.items() if key not in dropped}
    return {"Package": kept.pop("Package"), "Status": "install ok installed", **kept}
