"""An entry of the ledger: one line of the record of what was done on this control node."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from bastide.schema.base import Sha256, Value

GENESIS = "0" * 64  # what the first entry has in the place of an earlier one's digest
Outcome = Literal["started", "done", "refused", "failed"]


class Clock(Value):
    """When something happened, by clocks that can be told from one another.

    A machine's wall clock may be wrong or be set; how long the machine has been up cannot.
    """

    wall: str = Field(description="The machine's wall clock, RFC 3339 in UTC.")
    boot: str = Field(description="The kernel's id of the present boot.")
    uptime: float = Field(description="Seconds since that boot.", ge=0)


class Actor(Value):
    """Who did it, as far as the operating system knows."""

    user: str = Field(description="Name of the user; by sudo, of the one who called it.")
    uid: int = Field(description="Number of the user that the process ran as.")
    machine: str = Field(description="The control node's name.")


class Entry(Value):
    """One operation's start or end."""

    format: Literal["bastide.ledger/1"] = "bastide.ledger/1"
    number: int = Field(description="1 for the first entry, then one more each.", ge=1)
    previous: Sha256 = Field(description="SHA-256 of the entry before; zeros for the first.")
    at: Clock
    who: Actor
    operation: str = Field(description="The command, such as 'apply'.")
    outcome: Outcome
    code: str = Field(default="", description="The error's stable code, if it did not succeed.")
    details: dict[str, str] = Field(
        default={}, description="What it was about: site, bundle, plan, run; never a secret."
    )
