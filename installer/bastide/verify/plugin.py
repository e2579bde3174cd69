"""A pytest plugin that writes one JSON line a check, for whoever started pytest.

Load it with ``-p bastide.verify.plugin --bastide-results FILE``. Lines, in this order:
``{"event": "collected", "count": n}``, then one ``{"event": "check", …}`` for each check as it
ends. What a test passes to ``record_property`` is in its ``properties``, as [name, value] pairs.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, TextIO

import pytest

AREA_MARKER = "area"
HOST_PARAMETER = "_testinfra_host"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option that names the file of results."""
    parser.addoption("--bastide-results", type=Path, help="write one JSON line a check here")


def pytest_configure(config: pytest.Config) -> None:
    """Start writing, if the option is given."""
    path = config.getoption("--bastide-results")
    if path:
        config.pluginmanager.register(Recorder(path), "bastide-recorder")


class Recorder:
    """Writes results as they come.

    Args:
        path: The file of results; it is replaced.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._stream: TextIO | None = None
        self._about: dict[str, dict[str, Any]] = {}

    def _write(self, line: dict[str, Any]) -> None:
        if self._stream is None:
            self._stream = self._path.open("w", encoding="utf-8")
        self._stream.write(json.dumps(line) + "\n")
        self._stream.flush()

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        """Remember what each check is about, and say how many there are."""
        self._about = {item.nodeid: about(item) for item in session.items}
        self._write({"event": "collected", "count": len(session.items)})

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Write a check's line: when its call ended, or when it failed before or after that."""
        about_it = self._about[report.nodeid]
        about_it["seconds"] = about_it.get("seconds", 0.0) + report.duration
        if report.when != "call" and report.passed:
            return
        self._write(
            {
                "event": "check",
                **about_it,
                "outcome": report.outcome,
                "message": message(report),
                "properties": [[str(name), value] for name, value in report.user_properties],
            }
        )

    def pytest_sessionfinish(self) -> None:
        """Close the file."""
        if self._stream is not None:
            self._stream.close()


def about(item: pytest.Item) -> dict[str, Any]:
    """Return what a check is, from its marker, its docstring and its parameters."""
    marker = item.get_closest_marker(AREA_MARKER)
    documentation = getattr(getattr(item, "function", None), "__doc__", None) or item.name
    call = getattr(item, "callspec", None)
    host = call.params.get(HOST_PARAMETER) if call else None
    backend = getattr(host, "backend", None)
    return {
        "id": item.nodeid,
        "area": marker.args[0] if marker else item.nodeid.partition("::")[0],
        "title": " ".join(documentation.strip().split("\n\n")[0].split()).rstrip("."),
        "host": host_name(backend.get_pytest_id()) if backend else "",
    }


def host_name(identifier: str) -> str:
    """Return the host in testinfra's id of it: ``ssh://root@host1:22`` → ``host1``."""
    name = (identifier.partition("://")[2] or identifier).partition("?")[0]
    name = name.rpartition("@")[2]
    bracketed = name.startswith("[")
    return name[1:].partition("]")[0] if bracketed else name.partition(":")[0]


def message(report: pytest.TestReport) -> str:
    """Return why a check did not pass, in as few lines as say it; empty if it passed."""
    if report.passed:
        return ""
    if report.skipped and isinstance(report.longrepr, tuple):
        return str(report.longrepr[2]).removeprefix("Skipped: ")
    crash = getattr(report.longrepr, "reprcrash", None)
    text = str(crash.message) if crash else report.longreprtext
    for prefix in ("AssertionError: ", "Failed: "):
        text = text.removeprefix(prefix)
    # What pytest adds below an assertion's own message explains Python, not the site.
    return text.partition("\nassert ")[0].strip()
