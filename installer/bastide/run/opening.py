"""Begins a run and ends it, whatever happens in between."""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Iterator
from datetime import UTC, datetime

from bastide.layout import RunFolder
from bastide.render import run_directory
from bastide.run import journal as journals
from bastide.run.follow import Follower, RunObserver
from bastide.run.interrupt import cancellable
from bastide.run.runner import ssh_sockets
from bastide.run.session import Order, Session
from bastide.run.state import RunState


@contextlib.contextmanager
def open_session(order: Order, observer: RunObserver) -> Iterator[Session]:
    """Begin a run: fresh folder, journal, timeline, signals; end them all when the block ends.

    The caller holds the site's lock, so a journal without an end belongs to a dead run.
    """
    killed = journals.last_unfinished(order.folder)
    folder = RunFolder(order.folder.runs / new_run_id(datetime.now(UTC)))
    run_directory.create(folder)
    state = RunState.begin(dict.fromkeys(order.wanted.site.hosts, 0))
    follower = Follower(state, folder.log, observer)
    with (
        contextlib.closing(follower),
        journals.open_journal(folder.journal, _now) as journal,
        ssh_sockets() as sockets,
        cancellable() as cancelled,
    ):
        session = Session(order, folder, journal, follower, sockets, cancelled)
        back_to = journals.UNDO if order.undo else order.back_to
        journal.intend(journals.RUN, release=order.wanted.release, back_to=back_to)
        session.tell(_tell_of(killed) if killed else "")
        try:
            yield session
        except BaseException as error:
            session.abandon(error)
            raise


def new_run_id(now: datetime) -> str:
    """Return an id that sorts by time and never comes twice."""
    return f"{now.astimezone(UTC):%Y%m%dT%H%M%S.%f}"[:-3] + f"Z-{secrets.token_hex(3)}"


def _tell_of(killed: journals.Unfinished) -> str:
    return (
        f"the last run, {killed.run}, was killed in phase {killed.phase} at {killed.at};"
        " this one does all steps again, which is safe"
    )


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
