"""How the ledger is shown: ``bastide status --ledger``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from bastide.cli.output import stdout
from bastide.layout import Home
from bastide.ledger.chain import require_head
from bastide.ledger.record import read
from bastide.schema.ledger import Entry

_STYLES = {"started": "dim", "done": "green", "refused": "yellow", "failed": "bold red"}


@dataclass(frozen=True)
class LedgerView:
    """The ledger, every entry of which fits the one before.

    Args:
        file: Where it is.
        head: Digest of its newest entry; empty if it has none.
        entries: Oldest first.
    """

    file: Path
    head: str
    entries: tuple[Entry, ...]


def load_ledger(expected_head: str | None) -> LedgerView:
    """Return this control node's ledger.

    Args:
        expected_head: Digest of an entry that must be in it.

    Raises:
        TrustError: It is not as it was written, or lacks that entry.
        BastideError: It cannot be read.
    """
    path = Home.default().ledger
    entries = read(path)
    if expected_head:
        require_head(entries, expected_head.strip().lower(), str(path))
    return LedgerView(path, entries[-1].digest() if entries else "", entries)


def show_ledger(view: LedgerView) -> None:
    """Print the entries, one a line, and the head to note down."""
    console = stdout()
    for entry in view.entries:
        head = f"{entry.number:>5}  {entry.at.wall}  {entry.who.user:<10} {entry.operation:<20} "
        console.print(head, end="", markup=False)
        console.print(f"{entry.outcome:<8}", style=_STYLES[entry.outcome], end="")
        details = "  ".join(f"{name}={_short(value)}" for name, value in entry.details.items())
        console.print(f" {entry.code} {details}".rstrip(), markup=False)
    if not view.head:
        console.print(f"nothing was recorded yet in {view.file}", markup=False)
        return
    console.print(f"{len(view.entries)} entries, unbroken. Head: {view.head}", markup=False)
    console.print(
        "Note the head elsewhere: --expect-head HEAD proves later that it is still there."
    )


def _short(value: str) -> str:
    """Return a digest's beginning, anything else as it is."""
    return value[:12] if len(value) == 64 and value.isalnum() else value
