"""Whether apt and dpkg would do their work. Reads only."""

from __future__ import annotations

import re
from pathlib import Path

from bastide_host.host import JsonObject, Paths, run, text_of

_WHOLE = frozenset({"installed", "not-installed", "config-files"})
LOCKS = ("/var/lib/dpkg/lock-frontend", "/var/lib/dpkg/lock", "/var/lib/apt/lists/lock",
         "/var/cache/apt/archives/lock")  # fmt: skip


def package_state(paths: Paths) -> JsonObject:
    """Return what stands in the way of an installation of packages."""
    status = paths.at("/var/lib/dpkg/status")
    broken, held = _stanzas(text_of(status))
    holders = {name: lock_holder(paths, paths.at(name)) for name in LOCKS}
    updates = paths.at("/var/lib/dpkg/updates")
    return {
        "packages_broken": broken,
        "packages_held": held,
        "packages_interrupted": updates.is_dir() and any(updates.iterdir()),
        "packages_database": _database_fault(status),
        "packages_locks": {name: who for name, who in holders.items() if who},
        "pins": _pins(paths),
        "apt_fault": _apt_fault(paths),
        "policy_left": paths.at("/usr/sbin/policy-rc.d.before-bastide").exists(),
    }


def _stanzas(text: str) -> tuple[dict[str, str], list[str]]:
    """Return the packages that are not whole, each with its state, and those held."""
    broken, held = {}, []
    for name, want, fault, state in re.findall(
        r"^Package: (\S+)\nStatus: (\S+) (\S+) (\S+)$", text, re.MULTILINE
    ):
        if state not in _WHOLE or fault != "ok":
            broken[name] = state if fault == "ok" else fault
        if want == "hold":
            held.append(name)
    return broken, sorted(held)


def _database_fault(status: Path) -> str:
    """Return why dpkg's database cannot be the system's; empty if it can."""
    text = text_of(status)
    if not text.strip():
        return f"{status} is empty or missing"
    for stanza in text.strip().split("\n\n"):
        if not re.match(r"Package: \S+\n", stanza) or "\nStatus: " not in stanza:
            return f"{status} has an entry that is none: {stanza.strip()[:60]!r}"
    needed = {"dpkg", "libc6"}
    lacking = sorted(needed - set(re.findall(r"^Package: (\S+)$", text, re.MULTILINE)))
    return f"{status} does not list {', '.join(lacking)}" if lacking else ""


def lock_holder(paths: Paths, path: Path) -> str:
    """Return who holds a lock on a file, as ``name (pid)``; empty if nobody does.

    The kernel's table is read, so that no lock is taken to see whether one could be.
    """
    try:
        inode = str(path.stat().st_ino)
    except OSError:
        return ""
    lines = re.findall(
        r"^\d+: (?:POSIX|FLOCK|OFDLCK)\s+\S+\s+WRITE\s+(-?\d+) [0-9a-f]+:[0-9a-f]+:(\d+) ",
        text_of(paths.at("/proc/locks")),
        re.MULTILINE,
    )
    for process, locked in lines:
        if locked == inode and _has_open(paths, process, path):
            return f"{text_of(paths.at(f'/proc/{process}/comm')).strip()} ({process})"
    return ""


def _has_open(paths: Paths, process: str, path: Path) -> bool:
    try:
        files = list(paths.at(f"/proc/{process}/fd").iterdir())
        return any(each.is_symlink() and each.readlink() == path for each in files)
    except OSError:
        return False


def _pins(paths: Paths) -> dict[str, int]:
    """Return what apt's preferences forbid: a package name or pattern → its priority below 0."""
    folder = paths.at("/etc/apt/preferences.d")
    found = {}
    for path in (paths.at("/etc/apt/preferences"), *sorted(folder.glob("*"))):
        if path.parent == folder and path.suffix not in {"", ".pref"}:
            continue
        for stanza in re.split(r"\n\s*\n", text_of(path)):
            fields = dict(re.findall(r"^(Package|Pin|Pin-Priority):\s*(.+)$", stanza, re.MULTILINE))
            priority = fields.get("Pin-Priority", "0").strip()
            if re.fullmatch(r"-\d+", priority):
                found.update(dict.fromkeys(fields.get("Package", "").split(), int(priority)))
    return found


def _apt_fault(paths: Paths) -> str:
    if str(paths.root) != "/":
        return ""
    done = run(["apt-config", "dump"], timeout=20)
    return "" if done.returncode == 0 else (done.stderr.strip().splitlines() or ["it fails"])[0]
