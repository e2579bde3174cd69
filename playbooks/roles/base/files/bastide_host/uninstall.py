"""Takes Bastide off a host: what is there is found on the host itself, so half of one goes, too.

Nothing here knows the services: units, users and packages are read from the generations, from
systemd's folders and from the record of what was installed. Data that a site declares stays, and so
does a recorder that watches for packets meanwhile: whoever began that watch ends it.
"""

from __future__ import annotations

import contextlib
import gzip
import os
import re
import shutil
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from bastide_host import watch
from bastide_host.copying import allocated_bytes
from bastide_host.facts import installed_packages
from bastide_host.host import JsonObject, Paths, fsync_directory, read_json, run, tail, text_of
from bastide_host.packages import POLICY, POLICY_SAVED, POLICY_TEXT, RECORD, SOURCE
from bastide_host.prepare import ASIDE
from bastide_host.watch_packets import WATCH_TABLE

# Folders that are Bastide's own, whole.
OWN = (
    "/opt/bastide",
    "/etc/bastide",
    "/run/bastide",
    "/var/cache/bastide",
    "/var/cache/private/bastide",
    "/var/lib/private/bastide",
    "/var/log/bastide",
    "/var/log/private/bastide",
)
STATE = "/var/lib/bastide"
# What a site keeps: below the state folder, unless its deletion is asked for.
DATA = ("vectordb", "snapshots", "texts")
# Folders of drop-ins, in which what is named after Bastide is ours. Nothing else is looked through:
# an administrator may call a sudo rule or an SSH key by that name.
SWEPT = (
    "/etc/apt/apt.conf.d",
    "/etc/apt/preferences.d",
    "/etc/apt/sources.list.d",
    "/etc/default",
    "/etc/logrotate.d",
    "/etc/modules-load.d",
    "/etc/nftables.d",
    "/etc/rsyslog.d",
    "/etc/sysctl.d",
    "/etc/sysusers.d",
    "/etc/tmpfiles.d",
    "/etc/systemd",
    "/run/systemd/system",
    "/var/lib/apt/lists",
    "/var/lib/systemd",
)
# No mounts: a file system of its own below /var/lib/bastide is the administrator's.
_UNIT = re.compile(r"[\w@.-]*bastide[\w@.-]*\.(service|socket|timer|path|target|slice)")
_LOST = "lost+found"
_DPKG_LOCK_SECONDS = 300.0


def uninstall_list(paths: Paths) -> JsonObject:
    """Return everything of Bastide on this host (``bastide.leftovers/1``): reads only."""
    data = [f"{STATE}/{name}" for name in DATA if _has_files(paths.at(f"{STATE}/{name}"))]
    return {
        "format": "bastide.leftovers/1",
        "units": _units(paths),
        "masks": _masks(paths),
        "tables": _tables(),
        "packages": sorted(set(_recorded_packages(paths)) & set(installed_packages(paths))),
        "users": _accounts(paths, "u", "/etc/passwd"),
        "groups": _accounts(paths, "[ug]", "/etc/group"),
        "paths": _paths(paths),
        "sources": [_shown(paths, path) for path in _sources_aside(paths)],
        "data": data,
        "data_bytes": sum(allocated_bytes(paths.at(each)) for each in data),
    }


def uninstall(paths: Paths, given: Mapping[str, Any]) -> JsonObject:
    """Remove everything of Bastide but declared data; can be repeated.

    Args:
        paths: The host's paths.
        given: ``delete_data``: whether declared data goes, too.

    Returns:
        What there was (``before``), what is there still (``after``), and what programs said that
        did not do as they were told (``faults``).
    """
    before = uninstall_list(paths)
    faults: list[str] = []
    _stop(paths, before["units"], faults)
    for table in _tables():  # those that no unit took with it
        _do(["nft", "delete", "table", *table.split()], faults)
    _policy_back(paths)
    _purge(before["packages"], faults)
    for mask in before["masks"]:
        (paths.units / mask).unlink(missing_ok=True)
    # What dpkg kept must be known to whoever tries again, and keeps its account.
    kept = set(before["packages"]) & set(installed_packages(paths))
    _remove_accounts(before, _recorded_accounts(paths) if kept else (), faults)
    _sources_back(paths)
    _remove_paths(paths, delete_data=bool(given.get("delete_data")), keep_record=bool(kept))
    run(["systemctl", "daemon-reload"], timeout=60)
    run(["systemctl", "reset-failed"], timeout=60)
    return {"changed": True, "before": before, "after": uninstall_list(paths), "faults": faults}


# --- what there is ---------------------------------------------------------------------------
def _units(paths: Paths) -> list[str]:
    """Return the units of Bastide: in systemd's folders, in any generation, or still loaded."""
    found = {path.name for path in paths.generations.glob("*/units/*") if path.is_file()}
    for folder in (paths.units, paths.at("/run/systemd/system")):
        found |= {path.name for path in folder.glob("*bastide*") if _UNIT.fullmatch(path.name)}
        found |= {path.name for path in _links_into_opt(folder)}
    names = _loaded(paths)
    found |= {name for name in names if _UNIT.fullmatch(name)}
    found.discard(watch.UNIT)
    here = {name for name in found if _is_there(paths, name, names)}
    return sorted(here)


def _loaded(paths: Paths) -> list[str]:
    """Return the units that systemd has loaded, wherever they come from."""
    listed = run(["systemctl", "list-units", "--all", "--plain", "--no-legend"], timeout=20)
    names = [line.split()[0] for line in listed.stdout.splitlines() if line.split()]
    return names if paths.root == Path("/") else []


def _is_there(paths: Paths, unit: str, loaded: Iterable[str]) -> bool:
    folders = (paths.units, paths.at("/run/systemd/system"))
    return unit in loaded or any(os.path.lexists(folder / unit) for folder in folders)


def _links_into_opt(folder: Path) -> list[Path]:
    links = [path for path in folder.glob("*") if path.is_symlink()]
    return [path for path in links if str(path.readlink()).startswith("/opt/bastide/")]


def _masks(paths: Paths) -> list[str]:
    """Return units that are masked and belong to packages that Bastide installed, or to none."""
    found = []
    ours = _recorded_packages(paths)
    for path in sorted(paths.units.glob("*.service")):
        if path.is_symlink() and str(path.readlink()) == "/dev/null":
            owner = _owner(paths, path.name)
            if owner in ours:
                found.append(path.name)
    return found


def _owner(paths: Paths, unit: str) -> str:
    """Return the OS package that has a unit of that name; its own name's if it is gone."""
    for listed in paths.at("/var/lib/dpkg/info").glob("*.list"):
        if re.search(
            rf"^(/usr)?/lib/systemd/system/{re.escape(unit)}$", text_of(listed), re.MULTILINE
        ):
            return listed.name[: -len(".list")].split(":")[0]
    return unit[: -len(".service")]


def _tables() -> list[str]:
    """Return nftables' tables of Bastide: family and name."""
    shown = run(["nft", "list", "tables"], timeout=20).stdout
    found = re.findall(r"^table (\w+ bastide[\w-]*)$", shown, re.MULTILINE)
    return [table for table in found if table != f"inet {WATCH_TABLE}"]


def _recorded_packages(paths: Paths) -> set[str]:
    """Return the OS packages that Bastide installed where they were not before.

    By its own record; on hosts that are older than that record by apt's history, which names the
    source that was used.
    """
    recorded = read_json(paths.state / RECORD)
    if recorded is not None:
        return set(recorded.get("packages", []))
    found: set[str] = set()
    for log in paths.at("/var/log/apt").glob("history.log*"):
        for stanza in _history(log).split("\n\n"):
            if SOURCE in stanza:
                installed = re.search(r"^Install: (.*)$", stanza, re.MULTILINE)
                found |= set(
                    re.findall(r"([a-z0-9][a-z0-9+.-]+):", installed[1] if installed else "")
                )
    return found


def _history(log: Path) -> str:
    with contextlib.suppress(OSError, EOFError):
        if log.suffix == ".gz":
            return gzip.decompress(log.read_bytes()).decode("utf-8", "replace")
        return text_of(log)
    return ""


def _accounts(paths: Paths, kind: str, table: str) -> list[str]:
    """Return users or groups of Bastide's sysusers files and packages that are there."""
    files = [*paths.generations.glob("*/etc/sysusers*.conf")]
    files += paths.at("/etc/sysusers.d").glob("*bastide*.conf")
    named = {n for f in files for n in re.findall(rf"^{kind} (\S+)", text_of(f), re.MULTILINE)}
    here = {line.split(":")[0] for line in text_of(paths.at(table)).splitlines()}
    # A first install that was cut off may have left accounts and no file that names them.
    lost = {name for name in here if name.startswith("bastide-")}
    ours = {name for name in named & here if name.startswith("bastide")}
    return sorted(ours | lost | _recorded_accounts(paths) & here)


def _recorded_accounts(paths: Paths) -> set[str]:
    """Return the accounts that OS packages made which Bastide installed."""
    return set((read_json(paths.state / RECORD) or {}).get("accounts", []))


def _paths(paths: Paths) -> list[str]:
    """Return files and folders of Bastide, declared data left out."""
    found = [paths.at(name) for name in OWN]
    found += paths.at("/run").glob("bastide-*")
    for folder in ("/var/log/journal", "/run/log/journal"):  # our services' logs, and no others
        found += paths.at(folder).glob("*.bastide")
    found += paths.at("/run/systemd").glob("journal.bastide")
    found = [path for path in found if path != paths.at(watch.PLACE)]
    state = paths.at(STATE)
    if state.is_dir():
        found += [path for path in state.iterdir() if path.name not in (*DATA, _LOST)]
    found += _named_after_us(paths)
    policy = paths.at(POLICY)
    if text_of(policy) == POLICY_TEXT:
        found.append(policy)
    here = [path for path in sorted(set(found)) if os.path.lexists(path)]
    return [_shown(paths, path) for path in here if not _is_empty_mount(path)]


def _is_empty_mount(path: Path) -> bool:
    """Return whether it is where an administrator's file system is mounted, with nothing in it."""
    return path.is_mount() and not {each.name for each in path.iterdir()} - {_LOST}


def _named_after_us(paths: Paths) -> list[Path]:
    found = []
    for root in (paths.at(name) for name in SWEPT):
        for parent, folders, names in os.walk(root):
            ours = [n for n in (*folders, *names) if "bastide" in n and not n.endswith(ASIDE)]
            found += [Path(parent, name) for name in ours]
            folders[:] = [name for name in folders if name not in ours]
            links = [n for n in names if n not in ours and Path(parent, n).is_symlink()]
            found += [
                Path(parent, n)
                for n in links
                if str(Path(parent, n).readlink()).startswith("/opt/bastide/")
            ]
    return found


def _sources_aside(paths: Paths) -> list[Path]:
    """Return apt sources that were moved aside, under the names that they have now."""
    folder = paths.at("/etc/apt")
    return sorted([*folder.glob(f"*{ASIDE}"), *folder.glob(f"sources.list.d/*{ASIDE}")])


def _has_files(folder: Path) -> bool:
    return any(names for _parent, _folders, names in os.walk(folder))


def _shown(paths: Paths, path: Path) -> str:
    return "/" + str(path.relative_to(paths.root))


# --- and how it goes -------------------------------------------------------------------------
def _do(argv: list[str], faults: list[str], seconds: float = 300.0) -> None:
    done = run(argv, timeout=seconds)
    if done.returncode != 0:
        faults.append(f"{' '.join(argv[:3])}: {tail(done)}")


def _stop(paths: Paths, units: list[str], faults: list[str]) -> None:
    if not units:
        return
    # Timers and sockets first: they would start their services again.
    order = sorted(units, key=lambda name: name.endswith(".service"))
    done = run(["systemctl", "stop", *order], timeout=600)
    if done.returncode not in {0, 5}:  # 5: one was not loaded, which is well
        faults.append(f"systemctl stop: {tail(done)}")
    for unit in units:
        for folder in (paths.units, paths.at("/run/systemd/system")):
            (folder / unit).unlink(missing_ok=True)
            for wants in folder.glob(f"*.wants/{unit}"):
                wants.unlink()
    run(["systemctl", "daemon-reload"], timeout=60)


def _policy_back(paths: Paths) -> None:
    """Put an administrator's own policy back, if a killed run has left ours in its place."""
    policy, saved = paths.at(POLICY), paths.at(POLICY).with_name(POLICY_SAVED)
    if text_of(policy) == POLICY_TEXT:
        policy.unlink()
    if saved.exists() and not policy.exists():
        saved.replace(policy)


def _purge(packages: list[str], faults: list[str]) -> None:
    """Remove OS packages with their configuration; dpkg keeps what others need."""
    if not packages:
        return
    deadline = time.monotonic() + _DPKG_LOCK_SECONDS
    while True:
        env = {"DEBIAN_FRONTEND": "noninteractive"}
        done = run(["dpkg", "--purge", *packages], env=env, timeout=1800)
        if done.returncode == 0:
            return
        if "lock" not in done.stderr or time.monotonic() > deadline:
            faults.append(f"dpkg --purge: {tail(done)}")
            return
        time.sleep(2)


def _remove_accounts(before: JsonObject, keep: Iterable[str], faults: list[str]) -> None:
    for user in set(before["users"]).difference(keep):
        _do(["userdel", user], faults)
    named = sorted(set(before["groups"]).difference(keep))
    groups = run(["getent", "group", *named], timeout=20).stdout if named else ""
    for line in groups.splitlines():
        _do(["groupdel", line.split(":")[0]], faults)


def _sources_back(paths: Paths) -> None:
    for path in _sources_aside(paths):
        original = path.with_name(path.name[: -len(ASIDE)])
        if not original.exists():
            path.rename(original)


def _remove_paths(paths: Paths, *, delete_data: bool, keep_record: bool) -> None:
    record = f"{STATE}/{RECORD}" if keep_record else ""
    for name in _paths(paths):
        if name != record:
            _remove(paths.at(name))
    for name in ("pkgcache.bin", "srcpkgcache.bin"):  # apt's own, with our packages: it makes anew
        (paths.at("/var/cache/apt") / name).unlink(missing_ok=True)
    state = paths.at(STATE)
    for name in DATA:
        if delete_data or not _has_files(state / name):
            _remove(state / name)
    for folder in (state, paths.at("/etc/sysusers.d"), paths.at("/etc/nftables.d")):
        with contextlib.suppress(OSError):
            folder.rmdir()  # stays if something is in it, such as data
    fsync_directory(state.parent)


def _remove(path: Path) -> None:
    if path.is_mount():
        for each in path.iterdir():
            if each.name != _LOST:
                _remove(each)
    elif path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
