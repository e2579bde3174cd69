"""What this host can say to somebody who helps from a distance: reads only, bounded.

It goes to the control node as it is, over SSH, and passes the redactor there.
"""

from __future__ import annotations

import base64
import gzip
import json
from pathlib import Path

from bastide_host.facts import facts
from bastide_host.host import JOURNAL, JsonObject, Paths, read_json, run, text_of

LINES = 2000  # of each unit's journal
BYTES = 1 << 20  # of each text; the end is kept
_COMMANDS = {
    "uname.txt": ["uname", "-a"],
    "uptime.txt": ["uptime"],
    "memory.txt": ["free", "-h"],
    "disks.txt": ["df", "-h", "--output=source,fstype,size,used,avail,pcent,target"],
    "inodes.txt": ["df", "-i"],
    "addresses.txt": ["ip", "-brief", "address"],
    "routes.txt": ["ip", "route"],
    "sockets.txt": ["ss", "-Htlnp"],
    "firewall.txt": ["nft", "--stateless", "list", "ruleset"],
    "failed-units.txt": ["systemctl", "--failed", "--no-pager", "--plain"],
    "timers.txt": ["systemctl", "list-timers", "--all", "--no-pager"],
    "kernel.txt": ["journalctl", "--dmesg", "--priority=warning", "--lines=300", "--no-pager"],
    "clock.txt": ["timedatectl", "show"],
}


def support(paths: Paths) -> JsonObject:
    """Return texts by name (``bastide.support-host/1``), packed: base 64 of gzip of JSON.

    Logs of Bastide's units, states, the live generation's configuration, facts. Nothing below
    ``/etc/bastide/secrets`` is read, and no environment.
    """
    texts = {name: _said(argv) for name, argv in _COMMANDS.items()}
    texts |= _units(paths)
    texts |= _configuration(paths)
    for name in ("good.json", "transition.json", "disabled-sources.json", "notes/backup.json"):
        texts[f"state/{name}"] = _bounded(text_of(paths.state / name))
    texts["facts.json"] = json.dumps(facts(paths, {}), indent=1, sort_keys=True)
    texts["os-release.txt"] = text_of(paths.at("/etc/os-release"))
    content = json.dumps({name: text for name, text in texts.items() if text.strip()})
    packed = base64.b64encode(gzip.compress(content.encode(), 6)).decode()
    return {"format": "bastide.support-host/1", "packed": packed}


def _said(argv: list[str]) -> str:
    done = run(argv, timeout=60)
    return _bounded(done.stdout if done.returncode == 0 else done.stdout + done.stderr)


def _bounded(text: str) -> str:
    return text if len(text) <= BYTES else "… the beginning is left out …\n" + text[-BYTES:]


def _units(paths: Paths) -> dict[str, str]:
    found = {path.name for path in (paths.current / "units").glob("*")}
    found |= {path.name for path in paths.units.glob("bastide-*.*") if path.suffix != ".d"}
    texts = {}
    for unit in sorted(found):
        argv = [
            *JOURNAL,
            f"--unit={unit}",
            f"--lines={LINES}",
            "--no-pager",
            "--output=short-iso",
        ]
        texts[f"journal/{unit}.txt"] = _said(argv)
        texts[f"status/{unit}.txt"] = _said(
            ["systemctl", "status", "--no-pager", "--lines=0", unit]
        )
        texts[f"units/{unit}"] = text_of(paths.current / "units" / unit)
    return texts


def _configuration(paths: Paths) -> dict[str, str]:
    """Return the live generation's configuration, and of every generation what it is made of."""
    texts = {}
    etc = paths.current / "etc"
    for path in sorted(etc.rglob("*")) if etc.is_dir() else []:
        if path.is_file():
            texts[f"etc/{path.relative_to(etc)}"] = _bounded(text_of(path))
    for record in sorted(paths.generations.glob("*/generation.json")):
        known = read_json(record) or {}
        kept = {
            k: v for k, v in known.items() if k not in {"files", "contents", "wheels", "sources"}
        }
        texts[f"generations/{_number(record)}.json"] = json.dumps(kept, indent=1)
    return texts


def _number(record: Path) -> str:
    return record.parent.name
