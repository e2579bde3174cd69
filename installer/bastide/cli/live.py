"""How a run is drawn while it lasts: a live table on a terminal, plain lines elsewhere."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager
from typing import Protocol

import click
from rich.console import Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from bastide.cli.output import stderr
from bastide.progress import human_bytes
from bastide.run.events import Status
from bastide.run.follow import RunObserver
from bastide.run.state import HostState, RunState

_STYLES = {
    Status.OK: ("ok", "green"),
    Status.CHANGED: ("changed", "yellow"),
    Status.FAILED: ("failed", "bold red"),
    Status.UNREACHABLE: ("unreachable", "bold red"),
}


class Watcher(RunObserver, Protocol):
    """A run's observer that can make room for a question."""

    def paused(self) -> AbstractContextManager[None]:
        """Leave the terminal alone while the block lasts."""


class LineWatcher:
    """Prints every line of the timeline to standard error."""

    def show(self, state: RunState, elapsed: float) -> None:
        """Wait for the lines."""

    def line(self, text: str) -> None:
        """Print it."""
        click.echo(text, err=True)

    def paused(self) -> AbstractContextManager[None]:
        """Nothing to pause."""
        return contextlib.nullcontext()


class TableWatcher:
    """Draws a table of hosts below the phase under way; the whole timeline is in the log.

    Args:
        title: What is being done, such as the release's name.
    """

    def __init__(self, title: str) -> None:
        self._title = title
        self._state: RunState | None = None
        self._elapsed = 0.0
        self.live = Live(
            console=stderr(),
            get_renderable=self._draw,
            refresh_per_second=8,
            transient=True,
        )

    def show(self, state: RunState, elapsed: float) -> None:
        """Remember what to draw next."""
        self._state, self._elapsed = state, elapsed

    def line(self, text: str) -> None:
        """Leave it to the log: the table says where things stand."""

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """Take the table off the terminal while the block lasts."""
        self.live.stop()
        try:
            yield
        finally:
            self.live.start()

    def _draw(self) -> Group:
        state = self._state
        if state is None:
            return Group(Text(f"{self._title}: starting"))
        phase = state.phase.label if state.phase else "…"
        head = Text.assemble(
            (self._title, "bold"), f"  {phase}  {state.step}  {self._elapsed:.1f} s"
        )
        table = Table(box=None, pad_edge=False, header_style="dim")
        for heading in ("host", "last step", "state", "changed", "fetched"):
            table.add_column(heading, overflow="ellipsis", no_wrap=True)
        for name, host in state.hosts.items():
            table.add_row(name, *_cells(host))
        return Group(head, table)


def _cells(host: HostState) -> tuple[Text, Text, str, str]:
    word, style = (
        _STYLES.get(host.status, ("waiting", "dim")) if host.status else ("waiting", "dim")
    )
    fetched = human_bytes(host.pulled) if host.pulled or host.to_pull else ""
    if host.to_pull:
        fetched += f" of {human_bytes(host.to_pull)}"
    return Text(host.step), Text(word, style=style), str(host.changed), fetched


@contextlib.contextmanager
def watching(title: str) -> Iterator[Watcher]:
    """Return a watcher that fits standard error, drawing while the block lasts."""
    if not sys.stderr.isatty():
        yield LineWatcher()
        return
    table = TableWatcher(title)
    with table.live:
        yield table
