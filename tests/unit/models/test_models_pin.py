"""Pinning: the header must agree with the card, and the card keeps what a person wrote."""

from __future__ import annotations

import hashlib
from datetime import date
from pathlib import Path

import gguf
import numpy as np
import pytest

from bastide.bundle.catalogue import Catalogue
from bastide.bundle.pinning import PinRequest, own_catalogue, pin
from bastide.errors import ConfigError
from bastide.progress import SilentProgress
from bastide.schema.model_card import HttpsSource, LocalSource

TODAY = date(2026, 11, 22)
CARD = """\
# What a person wrote about it stays.
name: tiny
also: [tiny-chat]
title: Tiny
version: "1"
task: chat
family: Tiny
architecture: llama
parameters: 4160
context_window: 512
embedding_length: 64
shape:
  layers: 2
  heads: 4
  kv_heads: 2
  head_dim: 16
languages: [en]  # only
licence: {spdx: MIT}
"""


def write_gguf(path: Path, *, layers: int = 2, kind: str = "Q8_0") -> Path:
    writer = gguf.GGUFWriter(str(path), "llama")
    writer.add_context_length(512)
    writer.add_embedding_length(64)
    writer.add_block_count(layers)
    writer.add_head_count(4)
    writer.add_head_count_kv(2)
    writer.add_file_type(getattr(gguf.LlamaFileType, f"MOSTLY_{kind}"))
    values = np.linspace(-1, 1, 4096, dtype=np.float32).reshape(64, 64)
    number = getattr(gguf.GGMLQuantizationType, kind)
    writer.add_tensor("blk.0.ffn_up.weight", gguf.quants.quantize(values, number), raw_dtype=number)
    writer.add_tensor("output_norm.weight", np.zeros(64, dtype=np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


@pytest.fixture
def shelf(tmp_path: Path) -> Catalogue:
    folder = tmp_path / "catalogue" / "models"
    folder.mkdir(parents=True)
    (folder / "tiny.yaml").write_text(CARD)
    return Catalogue(folder.parent)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return write_gguf(tmp_path / "tiny.Q8_0.gguf")


def refused(shelf: Catalogue, request: PinRequest) -> ConfigError:
    before = {p: p.read_bytes() for p in shelf.root.rglob("*.yaml")}
    with pytest.raises(ConfigError) as caught:
        pin(shelf, request, SilentProgress(), today=TODAY)
    assert {p: p.read_bytes() for p in shelf.root.rglob("*.yaml")} == before
    return caught.value


def test_records_size_digest_format_and_memory(shelf: Catalogue, model: Path) -> None:
    result = pin(shelf, PinRequest("tiny-chat", model), SilentProgress(), today=TODAY)
    card = shelf.model("tiny").value
    assert card == result.card
    assert card.file.sha256 == hashlib.sha256(model.read_bytes()).hexdigest()
    assert card.file.size == model.stat().st_size
    assert card.quantisation == "Q8_0"
    assert card.memory.weights == 4096 * 34 // 32 + 64 * 4
    assert card.memory.kv_cache_per_token == 2 * 2 * 2 * 16 * 2
    assert card.sources == (LocalSource(kind="local", path=str(model), sha256=card.file.sha256),)
    text = (shelf.root / "models" / "tiny.yaml").read_text()
    assert text.startswith("# What a person wrote about it stays.\n")
    assert "languages: [en]  # only" in text


def test_pinning_twice_needs_a_word(shelf: Catalogue, model: Path) -> None:
    pin(shelf, PinRequest("tiny", model), SilentProgress(), today=TODAY)
    assert "pins tiny.Q8_0.gguf already" in str(refused(shelf, PinRequest("tiny", model)))
    request = PinRequest("tiny", model, replace=True, url="https://mirror.example/tiny.gguf")
    pin(shelf, request, SilentProgress(), today=TODAY)
    source = shelf.model("tiny").value.sources[0]
    assert isinstance(source, HttpsSource)
    assert (shelf.root / "models" / "tiny.yaml").read_text().count("\nfile:") == 1


def test_a_second_format_becomes_a_card_of_its_own(shelf: Catalogue, tmp_path: Path) -> None:
    other = write_gguf(tmp_path / "tiny.F16.gguf", kind="F16")
    pin(shelf, PinRequest("tiny", other, new_name="tiny-f16"), SilentProgress(), today=TODAY)
    assert shelf.model("tiny-f16").value.quantisation == "F16"
    assert not shelf.card("tiny").value.is_pinned
    assert shelf.card("tiny-chat").value.name == "tiny", "the other names stay with the first"
    error = refused(shelf, PinRequest("tiny", other, new_name="tiny-f16"))
    assert "there is a card tiny-f16 already" in str(error)


def test_another_model_is_refused_with_every_difference(shelf: Catalogue, tmp_path: Path) -> None:
    other = write_gguf(tmp_path / "other.gguf", layers=3)
    error = refused(shelf, PinRequest("tiny", other))
    assert error.code == "BAS-2032"
    assert any("llama.block_count: card 2, file 3" in p.what for p in error.problems)


@pytest.mark.parametrize(
    ("name", "content", "code"),
    [
        ("page.gguf", b"<!doctype html>", "BAS-2032"),
        ("empty.gguf", b"", "BAS-2032"),
        ("model.bin", b"GGUF", "BAS-2033"),
    ],
)
def test_files_that_are_no_model(
    shelf: Catalogue, tmp_path: Path, name: str, content: bytes, code: str
) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    assert refused(shelf, PinRequest("tiny", path)).code == code


def test_a_file_that_is_not_there(shelf: Catalogue, tmp_path: Path) -> None:
    error = refused(shelf, PinRequest("tiny", tmp_path / "none.gguf"))
    assert "No such file" in str(error)


def test_what_the_card_does_not_know_comes_from_the_file_with_its_evidence(
    shelf: Catalogue, model: Path
) -> None:
    path = shelf.root / "models" / "tiny.yaml"
    path.write_text(CARD.replace("4160", "unknown").replace("512", "unknown"))
    result = pin(shelf, PinRequest("tiny", model), SilentProgress(), today=TODAY)
    assert result.taken_from_file == ("context_window", "parameters")
    card = shelf.model("tiny").value
    assert (card.context_window, card.parameters) == (512, 4160)
    told = card.source_of("context_window")
    assert told is not None
    assert "header of the pinned file" in told.what


def test_an_own_catalogue_begins_as_a_copy(shelf: Catalogue, tmp_path: Path) -> None:
    made = own_catalogue(tmp_path / "mine", shelf.root)
    assert made.card("tiny").value == shelf.card("tiny").value
    again = own_catalogue(tmp_path / "mine", tmp_path / "elsewhere")
    assert again.root == made.root
