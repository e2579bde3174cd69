"""OS packages: a flat local repository, and apt with that source alone."""

from __future__ import annotations

import contextlib
import json
import os
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from bastide_host.facts import installed_packages
from bastide_host.host import (
    AgentError,
    JsonObject,
    Paths,
    link_atomic,
    read_json,
    run,
    tail,
    text_of,
    write_atomic,
)
from bastide_host.stage import blobs_of

POLICY = "/usr/sbin/policy-rc.d"
POLICY_SAVED = "policy-rc.d.before-bastide"
SOURCE = "/etc/apt/sources.list.d/bastide.list"
RECORD = "installed-packages.json"  # below the state folder: what was not there before
POLICY_TEXT = (
    "#!/bin/sh\n# By Bastide, only while it installs packages: no daemon starts.\nexit 101\n"
)
_MASKED = {  # Bastide runs these programs with units of its own
    "haproxy": "haproxy.service",
    "keepalived": "keepalived.service",
    "prometheus": "prometheus.service",
    "prometheus-alertmanager": "prometheus-alertmanager.service",
    "prometheus-node-exporter": "prometheus-node-exporter.service",
}

# Accounts that packages' scripts make, and do not remove when the package is purged.
_ACCOUNTS = {
    "prometheus": "prometheus",
    "prometheus-alertmanager": "prometheus",
    "prometheus-node-exporter": "prometheus",
}


def packages_to_install(
    wanted: list[str], installed: Mapping[str, str], newer: Callable[[str, str], bool]
) -> list[str]:
    """Return those ``name=version`` of ``wanted`` that the host lacks or has older.

    Args:
        wanted: The host's closure, ``name=version``.
        installed: Name → version.
        newer: Whether its first version is newer than its second.
    """
    missing = []
    for each in wanted:
        name, version = each.split("=", 1)
        present = installed.get(name)
        if present != version and (present is None or not newer(present, version)):
            missing.append(each)
    return missing


def _newer(first: str, second: str) -> bool:
    return run(["dpkg", "--compare-versions", first, "gt", second]).returncode == 0


def _package_stanza(deb: Path, sha256: str) -> str:
    done = run(["dpkg-deb", "--field", str(deb)], timeout=60)
    if done.returncode != 0:
        raise AgentError("BAS-6055", f"{deb.name} is not a Debian package: {tail(done)}")
    size = deb.stat().st_size
    return f"{done.stdout.strip()}\nFilename: ./{deb.name}\nSize: {size}\nSHA256: {sha256}\n"


def _wanted_packages(description: JsonObject) -> dict[str, str]:
    """Return the digests of this stage's packages by file name."""
    files = {each["filename"]: each["sha256"] for each in description["repository"]}
    return {name: sha256 for name, sha256 in files.items() if name.endswith(".deb")}


def repository_is_current(paths: Paths, description: JsonObject) -> bool:
    """Return whether the flat repository holds and lists exactly this stage's packages."""
    wanted = _wanted_packages(description)
    stanza = r"^Filename: \./(.+)\nSize: \d+\nSHA256: (.+)$"
    listed = re.findall(stanza, text_of(paths.repository / "Packages"), re.MULTILINE)
    here = {path.name for path in paths.repository.glob("*.deb")}
    return dict(listed) == wanted and here == set(wanted)


def build_repository(paths: Paths, description: JsonObject) -> bool:
    """Make the flat repository hold exactly this stage's packages; return whether it changed."""
    if repository_is_current(paths, description):
        return _apt_source(paths)
    sources = {blob.sha256: blob.destination for blob in blobs_of(paths, description)}
    wanted = _wanted_packages(description)
    for stale in {path.name for path in paths.repository.glob("*.deb")} - set(wanted):
        (paths.repository / stale).unlink()
    stanzas = []
    for name, sha256 in sorted(wanted.items()):
        path = paths.repository / name
        path.unlink(missing_ok=True)
        os.link(sources[sha256], path)
        stanzas.append(_package_stanza(path, sha256))
    write_atomic(paths.repository / "Packages", "\n".join(stanzas).encode())
    _apt_source(paths)
    return True


def _source_text(paths: Paths) -> str:
    return (
        "# Bastide's packages of this release; each was verified by SHA-256 when it came.\n"
        f"deb [trusted=yes] file:{paths.repository} ./\n"
    )


def _apt_source(paths: Paths) -> bool:
    return write_atomic(paths.at(SOURCE), _source_text(paths).encode())


def are_installed(paths: Paths, description: JsonObject) -> bool:
    """Return whether the repository and the installed OS packages are this stage's."""
    return (
        repository_is_current(paths, description)
        and text_of(paths.at(SOURCE)) == _source_text(paths)
        and not lacking(paths, description)
    )


@contextlib.contextmanager
def no_daemon_starts(paths: Paths) -> Iterator[None]:
    """Keep maintainer scripts from starting daemons; an administrator's own policy comes back."""
    policy = paths.at(POLICY)
    saved = policy.with_name(POLICY_SAVED)
    if policy.exists() and text_of(policy) != POLICY_TEXT:
        policy.replace(saved)
    write_atomic(policy, POLICY_TEXT.encode(), 0o755)
    try:
        yield
    finally:
        policy.unlink(missing_ok=True)
        if saved.exists():
            saved.replace(policy)


def _apt(*arguments: str) -> None:
    options = {
        "Dir::Etc::sourcelist": SOURCE,
        "Dir::Etc::sourceparts": "-",
        "APT::Get::List-Cleanup": "0",
        "Acquire::Languages": "none",
        "DPkg::Lock::Timeout": "300",
        "Dpkg::Options::": "--force-confold",
        "Dpkg::Use-Pty": "0",
    }
    flags = [f"-o{name}={value}" for name, value in options.items()]
    env = {"DEBIAN_FRONTEND": "noninteractive", "NEEDRESTART_MODE": "l"}
    done = run(["apt-get", "-q", *flags, *arguments], env=env, timeout=1800)
    if done.returncode != 0:
        raise AgentError(
            "BAS-6055",
            f"apt-get {arguments[0]} failed:\n{tail(done)}",
            "put right what the last lines say (often another version that an administrator"
            " holds), then apply again",
        )


def lacking(paths: Paths, description: JsonObject) -> list[str]:
    """Return the OS packages, ``name=version``, that the host lacks or has older."""
    wanted = list(description["os_packages"])
    return packages_to_install(wanted, installed_packages(paths), _newer)


def _remember(paths: Paths, missing: list[str]) -> None:
    """Write down which packages were not there before: an uninstall removes those and no others.

    On a host that is older than this record, apt's history tells of the earlier ones.
    """
    installed = installed_packages(paths)
    new = {each.split("=", 1)[0] for each in missing} - set(installed)
    known = read_json(paths.state / RECORD)
    if known is None and (paths.state / "good.json").exists():
        return  # half a record would hide what apt's history knows
    packages = sorted({*(known or {}).get("packages", []), *new})
    here = {line.split(":")[0] for line in text_of(paths.at("/etc/passwd")).splitlines()}
    come = {_ACCOUNTS[name] for name in new if name in _ACCOUNTS} - here
    accounts = sorted({*(known or {}).get("accounts", []), *come})
    record = {"format": "bastide.installed/1", "packages": packages, "accounts": accounts}
    content = json.dumps(record, indent=2)
    write_atomic(paths.state / RECORD, (content + "\n").encode())


def install_packages(paths: Paths, description: JsonObject) -> JsonObject:
    """Install the OS packages that the host lacks, from the local repository alone.

    Raises:
        AgentError: apt fails, or a package is not there afterwards.
    """
    changed = build_repository(paths, description)
    missing = lacking(paths, description)
    if missing:
        for package, unit in _MASKED.items():
            if any(each.startswith(f"{package}=") for each in missing):
                link_atomic(paths.units / unit, "/dev/null")
        _remember(paths, missing)
        with no_daemon_starts(paths):
            _apt("update")
            _apt("install", "--yes", "--no-install-recommends", *missing)
    left = lacking(paths, description)
    if left:
        raise AgentError("BAS-6055", f"apt-get ended well, but did not install {', '.join(left)}")
    return {"changed": changed or bool(missing), "installed": missing}
