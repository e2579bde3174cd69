"""Compares what a GGUF file says of itself with its model card."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from bastide.errors import Problem
from bastide.schema.gguf_header import Header, HeaderError, Scalar, Tensor, read_header
from bastide.schema.model_card import ModelCard, Task, Unknown, WeightFormat

# general.file_type: llama.cpp's numbers (llama_ftype)
FILE_TYPES = {
    WeightFormat.F32: 0,
    WeightFormat.F16: 1,
    WeightFormat.Q4_0: 2,
    WeightFormat.Q4_1: 3,
    WeightFormat.Q8_0: 7,
    WeightFormat.Q5_0: 8,
    WeightFormat.Q5_1: 9,
    WeightFormat.Q2_K: 10,
    WeightFormat.Q3_K_S: 11,
    WeightFormat.Q3_K_M: 12,
    WeightFormat.Q3_K_L: 13,
    WeightFormat.Q4_K_S: 14,
    WeightFormat.Q4_K_M: 15,
    WeightFormat.Q5_K_S: 16,
    WeightFormat.Q5_K_M: 17,
    WeightFormat.Q6_K: 18,
    WeightFormat.IQ4_NL: 25,
    WeightFormat.IQ4_XS: 30,
    WeightFormat.BF16: 32,
    WeightFormat.MXFP4: 38,
}
# ggml's numbers of the type that most of the weights have. The second is what llama.cpp takes
# instead for rows that a block of 256 does not divide, which small models have.
_MAIN_TYPES: dict[WeightFormat, tuple[int, ...]] = {
    WeightFormat.F32: (0,),
    WeightFormat.F16: (1,),
    WeightFormat.Q4_0: (2,),
    WeightFormat.Q4_1: (3,),
    WeightFormat.Q5_0: (6,),
    WeightFormat.Q5_1: (7,),
    WeightFormat.Q8_0: (8,),
    WeightFormat.Q2_K: (10, 20),
    WeightFormat.Q3_K_S: (11, 20),
    WeightFormat.Q3_K_M: (11, 20),
    WeightFormat.Q3_K_L: (11, 20),
    WeightFormat.Q4_K_S: (12, 6),
    WeightFormat.Q4_K_M: (12, 6),
    WeightFormat.Q5_K_S: (13, 7),
    WeightFormat.Q5_K_M: (13, 7),
    WeightFormat.Q6_K: (14, 8),
    WeightFormat.IQ4_NL: (20,),
    WeightFormat.IQ4_XS: (23, 20),
    WeightFormat.BF16: (30,),
    WeightFormat.MXFP4: (39,),
}
# Kept at a finer type by most recipes, and more than half of a small model with a large vocabulary.
_VOCABULARY_TENSORS = frozenset({"token_embd.weight", "output.weight"})
PARAMETER_TOLERANCE = 0.02  # cards round; tied or dropped tensors differ a little


def check_gguf(path: Path, card: ModelCard) -> list[Problem]:
    """Return what in the file at ``path`` contradicts its model card; nothing if all agrees.

    Args:
        path: A GGUF file; only its header is read.
        card: What it should be.

    Raises:
        OSError: The file cannot be read.
    """
    where = f"{card.file.name} ({card.name})"
    try:
        header = read_header(path)
    except HeaderError as error:
        return [Problem(where, f"not a usable GGUF file: {error}", "fetch the model again")]
    checks = [
        *_size(path, card),
        *_metadata(header, card),
        *_weights(header, card),
    ]
    hint = f"the file is another model, or the card {card.name}.yaml is wrong"
    return [Problem(where, text, hint) for text in checks]


def _size(path: Path, card: ModelCard) -> list[str]:
    size = path.stat().st_size
    return [] if size == card.file.size else [f"size: card {card.file.size}, file {size} bytes"]


def _metadata(header: Header, card: ModelCard) -> list[str]:
    architecture = card.architecture
    expected: list[tuple[str, Scalar]] = [
        ("general.architecture", architecture),
        ("general.file_type", FILE_TYPES[card.quantisation]),
        (f"{architecture}.context_length", card.context_window),
        (f"{architecture}.embedding_length", card.embedding_length),
    ]
    expected += _shape(card)
    found = header.values
    problems = [
        f"{key}: card {value!r}, file {found.get(key)!r}"
        for key, value in expected
        if found.get(key) != value
    ]
    if card.task is Task.EMBEDDING and f"{architecture}.pooling_type" not in found:
        problems.append("an embedding model should state its pooling type; the file has none")
    return problems


def _shape(card: ModelCard) -> list[tuple[str, Scalar]]:
    """Return what the header should say of the shape, as far as the card knows it."""
    if isinstance(card.shape, Unknown):
        return []
    shape, name = card.shape, card.architecture
    expected = {"block_count": shape.layers, "attention.head_count": shape.heads}
    if card.task not in {Task.EMBEDDING, Task.RERANK}:  # whose files do not state these
        expected["attention.head_count_kv"] = shape.kv_heads
        expected["expert_count"] = shape.experts or Unknown.UNKNOWN
    return [
        (f"{name}.{key}", value)
        for key, value in expected.items()
        if not isinstance(value, Unknown)
    ]


def _weights(header: Header, card: ModelCard) -> list[str]:
    total = sum(tensor.elements for tensor in header.tensors)
    problems = []
    if abs(total - card.parameters) > PARAMETER_TOLERANCE * card.parameters:
        problems.append(f"parameters: card {card.parameters}, tensors of the file {total}")
    main = _MAIN_TYPES[card.quantisation]
    inner = [tensor for tensor in header.tensors if tensor.name not in _VOCABULARY_TENSORS]
    share = max(_share(header.tensors, main), _share(inner, main))
    if share < 0.5:
        problems.append(
            f"quantisation: card {card.quantisation}, but only {share:.0%} of the file's weights "
            "have that type"
        )
    return problems


def _share(tensors: Sequence[Tensor], kinds: tuple[int, ...]) -> float:
    total = sum(tensor.elements for tensor in tensors)
    return sum(t.elements for t in tensors if t.kind in kinds) / max(total, 1)
