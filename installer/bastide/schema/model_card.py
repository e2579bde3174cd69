"""Model cards: one YAML file a model in ``models_manifest/models``.

`CatalogueCard` is what the catalogue knows of a model; `ModelCard` is one with a pinned file.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Self

from pydantic import Field, model_validator

from bastide.schema.base import Name, Value
from bastide.schema.model_facts import (
    UNKNOWN,
    Architecture,
    CommercialUse,
    Count,
    Evidence,
    FineTuning,
    Hosting,
    LicenceClass,
    Modality,
    OrUnknown,
    QualityFigure,
    Quantisation,
    Shape,
    Terms,
    Text,
    Tuning,
    Unknown,
    WeightFormat,
)
from bastide.schema.model_file import (
    HttpsSource,
    HuggingFaceSource,
    IndexSource,
    Licence,
    LocalSource,
    Memory,
    ModelFile,
    Source,
)

__all__ = [
    "UNKNOWN",
    "Architecture",
    "CatalogueCard",
    "HttpsSource",
    "HuggingFaceSource",
    "IndexSource",
    "Licence",
    "LicenceClass",
    "LocalSource",
    "Memory",
    "ModelCard",
    "ModelFile",
    "Quantisation",
    "Shape",
    "Source",
    "Task",
    "Unknown",
    "WeightFormat",
]

Language = Annotated[str, Field(pattern=r"^[a-z]{2,3}$")]
PERMISSIVE = frozenset({"Apache-2.0", "MIT", "BSD-2-Clause", "BSD-3-Clause", "ISC"})
# Statements about a model that come from somewhere; terms and fine_tuning are taken apart.
FACTS = (
    "version",
    "modality",
    "tuning",
    "domain",
    "architecture",
    "parameters",
    "active_parameters",
    "context_window",
    "embedding_length",
    "shape",
    "quantisations",
    "languages",
    "licence",
    "training_data",
    "hosting",
    "responsible_use",
)


class Task(StrEnum):
    """What a model is for."""

    CHAT = "chat"
    CODE = "code"
    VISION = "vision"  # chat about images
    EMBEDDING = "embedding"
    RERANK = "rerank"


class CatalogueCard(Value):
    """A model as the catalogue knows it, whether or not a file of it is pinned.

    Only `ModelCard`, which `pinned` gives, can be put into a bundle.
    """

    name: Name = Field(description="The model's name here.")
    also: tuple[Name, ...] = Field(default=(), description="Other names by which it is found.")
    title: str = Field(description="The model's name as its makers write it.")
    version: str = Field(description="Version as its makers state it.")
    task: Task = Field(description="What it is for.")
    family: str = Field(description="Model family, such as SmolLM2.")
    summary: str = Field(default="", description="For whom and what it is good, in one line.")
    modality: OrUnknown[tuple[Modality, ...]] = Field(
        default=UNKNOWN, description="What it takes in."
    )
    tuning: OrUnknown[Tuning] = Field(default=UNKNOWN, description="What it was made ready for.")
    domain: OrUnknown[str] = Field(default=UNKNOWN, description="Its field, if made for one.")
    architecture: Name = Field(description="general.architecture of the GGUF file.")
    parameters: OrUnknown[Count] = Field(description="How many parameters it has.")
    active_parameters: OrUnknown[Count] = Field(
        default=UNKNOWN, description="Parameters that one token uses, of a mixture of experts."
    )
    context_window: OrUnknown[Count] = Field(
        description="Tokens of context that it was trained for."
    )
    embedding_length: OrUnknown[Count] = Field(
        description="Width of its vectors; for embedding models, what a collection must have."
    )
    shape: OrUnknown[Shape] = Field(default=UNKNOWN, description="The architecture's numbers.")
    quantisations: tuple[Quantisation, ...] = Field(
        default=(), description="Weight formats in which its file can be had; empty: unknown."
    )
    languages: OrUnknown[Annotated[tuple[Language, ...], Field(min_length=1)]] = Field(
        description="Languages that it is for, as ISO 639 codes."
    )
    licence: Licence = Field(description="Under which terms the weights are.")
    terms: Terms = Field(default=Terms(), description="Conditions of the licence that bind.")
    training_data: OrUnknown[Text] = Field(
        default=UNKNOWN, description="What its makers say it was trained on."
    )
    hosting: OrUnknown[tuple[Hosting, ...]] = Field(
        default=UNKNOWN, description="Where it can run."
    )
    fine_tuning: FineTuning = Field(default=FineTuning(), description="Adapting it.")
    quality: tuple[QualityFigure, ...] = Field(
        default=(), description="Published figures, each with source and date; empty: unknown."
    )
    responsible_use: OrUnknown[tuple[Text, ...]] = Field(
        default=UNKNOWN, description="What its makers warn of."
    )
    evidence: tuple[Evidence, ...] = Field(
        default=(), description="Where the facts were read; a fact without any is not checked."
    )
    quantisation: WeightFormat | None = Field(
        default=None, description="Format of the pinned file's weights."
    )
    memory: Memory | None = Field(
        default=None, description="Memory that the pinned file needs on a host."
    )
    file: ModelFile | None = Field(default=None, description="Its GGUF file, if one is pinned.")
    sources: tuple[Source, ...] = Field(
        default=(), description="Where the file can be had; the first that answers is taken."
    )

    @model_validator(mode="after")
    def _sources_give_the_file(self) -> Self:
        for source in self.sources:
            if self.file is None:
                raise ValueError('"sources" needs "file", which says what they give')
            whole = not isinstance(source, IndexSource)
            if whole and source.sha256 != self.file.sha256:
                raise ValueError(
                    f"the {source.kind} source's sha256 should be the file's, {self.file.sha256}"
                )
        return self

    @model_validator(mode="after")
    def _evidence_names_facts(self) -> Self:
        known = self.facts()
        for evidence in self.evidence:
            for fact in evidence.covers:
                if not any(f == fact or f.startswith(f"{fact}.") for f in known):
                    raise ValueError(f"evidence covers {fact!r}, which is no fact of a card")
        return self

    @property
    def is_pinned(self) -> bool:
        """Whether a file's digest, size and a place to get it are known."""
        return None not in (self.file, self.quantisation, self.memory) and bool(self.sources)

    def pinned(self) -> ModelCard | None:
        """Return the card as one that a bundle can take; None if no file is pinned."""
        return ModelCard.model_validate(dict(self)) if self.is_pinned else None

    @property
    def dimensions(self) -> Architecture | None:
        """What decides memory and speed; None if one of the numbers it takes is unknown."""
        if isinstance(self.shape, Unknown):
            return None
        values = {
            **dict(self.shape),
            "name": self.architecture,
            "context_window": self.context_window,
            "embedding_length": self.embedding_length,
            "parameters": self.parameters,
            "active_parameters": self.active_parameters if self.shape.experts else self.parameters,
        }
        may_be_unknown = {"vocabulary", "feed_forward_length", "active_parameters"}
        if any(v is UNKNOWN for key, v in values.items() if key not in may_be_unknown):
            return None
        return Architecture.model_validate(values)

    def facts(self) -> dict[str, object]:
        """Return every statement that needs a source, by its path; unknown ones too."""
        single = {name: getattr(self, name) for name in FACTS}
        groups = {
            f"{group}.{name}": value
            for group in ("terms", "fine_tuning")
            for name, value in dict(getattr(self, group)).items()
        }
        return {**single, **groups}

    def source_of(self, fact: str) -> Evidence | None:
        """Return where a fact was read; None if that is not known, so it was not checked."""
        whole = fact.partition(".")[0]
        exact = (e for e in self.evidence if fact in e.covers)
        return next(exact, next((e for e in self.evidence if whole in e.covers), None))

    def not_checked(self) -> tuple[str, ...]:
        """Return the facts that the card states without saying where they were read."""
        return tuple(
            fact
            for fact, value in self.facts().items()
            if value is not UNKNOWN and value != () and self.source_of(fact) is None
        )

    @property
    def licence_class(self) -> LicenceClass:
        """How much the licence asks of a site."""
        match self.terms.commercial_use:
            case CommercialUse.FORBIDDEN:
                return LicenceClass.NON_COMMERCIAL
            case CommercialUse.CONDITIONAL:
                return LicenceClass.CONDITIONAL
            case CommercialUse.ALLOWED if self.licence.spdx in PERMISSIVE:
                return LicenceClass.PERMISSIVE
            case CommercialUse.ALLOWED:
                return LicenceClass.CONDITIONAL
        return LicenceClass.UNKNOWN


class ModelCard(CatalogueCard):
    """A model with one pinned file: everything that a site needs to know before it has it."""

    parameters: int = Field(description="How many parameters it has.", gt=0)
    quantisation: WeightFormat = Field(description="Format of its weights.")
    context_window: int = Field(description="Tokens of context that it was trained for.", gt=0)
    embedding_length: int = Field(
        description="Width of its vectors; for embedding models, what a collection must have.",
        gt=0,
    )
    memory: Memory = Field(description="Memory that it needs on a host.")
    file: ModelFile = Field(description="Its GGUF file.")
    sources: tuple[Source, ...] = Field(
        description="Where the file can be had; the first that answers is taken.", min_length=1
    )
