"""The ``audit:`` block of ``site.yaml``: what is recorded of requests beside the audit log."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from bastide.schema.base import Value

Days = Annotated[int, Field(ge=1, le=3650)]


class Audit(Value):
    """Whether prompts and answers are recorded. The audit log itself never has any."""

    texts_days: Days | None = Field(
        default=None,
        description="How many days the text of every prompt and answer is recorded on the LLM's "
        "hosts; null: never. THESE ARE PERSONAL DATA of everybody who asks. Before you set it: "
        "have a purpose, tell the people, ask your data protection officer and the works council, "
        "and settle who may read them (root of these hosts can).",
    )
