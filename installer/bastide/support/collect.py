"""Gathers the texts of a support bundle: from this machine, and from hosts by their agent."""

from __future__ import annotations

import base64
import contextlib
import gzip
import importlib.metadata
import json
import os
import platform
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from bastide import __version__
from bastide.errors import BastideError
from bastide.layout import Home, RunFolder, SiteFolder
from bastide.progress import Progress
from bastide.render.inventory import resolve
from bastide.run.ask import Line, Reply, ask
from bastide.run.facts import explain_unreachable
from bastide.schema.site import Site
from bastide.site.secrets import open_secrets
from bastide.site.vault import label_of, read_password
from bastide.store.local import Store

RUNS = 3  # the newest ones
LEDGER_LINES = 300
BYTES = 1 << 20  # of each text; the end is kept
HOST_SECONDS = 300.0
_LONG = 20  # characters of a text in the vault from which on it is taken for a secret


def known_secrets(site: Site, folder: SiteFolder, home: Home) -> tuple[tuple[str, ...], str]:
    """Return everything secret of this site that this machine can read, and what it cannot.

    Args:
        site: The site.
        folder: Its folder.
        home: The control node's state.
    """
    found: list[str] = []
    missing = ""
    try:
        found += _texts(asdict(open_secrets(folder, home)))
        found.append(read_password(home, label_of(folder.secrets.read_bytes(), where="secrets")))
    except (BastideError, OSError) as error:
        missing = f"the site's secrets could not be opened ({error}): they are known by form only"
    for path in (home.receipt_key, resolve(site.ssh.private_key, folder.root)):
        with contextlib.suppress(OSError, UnicodeDecodeError):
            found.append(path.read_text())
    return tuple(found), missing


def _texts(value: Any) -> Iterator[str]:  # noqa: ANN401 - whatever the vault holds
    """Yield every text of a nested value that is long enough to be a secret."""
    if isinstance(value, str):
        if len(value) >= _LONG and "BEGIN CERTIFICATE" not in value[:40]:
            yield value
    elif isinstance(value, Mapping):
        for each in value.values():
            yield from _texts(each)
    elif isinstance(value, tuple | list | set | frozenset):
        for each in value:
            yield from _texts(each)


def control_texts(folder: SiteFolder, home: Home) -> dict[str, str]:
    """Return what this machine can say: versions, site, plan, the newest runs, ledger, bundles."""
    found = {"versions.json": json.dumps(_versions(), indent=1, sort_keys=True)}
    for path in (folder.config, folder.plan):
        found |= _read(path, path.name)
    for run in _runs(folder):
        for path in (run.summary, run.journal, run.log, run.plan, run.provenance):
            found |= _read(path, f"runs/{run.id}/{path.name}")
    found |= _read(home.site_trust, "trust.json")
    with contextlib.suppress(OSError):
        lines = home.ledger.read_text(errors="replace").splitlines()[-LEDGER_LINES:]
        found["ledger.jsonl"] = "\n".join(lines) + "\n"
    with contextlib.suppress(BastideError, OSError):
        bundles = [
            f"{b.root.release} {b.root.target} {b.digest}" for b in Store(home.store).bundles()
        ]
        found["bundles.txt"] = "\n".join(bundles) + "\n"
    return {f"control/{name}": text for name, text in found.items()}


def _versions() -> dict[str, str]:
    names = sorted({each.metadata["Name"] for each in importlib.metadata.distributions()})
    packages = {name: importlib.metadata.version(name) for name in names if name}
    own = {"bastide": __version__, "python": platform.python_version()}
    return {**packages, **own, "platform": platform.platform()}


def _runs(folder: SiteFolder) -> list[RunFolder]:
    found = sorted(folder.runs.iterdir(), reverse=True) if folder.runs.is_dir() else []
    return [RunFolder(path) for path in found[:RUNS]]


def _read(path: Path, name: str) -> dict[str, str]:
    try:
        with path.open("rb") as stream:
            size = os.fstat(stream.fileno()).st_size
            stream.seek(max(0, size - BYTES))
            return {name: stream.read().decode("utf-8", "replace")}
    except OSError:
        return {}


def host_texts(line: Line, progress: Progress) -> dict[str, str]:
    """Return what the hosts can say; of one that cannot be reached, why."""
    hosts = line.site.hosts
    with progress.task("ask hosts", total=len(hosts), unit="steps") as task:

        def tell(host: str, _reply: Reply) -> None:
            task.describe(host)
            task.advance(1)

        given: dict[str, dict[str, Any]] = {host: {} for host in hosts}
        replies = ask(line, "support", given, tell, seconds=HOST_SECONDS)
    found: dict[str, str] = {}
    for host in hosts:
        texts = _texts_of(replies.get(host, Reply({}, 1, "it was not asked to the end")))
        found |= {f"hosts/{host}/{name}": text for name, text in texts.items()}
    return found


def _texts_of(reply: Reply) -> dict[str, str]:
    try:
        content = gzip.decompress(base64.b64decode(reply.answer["packed"]))
        return {str(name): str(text) for name, text in json.loads(content).items()}
    except (KeyError, ValueError, OSError, EOFError):
        return {"unreachable.txt": explain_unreachable(reply.words, "unreachable").reason + "\n"}
