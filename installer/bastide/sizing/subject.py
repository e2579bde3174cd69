"""A model as sizing sees it: its shape and the bytes of its weights, by weight type.

It is made from a card (before anything is downloaded) or from a GGUF header (exact).
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from bastide.errors import ConfigError, Problem
from bastide.schema.gguf_header import Header, Scalar
from bastide.schema.model_card import CatalogueCard
from bastide.schema.model_facts import (
    UNKNOWN,
    Architecture,
    Quantisation,
    SlidingWindow,
    Unknown,
    WeightFormat,
)

UNKNOWN_SHAPE = "BAS-2041"
UNKNOWN_FORMAT = "BAS-2042"

# ggml's number of each weight type that the supported formats hold → name, bits of a weight
# (ggml/src/ggml-common.h: bytes of a block x 8 ÷ weights of a block).
KINDS: dict[int, tuple[str, float]] = {
    0: ("F32", 32.0), 1: ("F16", 16.0), 30: ("BF16", 16.0),
    2: ("Q4_0", 4.5), 3: ("Q4_1", 5.0), 6: ("Q5_0", 5.5), 7: ("Q5_1", 6.0), 8: ("Q8_0", 8.5),
    10: ("Q2_K", 2.625), 11: ("Q3_K", 3.4375), 12: ("Q4_K", 4.5), 13: ("Q5_K", 5.5),
    14: ("Q6_K", 6.5625), 20: ("IQ4_NL", 4.5), 23: ("IQ4_XS", 4.25), 39: ("MXFP4", 4.25),
}  # fmt: skip
NUMBERS = {name: number for number, (name, _) in KINDS.items()}

# Bits of a whole file for each parameter, where no file's size is known. K formats mix types;
# these are what llama.cpp's own table gives for a Llama of 8 billion parameters
# (tools/quantize/README.md), the others follow from the type.
FORMAT_BITS: dict[WeightFormat, float] = {
    WeightFormat.F32: 32.0, WeightFormat.F16: 16.0, WeightFormat.BF16: 16.0,
    WeightFormat.Q2_K: 3.16, WeightFormat.Q3_K_S: 3.64, WeightFormat.Q3_K_M: 4.0,
    WeightFormat.Q3_K_L: 4.3, WeightFormat.IQ4_XS: 4.46, WeightFormat.IQ4_NL: 4.68,
    WeightFormat.Q4_0: 4.66, WeightFormat.Q4_1: 5.14, WeightFormat.Q4_K_S: 4.67,
    WeightFormat.Q4_K_M: 4.89, WeightFormat.Q5_0: 5.6, WeightFormat.Q5_1: 6.07,
    WeightFormat.Q5_K_S: 5.57, WeightFormat.Q5_K_M: 5.7, WeightFormat.Q6_K: 6.56,
    WeightFormat.Q8_0: 8.5, WeightFormat.MXFP4: 4.25,
}  # fmt: skip
# The type that most of a format's weights have.
MAIN_KIND = {
    format_: next(
        name for name in sorted(NUMBERS, key=len, reverse=True) if format_.value.startswith(name)
    )
    for format_ in WeightFormat
}

# On x86 CPUs with AVX2 the engine lays weights of these types out anew, beside the mapped file
# (ggml/src/ggml-cpu/repack.cpp, ggml_repack_get_optimal_repack_type).
REPACKED = frozenset({"Q4_0", "Q4_K", "IQ4_NL", "MXFP4"})
# Share of a format's bytes that are of a repacked type, where no header tells.
REPACKED_SHARE = {
    WeightFormat.Q4_0: 0.9, WeightFormat.IQ4_NL: 0.9, WeightFormat.MXFP4: 0.9,
    WeightFormat.Q4_K_S: 0.9, WeightFormat.Q4_K_M: 0.7, WeightFormat.Q3_K_L: 0.0,
}  # fmt: skip


@dataclass(frozen=True)
class Subject:
    """What sizing knows of one model in one weight format.

    Args:
        name: For people.
        architecture: Its shape.
        embedding: Whether it makes vectors rather than text.
        file_bytes: Size of its file.
        exact: Whether that size is a file's own, not parameters times bits.
        types: Bytes of the weights that one token reads, by weight type.
        layer_weights: How many weights each token of a prompt meets, by weight type: those of the
            layers, without the table of token embeddings and the one that makes results.
        repacked_bytes: Bytes that an x86 CPU lays out anew, beside the file.
        origin: Where the size comes from, in words.
    """

    name: str
    architecture: Architecture
    embedding: bool
    file_bytes: int
    exact: bool
    types: dict[str, int]
    layer_weights: dict[str, int]
    repacked_bytes: int
    origin: str

    @property
    def vocabulary(self) -> int:
        """Tokens that it knows; 32,000 where its card cannot say."""
        known = self.architecture.vocabulary
        return 32_000 if isinstance(known, Unknown) else known

    @property
    def feed_forward(self) -> int:
        """Width inside the feed-forward part; four times the model's where it is not known."""
        known = self.architecture.feed_forward_length
        return 4 * self.architecture.embedding_length if isinstance(known, Unknown) else known


def from_card(card: CatalogueCard, wanted: str | None) -> Subject:
    """Return a catalogue model in weight format ``wanted`` (the card's own if none).

    Raises:
        ConfigError: The card does not know the shape, or there is no such format.
    """
    shape = card.dimensions
    if shape is None:
        raise ConfigError(
            f"the card of {card.name} does not know all numbers of its architecture",
            code=UNKNOWN_SHAPE,
            hint="give its GGUF file instead of its name: the file's header has them",
        )
    chosen = _format(card, wanted)
    listed = next((q for q in card.quantisations if q.name is chosen), None)
    size, exact, origin = _size(card, chosen, listed)
    active = shape.parameters if shape.active_parameters is UNKNOWN else shape.active_parameters
    share = active / shape.parameters
    table = 0 if shape.vocabulary is UNKNOWN else shape.vocabulary * shape.embedding_length
    embedding = card.task.value not in {"chat", "code", "vision"}
    two = not embedding and table * 10 < shape.parameters  # large models do not share the table
    read = max(active - (table if two or embedding else 0), 1)
    return Subject(
        name=f"{card.name} {chosen.value}",
        architecture=shape,
        embedding=embedding,
        file_bytes=size,
        exact=exact,
        types={MAIN_KIND[chosen]: int(size * share * read / active)},
        layer_weights={MAIN_KIND[chosen]: max(active - table * (1 + two), 1)},
        repacked_bytes=int(size * REPACKED_SHARE.get(chosen, 0.0)),
        origin=origin,
    )


def _format(card: CatalogueCard, wanted: str | None) -> WeightFormat:
    if wanted is None:
        if card.quantisation is not None:
            return card.quantisation
        return card.quantisations[0].name if card.quantisations else WeightFormat.F16
    try:
        return WeightFormat(wanted.upper())
    except ValueError as error:
        raise ConfigError(
            f"'{wanted}' is no weight format; known: {', '.join(WeightFormat)}",
            code=UNKNOWN_FORMAT,
            hint="give --quant with one of these",
        ) from error


def _size(
    card: CatalogueCard, chosen: WeightFormat, listed: Quantisation | None
) -> tuple[int, bool, str]:
    if card.file is not None and card.quantisation is chosen:
        return card.file.size, True, "size of the pinned file"
    if listed is not None and isinstance(listed.size, int):
        return listed.size, not listed.rounded, "published size of the file"
    if isinstance(card.parameters, Unknown):
        raise ConfigError(
            f"the card of {card.name} knows neither its parameters nor its {chosen} file's size",
            code=UNKNOWN_SHAPE,
            hint="give its GGUF file instead of its name",
        )
    bits = _bits(card, chosen)
    if listed is not None and isinstance(listed.bits_per_weight, float):
        bits = listed.bits_per_weight
    return (
        int(card.parameters * bits / 8),
        False,
        f"{card.parameters:,} parameters x {bits:.4g} bits",
    )


def _bits(card: CatalogueCard, chosen: WeightFormat) -> float:
    """Return the bits of a file for each parameter, where none is known.

    Small models spend much on the one table of embeddings that is also the output; the engine's
    quantiser keeps it at Q6_K, or Q8_0 where the width is no multiple of 256.
    """
    bits, shape = FORMAT_BITS[chosen], card.dimensions
    if shape is None or isinstance(shape.vocabulary, Unknown) or bits >= 8:
        return bits
    share = shape.vocabulary * shape.embedding_length / shape.parameters
    table = 8.5 if shape.embedding_length % 256 else 6.5625
    return bits if share < 0.1 else share * max(table, bits) + (1 - share) * bits


# --- from a file's header ----------------------------------------------------------------------
# Families whose sliding window alternates with whole-context layers: every so many layers one
# looks at everything (llama.cpp, src/llama-model.cpp, set_swa_pattern); the file does not say.
WHOLE_EVERY = {"gemma2": 2, "gemma3": 6, "gemma3n": 5, "cohere2": 4, "gpt-oss": 2}


def from_header(name: str, header: Header, size: int) -> Subject:
    """Return the model of a GGUF file.

    Args:
        name: For people.
        header: The file's header.
        size: The file's size in bytes.

    Raises:
        ConfigError: The header lacks numbers of the architecture; all are listed.
    """
    shape = _shape(name, header)
    embedding = f"{shape.name}.pooling_type" in header.values
    read: Counter[str] = Counter()
    layers: Counter[str] = Counter()
    repacked = 0
    names = {tensor.name for tensor in header.tensors}
    for tensor in header.tensors:
        kind, bits = KINDS.get(tensor.kind, ("F16", 16.0))
        size_of = int(tensor.elements * bits / 8)
        if kind in REPACKED and "embd" not in tensor.name:
            repacked += size_of
        table = tensor.name.startswith(("token_embd", "position_embd", "token_types"))
        if table and (embedding or "output.weight" in names):
            continue  # one row of it for each token
        share = shape.experts_used / shape.experts if "_exps" in tensor.name else 1.0
        read[kind] += int(size_of * share)
        if not table and not tensor.name.startswith("output."):
            layers[kind] += int(tensor.elements * share)
    return Subject(
        name=name,
        architecture=shape,
        embedding=embedding,
        file_bytes=size,
        exact=True,
        types=dict(read),
        layer_weights=dict(layers),
        repacked_bytes=repacked,
        origin="size of the file",
    )


def _shape(name: str, header: Header) -> Architecture:
    architecture = str(header.values.get("general.architecture", ""))

    def number(key: str) -> int | None:
        value: Scalar | None = header.values.get(f"{architecture}.{key}")
        return value if isinstance(value, int) and value > 0 else None

    needed = {
        key: number(key)
        for key in (
            "block_count", "attention.head_count", "embedding_length", "context_length",
        )
    }  # fmt: skip
    missing = [key for key, value in needed.items() if value is None]
    if missing:
        raise ConfigError(
            f"{name} does not say all numbers of its architecture '{architecture}'",
            code=UNKNOWN_SHAPE,
            hint="choose another file; this one cannot be sized",
            problems=tuple(Problem(f"{architecture}.{key}", "missing") for key in missing),
        )
    found = {key: value or 0 for key, value in needed.items()}
    heads = found["attention.head_count"]
    window = number("attention.sliding_window")
    words = header.values.get("tokenizer.ggml.tokens.length")
    parameters = sum(tensor.elements for tensor in header.tensors)
    return Architecture(
        name=architecture,
        layers=found["block_count"],
        heads=heads,
        kv_heads=number("attention.head_count_kv") or heads,
        head_dim=number("attention.key_length") or found["embedding_length"] // heads,
        context_window=found["context_length"],
        vocabulary=words if isinstance(words, int) and words > 0 else UNKNOWN,
        embedding_length=found["embedding_length"],
        feed_forward_length=number("feed_forward_length") or UNKNOWN,
        experts=number("expert_count") or 0,
        experts_used=number("expert_used_count") or 0,
        sliding_window=SlidingWindow(tokens=window, global_every=WHOLE_EVERY.get(architecture, 0))
        if window
        else None,
        parameters=parameters,
        active_parameters=parameters,
    )
