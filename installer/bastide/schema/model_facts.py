"""What a model card states about a model: values that are known, each with its source, or unknown.

A catalogue answers questions before anything is downloaded, so every statement says where it was
read. What could not be checked is `Unknown`, a value of its own: never zero, empty or a guess.
"""

from __future__ import annotations

from datetime import date
from enum import StrEnum
from typing import Annotated, Any, Final, TypeVar

from pydantic import Discriminator, Field, Tag, model_validator

from bastide.schema.base import Value


class Unknown(StrEnum):
    """The one value of a fact that nobody could check."""

    UNKNOWN = "unknown"


UNKNOWN: Final = Unknown.UNKNOWN
T = TypeVar("T")


def _branch(value: Any) -> str:  # noqa: ANN401 - whatever a file holds
    return "unknown" if isinstance(value, str) and value == "unknown" else "known"


# One of the two branches is chosen before it is checked, so that a mistake is reported once.
OrUnknown = Annotated[
    Annotated[T, Tag("known")] | Annotated[Unknown, Tag("unknown")], Discriminator(_branch)
]
Count = Annotated[int, Field(gt=0, lt=10**15)]
Text = Annotated[str, Field(min_length=2, max_length=2000)]


class Modality(StrEnum):
    """What a model takes in besides, or instead of, text."""

    TEXT = "text"
    IMAGE = "image"
    AUDIO = "audio"


class Tuning(StrEnum):
    """What the weights were made ready for."""

    GENERAL = "general"  # a base model, not trained to follow instructions
    INSTRUCTION = "instruction"
    DOMAIN = "domain"  # made for one field or one kind of text


class CommercialUse(StrEnum):
    """Whether the licence lets a company use the weights for gain."""

    ALLOWED = "allowed"
    CONDITIONAL = "conditional"
    FORBIDDEN = "forbidden"


class LicenceClass(StrEnum):
    """How much a licence asks of a site, for filters."""

    PERMISSIVE = "permissive"  # an open-source licence that asks for its notices only
    CONDITIONAL = "conditional"  # commercial use, under conditions that bind
    NON_COMMERCIAL = "non-commercial"
    UNKNOWN = "unknown"


class Hosting(StrEnum):
    """Where a model can run."""

    SELF_HOSTED = "self-hosted"  # the weights can be had, so it runs behind an air gap
    SERVICE = "service"  # its makers also offer it as a service


class SlidingWindow(Value):
    """Attention that looks back only so far in some layers, which keeps their cache small."""

    tokens: Count = Field(description="How many tokens such a layer looks back.")
    global_every: int = Field(
        description="Every so many layers one looks at the whole context; 0: none does.", ge=0
    )


class Shape(Value):
    """The architecture's numbers, from the published config."""

    layers: OrUnknown[Count] = Field(description="Transformer blocks.")
    heads: OrUnknown[Count] = Field(description="Attention heads of a layer.")
    kv_heads: OrUnknown[Count] = Field(description="Key and value heads of a layer.")
    head_dim: OrUnknown[Count] = Field(description="Width of a head.")
    vocabulary: OrUnknown[Count] = Field(default=UNKNOWN, description="Tokens it knows.")
    feed_forward_length: OrUnknown[Count] = Field(
        default=UNKNOWN, description="Width inside the feed-forward part; of one expert, if many."
    )
    experts: int = Field(default=0, description="Experts of a layer; 0: no mixture.", ge=0)
    experts_used: int = Field(default=0, description="Experts that a token uses.", ge=0)
    sliding_window: SlidingWindow | None = Field(
        default=None, description="Sliding window of its attention, if the family has one."
    )

    @model_validator(mode="after")
    def _fits_together(self) -> Shape:
        if self.experts_used > self.experts:
            raise ValueError("experts_used should not be more than experts")
        heads, kv_heads = self.heads, self.kv_heads
        if isinstance(heads, int) and isinstance(kv_heads, int) and heads % kv_heads:
            raise ValueError("heads should be a multiple of kv_heads")
        return self


class Architecture(Value):
    """Everything that decides memory and speed, in one value (`CatalogueCard.dimensions`)."""

    name: str = Field(description="llama.cpp's name of the architecture.")
    layers: Count
    heads: Count
    kv_heads: Count
    head_dim: Count
    context_window: Count = Field(description="Tokens.")
    vocabulary: OrUnknown[Count]
    embedding_length: Count
    feed_forward_length: OrUnknown[Count]
    experts: int = 0
    experts_used: int = 0
    sliding_window: SlidingWindow | None = None
    parameters: Count = Field(description="All parameters.")
    active_parameters: OrUnknown[Count] = Field(
        description="Parameters that one token uses; all of them, unless it is a mixture."
    )


class WeightFormat(StrEnum):
    """Weight formats that this version knows, by llama.cpp's names."""

    F32 = "F32"
    F16 = "F16"
    BF16 = "BF16"
    Q2_K = "Q2_K"
    Q3_K_S = "Q3_K_S"
    Q3_K_M = "Q3_K_M"
    Q3_K_L = "Q3_K_L"
    IQ4_XS = "IQ4_XS"
    IQ4_NL = "IQ4_NL"
    Q4_0 = "Q4_0"
    Q4_1 = "Q4_1"
    Q4_K_S = "Q4_K_S"
    Q4_K_M = "Q4_K_M"
    Q5_0 = "Q5_0"
    Q5_1 = "Q5_1"
    Q5_K_S = "Q5_K_S"
    Q5_K_M = "Q5_K_M"
    Q6_K = "Q6_K"
    Q8_0 = "Q8_0"
    MXFP4 = "MXFP4"


class Quantisation(Value):
    """One weight format in which the model's file can be had."""

    name: WeightFormat = Field(description="The format, by llama.cpp's name.")
    size: OrUnknown[Count] = Field(default=UNKNOWN, description="Size of the file in bytes.")
    rounded: bool = Field(
        default=False, description="Whether the size was published rounded, such as 4.37 GB."
    )
    bits_per_weight: OrUnknown[Annotated[float, Field(gt=0, le=64)]] = Field(
        default=UNKNOWN, description="Bits of the file for each parameter."
    )


class Terms(Value):
    """Conditions of the licence that bind a site; "none" where it has no such condition."""

    commercial_use: OrUnknown[CommercialUse] = Field(
        default=UNKNOWN, description="Whether commercial use is allowed."
    )
    user_limit: OrUnknown[Text] = Field(
        default=UNKNOWN, description="A limit by users or revenue; or none."
    )
    notices: OrUnknown[Text] = Field(
        default=UNKNOWN, description="Notices that must be kept or shown; or none."
    )
    naming: OrUnknown[Text] = Field(
        default=UNKNOWN, description="How derived models must be named; or none."
    )
    use_policy: OrUnknown[Text] = Field(
        default=UNKNOWN, description="Uses that the licence forbids; or none."
    )
    gated: OrUnknown[bool] = Field(
        default=UNKNOWN, description="Whether its makers ask for an account or a consent first."
    )


class FineTuning(Value):
    """Whether the model can be adapted, and served with adapters."""

    lora_gguf: OrUnknown[bool] = Field(
        default=UNKNOWN, description="Whether llama.cpp converts LoRA adapters of it to GGUF."
    )
    note: OrUnknown[Text] = Field(
        default=UNKNOWN, description="What its makers say about fine-tuning."
    )


class QualityFigure(Value):
    """One published result; comparable only with the same benchmark and setting."""

    benchmark: str = Field(description="Name of the benchmark, such as MMLU.", min_length=2)
    setting: str = Field(default="", description="Shots, metric, or variant, as published.")
    value: float = Field(description="The figure, in the unit of the benchmark.")
    source: str = Field(
        description="Address of the page that states it.", pattern=r"^https?://\S+$"
    )
    published: OrUnknown[date] = Field(default=UNKNOWN, description="When it was published.")


class Evidence(Value):
    """Where facts of a card were read."""

    covers: tuple[str, ...] = Field(
        description="The facts: a card's field, such as languages or terms.gated.", min_length=1
    )
    what: str = Field(description="What was read, such as the model's config.json.", min_length=2)
    url: str = Field(description="Its address.", pattern=r"^(https?://\S+|pkg:\S+)$")
    copy_of: str | None = Field(
        default=None, description="The address of the original, if a copy of it was read."
    )
    read: date = Field(description="When it was read.")
