"""Tells the monitoring host when something was done last, so that alerts know."""

from __future__ import annotations

import time
from pathlib import Path

from bastide.run.ask import Line, ask
from bastide.schema.site import Group, Site

SECONDS = 30.0


def note(site: Site, site_root: Path, what: str, *, ok: bool) -> bool:
    """Tell the monitoring host how something ended just now; return whether it took that.

    Args:
        site: The site; one without monitoring is told nothing.
        site_root: The folder of ``site.yaml``.
        what: What was done, such as ``verify``.
        ok: Whether it ended well.
    """
    hosts = site.hosts_in(Group.MONITORING)
    given = {host: {"what": what, "unix_time": int(time.time()), "ok": ok} for host in hosts}
    replies = ask(Line(site, site_root), "note", given, seconds=SECONDS)
    return all(reply.returncode == 0 for reply in replies.values())
