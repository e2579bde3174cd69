"""What makes entries a chain: pure."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import ValidationError

from bastide.errors import TrustError
from bastide.schema.ledger import GENESIS, Actor, Clock, Entry, Outcome

TAMPERED = "BAS-4070"
_HINT = (
    "entries from there on prove nothing: compare with a backup of the ledger, find out who could "
    "write to it, and keep the file as evidence"
)


def next_entry(
    last: Entry | None,
    who: tuple[Clock, Actor],
    operation: str,
    outcome: tuple[Outcome, str],
    details: Mapping[str, str],
) -> Entry:
    """Return the entry that follows ``last``.

    Args:
        last: The newest entry; None if there is none.
        who: When, and by whom.
        operation: The command.
        outcome: How it stands, and the error's code or nothing.
        details: What it was about.
    """
    return Entry(
        number=last.number + 1 if last else 1,
        previous=last.digest() if last else GENESIS,
        at=who[0],
        who=who[1],
        operation=operation,
        outcome=outcome[0],
        code=outcome[1],
        details=dict(details),
    )


def parse(content: bytes, where: str) -> tuple[Entry, ...]:
    """Return a ledger's entries, each of which fits the one before.

    Args:
        content: The file, whole lines only.
        where: Its name, for messages.

    Raises:
        TrustError: A line was changed, removed, added or put elsewhere; the first such is named.
    """
    entries: list[Entry] = []
    for number, line in enumerate(content.splitlines(keepends=True), start=1):
        before = entries[-1].digest() if entries else GENESIS
        try:
            entry = Entry.model_validate_json(line)
            canonical = entry.canonical()
        except (ValidationError, ValueError):
            raise _tampered(where, number, "is no entry of a ledger") from None
        if canonical != line:
            raise _tampered(where, number, "is spelt differently from how it was written")
        if entry.number != number or entry.previous != before:
            raise _tampered(where, number, "does not follow from the line before it")
        entries.append(entry)
    return tuple(entries)


def require_head(entries: tuple[Entry, ...], head: str, where: str) -> None:
    """Return if an entry with the digest ``head`` is in the chain, so that all before it is too.

    Raises:
        TrustError: It is not: the ledger was cut off or written anew.
    """
    if head not in {entry.digest() for entry in entries}:
        raise TrustError(
            f"{where} does not hold the entry {head}: it was cut off or written anew",
            code=TAMPERED,
            hint=_HINT,
        )


def _tampered(where: str, line: int, what: str) -> TrustError:
    return TrustError(f"{where}:{line} {what}: the ledger was changed", code=TAMPERED, hint=_HINT)
