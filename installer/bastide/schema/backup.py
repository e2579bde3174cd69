"""``site.yaml``'s block ``backup:``: where backups go, when, and which of them stay."""

from __future__ import annotations

from pydantic import Field

from bastide.schema.base import Value


class KeepRules(Value):
    """Which backups stay when a new one has ended well; the newest good one always does."""

    last: int = Field(default=3, ge=1, le=1000, description="The newest ones.")
    daily: int = Field(
        default=7, ge=0, le=1000, description="The newest one of each of so many days."
    )
    weekly: int = Field(
        default=4, ge=0, le=1000, description="The newest one of each of so many ISO weeks."
    )
    monthly: int = Field(
        default=6, ge=0, le=1000, description="The newest one of each of so many months."
    )


class BackupRules(Value):
    """Backups of this site."""

    folder: str = Field(
        default="backups",
        min_length=1,
        description="Where backups go, relative to this file's folder unless it begins with a "
        "slash. Put it on another disk than the site: a mounted medium or share.",
    )
    schedule: str = Field(
        default="*-*-* 02:30:00",
        pattern=r"^[A-Za-z0-9*:/,.~ -]{1,100}$",
        description="When `bastide backup schedule` makes backups, as systemd.time's OnCalendar.",
    )
    keep: KeepRules = KeepRules()
