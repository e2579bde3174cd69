"""Lynis' hardening index of a lab host: before Bastide, with it, and after it.

    python tests/torture/lynis_index.py --lab NAME --host host1 --label before --into lynis.jsonl
    python tests/torture/lynis_index.py --table lynis.jsonl

Carries this machine's Lynis (Debian's package) to the host, audits there as root, and takes it away
again. A line of JSON has the index and every test that cost points. The table compares the labels;
exit code 1 if a host's index under a label is lower than under its first one.
"""

from __future__ import annotations

import argparse
import io
import json
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

PLACE = "/run/lynis-audit"  # in memory: nothing of it is left on the host's disk
PARTS = {  # from Debian's layout to upstream's, in which Lynis runs from a folder
    "/usr/sbin/lynis": "lynis",
    "/usr/share/lynis/include": "include",
    "/usr/share/lynis/db": "db",
    "/etc/lynis/plugins": "plugins",
    "/etc/lynis/default.prf": "default.prf",
}
AUDIT = (
    f"cd {PLACE} && ./lynis audit system --quick --no-colors --quiet "
    f"--logfile {PLACE}/log --report-file {PLACE}/report >/dev/null; cat {PLACE}/report"
)


def packed() -> bytes:
    """Return this machine's Lynis as a tar archive.

    Raises:
        SystemExit: It is not installed.
    """
    missing = [path for path in PARTS if not Path(path).exists()]
    if missing:
        sys.exit(f"{missing[0]} is missing here: apt-get install lynis")
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", dereference=True) as archive:
        for path, name in PARTS.items():
            archive.add(path, name)
    return stream.getvalue()


def parsed(report: str) -> dict[str, Any]:
    """Return index, warnings and suggestions of a report of Lynis; pure."""
    found: dict[str, Any] = {"index": 0, "tests": 0, "warnings": [], "suggestions": []}
    for line in report.splitlines():
        name, _, value = line.partition("=")
        if name == "hardening_index":
            found["index"] = int(value)
        elif name == "lynis_tests_done":
            found["tests"] = int(value)
        elif name in {"warning[]", "suggestion[]"}:
            found[f"{name[:-2]}s"].append(" ".join(value.split("|")[:3]).strip(" -"))
    return found


def audit(lab: str, host: str) -> dict[str, Any]:
    """Audit a lab host; nothing of Lynis is left there.

    Raises:
        SystemExit: No report came back.
    """

    def on_host(line: str, given: bytes = b"") -> str:
        words = ["bastide", "lab", "exec", "--name", lab, "--host", host, "--", "sh", "-c", line]
        return subprocess.run(words, input=given, check=True, capture_output=True).stdout.decode()

    on_host(f"rm -rf {PLACE}; mkdir -m 700 {PLACE} && tar -xf - -C {PLACE}", packed())
    try:
        found = parsed(on_host(AUDIT))
    finally:
        on_host(f"rm -rf {PLACE}")
    if not found["index"]:
        sys.exit(f"{host}: Lynis said no index")
    return found


def table(lines: list[dict[str, Any]]) -> tuple[str, bool]:
    """Return the table in Markdown, and whether no index fell; pure."""
    labels = list(dict.fromkeys(each["label"] for each in lines))
    hosts = list(dict.fromkeys(each["host"] for each in lines))
    index = {(each["host"], each["label"]): each["index"] for each in lines}
    rows = [f"| host | {' | '.join(labels)} |", f"|---{'|---' * len(labels)}|"]
    rows += [
        f"| {host} | {' | '.join(str(index.get((host, label), '?')) for label in labels)} |"
        for host in hosts
    ]
    first = labels[0] if labels else ""
    held = all(
        index[host, label] >= index[host, first] for host, label in index if (host, first) in index
    )
    return "\n".join(rows), held


def main() -> int:
    """Do what the command line asks for."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--lab", help="name of the lab")
    parser.add_argument("--host", help="name of the host")
    parser.add_argument("--label", help="when: before, applied, uninstalled")
    parser.add_argument("--into", type=Path, help="gets a line of JSON")
    parser.add_argument("--table", type=Path, help="only print the table of this file")
    options = parser.parse_args()
    if options.table:
        text, held = table([json.loads(line) for line in options.table.read_text().splitlines()])
        print(text)
        return 0 if held else 1
    if not (options.lab and options.host and options.label):
        parser.error("--lab, --host and --label are needed")
    line = json.dumps({
        "host": options.host, "label": options.label, **audit(options.lab, options.host)
    })  # fmt: skip
    if options.into:
        with options.into.open("a") as stream:
            stream.write(line + "\n")
    print(line)
    return 0


if __name__ == "__main__":
    sys.exit(main())
