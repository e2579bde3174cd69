"""Who asked the gateway what: its log lines of a time, and sums by key and day. Reads only."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Iterable, Iterator

from bastide_host.gateway import NotRunningError, ask
from bastide_host.host import JOURNAL, AgentError, JsonObject, Paths

FORMAT = "bastide.access/1"
UNIT = "bastide-gateway.service"
_SUMS = ("bytes_in", "bytes", "prompt_tokens", "completion_tokens", "total_ms")


def audit(paths: Paths, given: JsonObject) -> JsonObject:
    """Return the newest entries and the sums of a time.

    Args:
        paths: The host's paths; it is a gateway's.
        given: ``since`` and ``until``, seconds since 1970; ``identity``, empty for all of them;
            ``limit``, how many entries.

    Raises:
        AgentError: The journal cannot be read.
    """
    since, until = int(given["since"]), int(given["until"])
    found = entries(_journal(paths, since, until), since, until, str(given.get("identity", "")))
    newest: list[JsonObject] = []
    sums: dict[tuple[str, str], JsonObject] = {}
    limit = int(given.get("limit", 0))
    for entry in found:
        _add(sums, entry)
        newest.append(entry)
        if len(newest) > 2 * limit + 1000:
            del newest[: -limit or None]
    return {
        "changed": False,
        "entries": newest[-limit:] if limit else [],
        "usage": [sums[key] for key in sorted(sums)],
        "lost": _lost(paths),
    }


def entries(
    lines: Iterable[str], since: int, until: int, identity: str = ""
) -> Iterator[JsonObject]:
    """Yield the lines that are entries of that time and, if one is named, of that identity."""
    for line in lines:
        if not line.startswith("{"):
            continue  # HAProxy's own words
        try:
            entry = json.loads(line)
        except ValueError:
            continue
        if entry.get("format") != FORMAT or not since <= int(entry.get("at", 0)) < until:
            continue
        if not identity or entry.get("identity") == identity:
            yield entry


def _add(sums: dict[tuple[str, str], JsonObject], entry: JsonObject) -> None:
    day = time.strftime("%Y-%m-%d", time.gmtime(int(entry["at"])))
    fresh = {"day": day, "identity": entry["identity"], "requests": 0, "refused": 0, "failed": 0,
             "inexact": 0, **dict.fromkeys(_SUMS, 0)}  # fmt: skip
    row = sums.setdefault((day, str(entry["identity"])), fresh)
    row["requests"] += 1
    status = int(entry.get("status", 0))
    row["refused"] += 400 <= status < 500
    row["failed"] += status >= 500 or status < 0
    row["inexact"] += entry.get("tokens_exact") is False
    for name in _SUMS:
        row[name] += int(entry.get(name) or 0)


def _journal(paths: Paths, since: int, until: int) -> Iterator[str]:
    argv = [*JOURNAL, f"--unit={UNIT}", "--output=cat", "--no-pager", "--quiet",
            # An entry is written when its request ends, `at` is when it came.
            f"--since=@{since}", f"--until=@{until + 86400}"]  # fmt: skip
    if paths.root.as_posix() != "/":
        argv.append(f"--root={paths.root}")
    try:
        with subprocess.Popen(
            argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, errors="replace"
        ) as process:
            if process.stdout is not None:
                yield from process.stdout
            words = process.stderr.read() if process.stderr else ""
    except OSError as error:
        raise AgentError("BAS-6104", f"journalctl cannot be run: {error}") from error
    if process.returncode != 0:
        raise AgentError("BAS-6104", f"the journal cannot be read: {words.strip()}")


def _lost(paths: Paths) -> int | None:
    """Return how many lines the running gateway could not write; None if it does not run."""
    try:
        lines = ask(paths, "show info").splitlines()
    except NotRunningError:
        return None
    fields = dict(line.split(": ", 1) for line in lines if ": " in line)
    return int(fields.get("DroppedLogs", "0"))
