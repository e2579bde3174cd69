"""Licence policies: what an organisation lets into its bundles, and a site into its store."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import Field

from bastide.schema.artifact import ArtifactKind
from bastide.schema.base import Value

Words = Annotated[str, Field(min_length=1, max_length=1000)]


class Decision(StrEnum):
    """What a policy says to an artifact under a licence."""

    ALLOW = "allow"
    ASK = "ask"  # refused until somebody's acceptance of the licence is on record
    DENY = "deny"


class LicenceFamily(StrEnum):
    """Kinds of licences that a rule can name; the kind of an SPDX licence is ScanCode's."""

    PERMISSIVE = "permissive"
    PUBLIC_DOMAIN = "public-domain"
    WEAK_COPYLEFT = "weak-copyleft"
    STRONG_COPYLEFT = "strong-copyleft"
    RESTRICTED = "restricted"  # not for every use, or not open at all
    UNKNOWN = "unknown"  # not stated, or stated in words that nobody could place


class LicenceRule(Value):
    """One line of a policy."""

    licences: tuple[Words, ...] = Field(
        description="SPDX identifiers, names of licences as cards spell them, or families: "
        "permissive, public-domain, weak-copyleft, strong-copyleft, restricted, unknown, any.",
        min_length=1,
    )
    uses: tuple[ArtifactKind, ...] = Field(
        default=(), description="Kinds of artifacts that it is about; empty: all of them."
    )
    decision: Decision = Field(description="allow, ask or deny.")
    because: Words = Field(description="The reason, shown to whoever meets the rule.")


class LicencePolicy(Value):
    """A policy file: the first rule that fits a licence and a use decides."""

    name: Words = Field(description="What the policy is called, for messages.")
    rules: tuple[LicenceRule, ...] = Field(description="Rules, the most particular ones first.")
    otherwise: Decision = Field(
        default=Decision.ASK, description="What holds where no rule fits: allow, ask or deny."
    )
