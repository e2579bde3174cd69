"""Tells the monitoring host when something was done last, so that alerts know."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from bastide.errors import BastideError
from bastide.progress import Progress
from bastide.run.ask import Line, ask
from bastide.schema.site import Group, Site

SECONDS = 30.0


def note(site: Site, site_root: Path, what: Literal["backup", "verify"], *, ok: bool) -> bool:
    """Tell the monitoring host how something ended just now; return whether it took that.

    Args:
        site: The site; one without monitoring is told nothing.
        site_root: The folder of ``site.yaml``.
        what: What was done.
        ok: Whether it ended well.
    """
    hosts = site.hosts_in(Group.MONITORING)
    given = {host: {"what": what, "unix_time": int(time.time()), "ok": ok} for host in hosts}
    replies = ask(Line(site, site_root), "note", given, seconds=SECONDS)
    return all(reply.returncode == 0 for reply in replies.values())


@contextmanager
def noted(
    site: Site, site_root: Path, what: Literal["backup", "verify"], progress: Progress
) -> Iterator[None]:
    """Tell the monitoring host how the body ended; that it cannot be told changes nothing.

    Args:
        site: The site.
        site_root: The folder of ``site.yaml``.
        what: What the body does.
        progress: Is told if the host could not be.
    """
    ok = False
    try:
        yield
        ok = True
    finally:
        try:
            told = note(site, site_root, what, ok=ok)
        except BastideError:
            told = False
        if not told:
            progress.note(f"monitoring could not be told of this {what}")
