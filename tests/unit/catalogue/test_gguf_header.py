"""GGUF files that lie, are damaged, or are not GGUF at all."""

from __future__ import annotations

import struct
from pathlib import Path

import gguf
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bastide.schema.gguf_check import check_gguf
from bastide.schema.gguf_header import HeaderError, read_header
from bastide.schema.model_card import ModelCard

WEIGHTS = 64 * 64


def write_model(path: Path, *, context: int = 512, architecture: str = "bert") -> Path:
    writer = gguf.GGUFWriter(str(path), architecture)
    writer.add_context_length(context)
    writer.add_embedding_length(64)
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_Q8_0)
    writer.add_pooling_type(gguf.PoolingType.MEAN)
    writer.add_token_list(["a", "b", "c"])
    writer.add_array("numbers", [1, 2, 3])
    values = np.linspace(-1, 1, WEIGHTS, dtype=np.float32).reshape(64, 64)
    kind = gguf.GGMLQuantizationType.Q8_0
    writer.add_tensor("token_embd.weight", gguf.quants.quantize(values, kind), raw_dtype=kind)
    writer.add_tensor("output_norm.bias", np.zeros(64, dtype=np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def make_card(path: Path, **changes: object) -> ModelCard:
    card: dict[str, object] = {
        "name": "tiny",
        "title": "Tiny",
        "version": "1",
        "task": "embedding",
        "family": "Tiny",
        "architecture": "bert",
        "parameters": WEIGHTS + 64,
        "quantisation": "Q8_0",
        "context_window": 512,
        "embedding_length": 64,
        "languages": ["en"],
        "licence": {"spdx": "MIT"},
        "memory": {"weights": 5000, "kv_cache_per_token": 0},
        "file": {"name": "tiny.gguf", "size": path.stat().st_size, "sha256": "a" * 64},
        "sources": [{"kind": "local", "path": "/tiny.gguf", "sha256": "a" * 64}],
    }
    return ModelCard.model_validate({**card, **changes})


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("gguf") / "tiny.gguf")


def test_reads_what_the_library_wrote(model: Path) -> None:
    header = read_header(model)
    assert header.values["general.architecture"] == "bert"
    assert header.values["bert.context_length"] == 512
    assert header.values["tokenizer.ggml.tokens.length"] == 3
    assert [(t.name, t.elements) for t in header.tensors] == [
        ("token_embd.weight", WEIGHTS),
        ("output_norm.bias", 64),
    ]
    assert max(t.end for t in header.tensors) <= model.stat().st_size


def test_an_honest_file_has_no_problem(model: Path) -> None:
    assert check_gguf(model, make_card(model)) == []


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"architecture": "llama"}, "general.architecture: card 'llama', file 'bert'"),
        ({"quantisation": "Q4_0"}, "general.file_type: card 2, file 7"),
        ({"quantisation": "Q4_0"}, "only 0% of the file's weights"),
        ({"context_window": 8192}, "bert.context_length: card 8192, file 512"),
        ({"embedding_length": 384}, "bert.embedding_length: card 384, file 64"),
        ({"parameters": 9000}, "parameters: card 9000, tensors of the file 4160"),
    ],
)
def test_a_header_that_contradicts_its_card(
    model: Path, changes: dict[str, object], words: str
) -> None:
    problems = check_gguf(model, make_card(model, **changes))
    assert any(words in problem.what for problem in problems), problems
    assert all(problem.where == "tiny.gguf (tiny)" for problem in problems)


def write_parts(path: Path, parts: dict[str, tuple[int, gguf.GGMLQuantizationType]]) -> Path:
    """Write a Q4_K_M file of tensors with so many rows of 256 and such types."""
    writer = gguf.GGUFWriter(str(path), "gemma3")
    writer.add_context_length(512)
    writer.add_embedding_length(256)
    writer.add_block_count(2)
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_Q4_K_M)
    for name, (rows, kind) in parts.items():
        size = gguf.quants.quant_shape_to_byte_shape((rows, 256), kind)
        writer.add_tensor(name, np.zeros(size, dtype=np.uint8), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def problems_of(path: Path, rows: int, **changes: object) -> list[str]:
    card = make_card(
        path,
        task="chat",
        architecture="gemma3",
        quantisation="Q4_K_M",
        parameters=rows * 256,
        embedding_length=256,
        **changes,
    )
    return [problem.what for problem in check_gguf(path, card)]


Q4_K, Q5_0 = gguf.GGMLQuantizationType.Q4_K, gguf.GGMLQuantizationType.Q5_0
Q8_0 = gguf.GGMLQuantizationType.Q8_0


def test_a_finer_vocabulary_may_be_most_of_a_small_model(tmp_path: Path) -> None:
    path = write_parts(
        tmp_path / "tiny.gguf",
        {"token_embd.weight": (90, Q8_0), "blk.0.ffn_up.weight": (10, Q4_K)},
    )
    assert problems_of(path, 100) == []


def test_rows_that_a_block_does_not_divide_have_the_older_type(tmp_path: Path) -> None:
    path = write_parts(tmp_path / "tiny.gguf", {"blk.0.ffn_up.weight": (10, Q5_0)})
    assert problems_of(path, 10) == []


def test_a_vocabulary_does_not_excuse_the_other_weights(tmp_path: Path) -> None:
    path = write_parts(
        tmp_path / "tiny.gguf",
        {"token_embd.weight": (30, Q4_K), "blk.0.ffn_up.weight": (70, Q8_0)},
    )
    (problem,) = problems_of(path, 100)
    assert "only 30% of the file's weights" in problem


def test_another_number_of_layers_than_the_card_says(tmp_path: Path) -> None:
    path = write_parts(tmp_path / "tiny.gguf", {"blk.0.ffn_up.weight": (10, Q4_K)})
    shape = {"layers": 3, "heads": "unknown", "kv_heads": "unknown", "head_dim": "unknown"}
    (problem,) = problems_of(path, 10, shape=shape)
    assert problem == "gemma3.block_count: card 3, file 2"


def test_a_truncated_file(model: Path, tmp_path: Path) -> None:
    short = tmp_path / "tiny.gguf"
    short.write_bytes(model.read_bytes()[:-3000])
    with pytest.raises(HeaderError, match="reach beyond the end"):
        read_header(short)
    (problem,) = check_gguf(short, make_card(model))
    assert "not a usable GGUF file" in problem.what


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "ends inside its header"),
        (b"<!DOCTYPE html><html>", "does not begin with 'GGUF'"),
        (b"GGUF" + struct.pack("<I", 1), "version 1"),
        (b"GGUF" + struct.pack("<IQQ", 3, 0, 1 << 60), "not credible"),
        (b"GGUF" + struct.pack("<IQQ", 3, 1 << 60, 0), "not credible"),
        (b"GGUF" + struct.pack("<IQQQ", 3, 0, 1, 1 << 24), "ends inside its header"),
        (b"GGUF" + struct.pack("<IQQQ1sI", 3, 0, 1, 1, b"k", 99), "unknown type 99"),
        (b"GGUF" + struct.pack("<IQQQ1sIIQ", 3, 0, 1, 1, b"k", 9, 9, 1), "values of unknown type"),
        (b"GGUF" + struct.pack("<IQQQ1sII", 3, 1, 0, 1, b"t", 9, 0), "9 dimensions"),
        (b"GGUF" + struct.pack("<IQQQ1sIQIQ", 3, 1, 0, 1, b"t", 1, 7, 8, 0), "no whole blocks"),
        (b"GGUF" + struct.pack("<IQQQ1sIQIQ", 3, 1, 0, 1, b"t", 1, 32, 77, 0), "unknown type 77"),
    ],
)
def test_what_is_not_a_model(content: bytes, words: str, tmp_path: Path) -> None:
    path = tmp_path / "x.gguf"
    path.write_bytes(content)
    with pytest.raises(HeaderError, match=words):
        read_header(path)


@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(position=st.integers(0, 700), value=st.integers(0, 255))
def test_any_flipped_byte_is_read_or_refused(
    model: Path, tmp_path: Path, position: int, value: int
) -> None:
    content = bytearray(model.read_bytes())
    content[position % len(content)] = value
    path = tmp_path / "flipped.gguf"
    path.write_bytes(content)
    try:
        read_header(path)
    except HeaderError:
        return
