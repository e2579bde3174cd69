"""The whole tree of errors that an operator can meet.

Every error carries a stable code (``BAS-xxxx``, listed in ``docs/reference/errors.md``), an exit
code (``docs/reference/exit-codes.md``), a message (what happened, where, expected against found)
and a hint (what to do next). Library code raises these; only ``cli`` prints them or exits.

The first digit of a code is the exit code of its family, the rest counts within the family.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Problem:
    """One of several things wrong at once, such as one bad field among many.

    Args:
        where: The place: ``site.yaml:12``, a host name, a path inside a bundle.
        what: What is wrong there, with expected against found.
        hint: What the operator should do about it; may be empty.
        code: The stable code of this very finding, if it has one of its own.
    """

    where: str
    what: str
    hint: str = ""
    code: str = ""


class BastideError(Exception):
    """A failure that the operator can act on.

    Args:
        message: One sentence: what happened, where, expected against found.
        code: The stable ``BAS-xxxx`` code of this very failure.
        hint: The next command or action.
        problems: The single findings, when there are several.
    """

    exit_code = 1
    default_code = "BAS-1000"

    def __init__(
        self,
        message: str,
        *,
        code: str = "",
        hint: str = "",
        problems: tuple[Problem, ...] = (),
    ) -> None:
        super().__init__(message)
        self.code = code or self.default_code
        self.hint = hint
        self.problems = problems


class ConfigError(BastideError):
    """Usage, ``site.yaml`` or a catalogue file is wrong; nothing was done."""

    exit_code = 2
    default_code = "BAS-2000"


class BundleError(BastideError):
    """A bundle or its sources cannot be read, are incomplete or are for another platform."""

    exit_code = 3
    default_code = "BAS-3000"


class TrustError(BastideError):
    """Signature, digest, age or order of a bundle is refused."""

    exit_code = 4
    default_code = "BAS-4000"


class PreflightError(BastideError):
    """Hosts are not fit or the plan is stale; nothing was changed."""

    exit_code = 5
    default_code = "BAS-5000"


class ApplyError(BastideError):
    """An apply failed after it had changed something; the message says in which state it left."""

    exit_code = 6
    default_code = "BAS-6000"


class VerifyError(BastideError):
    """Everything was applied, but a check or a gate failed."""

    exit_code = 7
    default_code = "BAS-7000"


class RollbackError(BastideError):
    """A rollback failed: a human is needed now."""

    exit_code = 8
    default_code = "BAS-8000"


class LockedError(BastideError):
    """Another run holds the lock; the message names its holder and since when."""

    exit_code = 9
    default_code = "BAS-9000"
