"""Compares what a GGUF file says of itself with its model card."""

from __future__ import annotations

from pathlib import Path

from bastide.errors import Problem
from bastide.schema.gguf_header import Header, HeaderError, Scalar, read_header
from bastide.schema.model_card import ModelCard, Quantisation, Task

# general.file_type: llama.cpp's numbers
_FILE_TYPES = {
    Quantisation.F32: 0,
    Quantisation.F16: 1,
    Quantisation.Q4_0: 2,
    Quantisation.Q4_1: 3,
    Quantisation.Q8_0: 7,
    Quantisation.Q4_K_M: 15,
    Quantisation.Q5_K_M: 17,
    Quantisation.Q6_K: 18,
    Quantisation.BF16: 32,
}
# ggml's numbers of the type that most of the weights must have
_MAIN_TYPES = {
    Quantisation.F32: 0,
    Quantisation.F16: 1,
    Quantisation.Q4_0: 2,
    Quantisation.Q4_1: 3,
    Quantisation.Q8_0: 8,
    Quantisation.Q4_K_M: 12,
    Quantisation.Q5_K_M: 13,
    Quantisation.Q6_K: 14,
    Quantisation.BF16: 30,
}
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
        ("general.file_type", _FILE_TYPES[card.quantisation]),
        (f"{architecture}.context_length", card.context_window),
        (f"{architecture}.embedding_length", card.embedding_length),
    ]
    found = header.values
    problems = [
        f"{key}: card {value!r}, file {found.get(key)!r}"
        for key, value in expected
        if found.get(key) != value
    ]
    if card.task is Task.EMBEDDING and f"{architecture}.pooling_type" not in found:
        problems.append("an embedding model should state its pooling type; the file has none")
    return problems


def _weights(header: Header, card: ModelCard) -> list[str]:
    total = sum(tensor.elements for tensor in header.tensors)
    problems = []
    if abs(total - card.parameters) > PARAMETER_TOLERANCE * card.parameters:
        problems.append(f"parameters: card {card.parameters}, tensors of the file {total}")
    main = _MAIN_TYPES[card.quantisation]
    share = sum(t.elements for t in header.tensors if t.kind == main) / max(total, 1)
    if share < 0.5:
        problems.append(
            f"quantisation: card {card.quantisation}, but only {share:.0%} of the file's weights "
            "have that type"
        )
    return problems
