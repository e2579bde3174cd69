from __future__ import annotations

import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bastide.schema.gguf_header import HeaderError, read_header

Info = tuple[str, int, int]  # name, elements, offset into the data


def text(value: str) -> bytes:
    return struct.pack("<Q", len(value)) + value.encode()


def gguf(tensors: list[Info], data: int) -> bytes:
    """Return a GGUF file of F32 tensors with ``data`` bytes behind its header."""
    words = struct.pack("<IQ", 8, 3) + text("one") + text("two") + text("three")
    pairs = [text("general.architecture") + struct.pack("<I", 8) + text("llama")]
    pairs.append(text("tokenizer.ggml.tokens") + struct.pack("<I", 9) + words)
    header = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(pairs)) + b"".join(pairs)
    for name, elements, offset in tensors:
        header += text(name) + struct.pack("<IQIQ", 1, elements, 0, offset)
    return header + bytes(-len(header) % 32) + bytes(data)


def header_of(folder: Path, content: bytes) -> None:
    path = folder / "model.gguf"
    path.write_bytes(content)
    header = read_header(path)
    assert header.values["tokenizer.ggml.tokens.length"] == 3


def test_tensors_apart(tmp_path: Path) -> None:
    header_of(tmp_path, gguf([("a", 8, 0), ("b", 8, 32), ("c", 4, 64)], 80))


@pytest.mark.parametrize(
    ("tensors", "data", "words"),
    [
        ([("a", 16, 0), ("b", 8, 32)], 64, "'b' at byte"),
        ([("b", 8, 32), ("a", 16, 0)], 64, "overlaps 'a'"),
        ([("a", 8, 0), ("b", 8, 0)], 64, "overlaps"),
        ([("a", 8, 0), ("a", 8, 32)], 64, "'a' is listed twice"),
        ([("a", 8, 0), ("b", 8, 33)], 96, "'b' is not aligned to 32 bytes"),
        ([("a", 8, 0), ("b", 9, 32)], 64, "beyond the end"),
        ([("a", 1 << 60, 0)], 64, "beyond the end"),
        ([("a", 8, 1 << 62)], 64, "beyond the end"),
    ],
)
def test_tensor_tables_that_lie(tensors: list[Info], data: int, words: str, tmp_path: Path) -> None:
    with pytest.raises(HeaderError, match=words):
        header_of(tmp_path, gguf(tensors, data))


def test_strings_longer_than_the_file(tmp_path: Path) -> None:
    content = gguf([("a", 8, 0)], 32)
    place = content.index(text("two"))
    changed = content[:place] + struct.pack("<Q", 1 << 40) + content[place + 8 :]
    with pytest.raises(HeaderError, match="ends inside its header"):
        header_of(tmp_path, changed)


@given(st.data())
def test_mutated_models_are_refused_or_read(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    path = tmp_path_factory.mktemp("gguf") / "model.gguf"
    content = bytearray(gguf([("a", 8, 0), ("b", 8, 32)], 64))
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(content[: data.draw(st.just(len(content)) | st.integers(0, len(content)))])
    try:
        header = read_header(path)
    except HeaderError as error:
        assert str(error)  # noqa: PT017 - some mutations are of what no header says
    else:
        assert all(tensor.end <= path.stat().st_size for tensor in header.tensors)
