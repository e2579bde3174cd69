"""A tiny BERT model with the real converter: names, types, determinism, refusals."""

from __future__ import annotations

import json
from pathlib import Path

import gguf
import numpy as np
import pytest

from bastide.errors import BundleError
from bastide.schema.gguf_header import read_header
from bastide.sources.convert.bert_gguf import Identity, convert

WIDTH, INNER, WORDS = 64, 128, 8
IDENTITY = Identity("Tiny", "mit", "0M")
CONFIG = {
    "model_type": "bert",
    "num_hidden_layers": 1,
    "max_position_embeddings": 16,
    "hidden_size": WIDTH,
    "intermediate_size": INNER,
    "num_attention_heads": 2,
    "layer_norm_eps": 1e-12,
    "vocab_size": WORDS,
    "type_vocab_size": 2,
}


def shapes() -> dict[str, tuple[int, ...]]:
    layer = "encoder.layer.0"
    named: dict[str, tuple[int, ...]] = {
        "embeddings.word_embeddings.weight": (WORDS, WIDTH),
        "embeddings.position_embeddings.weight": (16, WIDTH),
        "embeddings.token_type_embeddings.weight": (2, WIDTH),
        "embeddings.LayerNorm.weight": (WIDTH,),
        "embeddings.LayerNorm.bias": (WIDTH,),
        f"{layer}.intermediate.dense.weight": (INNER, WIDTH),
        f"{layer}.intermediate.dense.bias": (INNER,),
        f"{layer}.output.dense.weight": (WIDTH, INNER),
        f"{layer}.output.dense.bias": (WIDTH,),
        f"{layer}.output.LayerNorm.weight": (WIDTH,),
        f"{layer}.output.LayerNorm.bias": (WIDTH,),
        f"{layer}.attention.output.LayerNorm.weight": (WIDTH,),
        f"{layer}.attention.output.LayerNorm.bias": (WIDTH,),
        "pooler.dense.weight": (WIDTH, WIDTH),
    }
    for part in ("self.query", "self.key", "self.value", "output.dense"):
        named[f"{layer}.attention.{part}.weight"] = (WIDTH, WIDTH)
        named[f"{layer}.attention.{part}.bias"] = (WIDTH,)
    return named


def write_safetensors(path: Path, extra: dict[str, tuple[int, ...]]) -> None:
    random = np.random.default_rng(7)
    header, data = {}, b""
    for name, shape in {**shapes(), **extra}.items():
        raw = random.standard_normal(shape).astype(np.float32).tobytes()
        offsets = [len(data), len(data) + len(raw)]
        header[name] = {"dtype": "F32", "shape": list(shape), "data_offsets": offsets}
        data += raw
    header["embeddings.position_ids"] = {"dtype": "I64", "shape": [0], "data_offsets": [0, 0]}
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + data)


def make_model(folder: Path, *, config: dict[str, object] | None = None,
               extra: dict[str, tuple[int, ...]] | None = None) -> Path:  # fmt: skip
    folder.mkdir()
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "hello", "##s"]
    special = [{"id": i, "content": w, "special": True} for i, w in enumerate(words[:5])]
    tokenizer = {
        "model": {"type": "WordPiece", "vocab": {w: i for i, w in enumerate(words)}},
        "added_tokens": special,
        "normalizer": {"lowercase": True},
    }
    pooling = {"pooling_mode_mean_tokens": True, "pooling_mode_cls_token": False}
    modules = [{"type": "sentence_transformers.models.Pooling", "path": "1_Pooling"}]
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling/config.json").write_text(json.dumps(pooling))
    (folder / "modules.json").write_text(json.dumps(modules))
    (folder / "config.json").write_text(json.dumps({**CONFIG, **(config or {})}))
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    write_safetensors(folder / "model.safetensors", extra or {})
    return folder


def test_equal_input_gives_equal_bytes(tmp_path: Path) -> None:
    model = make_model(tmp_path / "model")
    convert(model, tmp_path / "1.gguf", IDENTITY)
    convert(model, tmp_path / "2.gguf", IDENTITY)
    assert (tmp_path / "1.gguf").read_bytes() == (tmp_path / "2.gguf").read_bytes()


def test_names_types_and_vocabulary(tmp_path: Path) -> None:
    output = tmp_path / "tiny.gguf"
    convert(make_model(tmp_path / "model"), output, IDENTITY)
    header = read_header(output)
    kinds = {tensor.name: tensor.kind for tensor in header.tensors}
    q8_0, f32 = gguf.GGMLQuantizationType.Q8_0, gguf.GGMLQuantizationType.F32
    assert kinds["token_embd.weight"] == q8_0
    assert kinds["blk.0.attn_q.weight"] == q8_0
    assert kinds["position_embd.weight"] == f32
    assert kinds["token_types.weight"] == f32
    assert kinds["blk.0.attn_output_norm.weight"] == f32
    assert not any("pool" in name for name in kinds)
    assert header.values["bert.pooling_type"] == gguf.PoolingType.MEAN
    tokens = gguf.GGUFReader(output).fields["tokenizer.ggml.tokens"].contents()
    assert tokens == [
        "[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "\u2581hello", "s", "[PAD7]",
    ]  # fmt: skip


def test_matrices_in_16_bits(tmp_path: Path) -> None:
    model = make_model(tmp_path / "model")
    one, two = tmp_path / "one.gguf", tmp_path / "two.gguf"
    for output in (one, two):
        convert(model, output, Identity("Tiny", "mit", "0M", "F16"))
    assert one.read_bytes() == two.read_bytes()
    header = read_header(one)
    kinds = {tensor.name: tensor.kind for tensor in header.tensors}
    assert kinds["blk.0.attn_q.weight"] == gguf.GGMLQuantizationType.F16
    assert kinds["position_embd.weight"] == gguf.GGMLQuantizationType.F32
    assert header.values["general.file_type"] == gguf.LlamaFileType.MOSTLY_F16
    with pytest.raises(BundleError, match="Q8_0 or F16"):
        convert(model, tmp_path / "x.gguf", Identity("Tiny", "mit", "0M", "Q4_0"))


@pytest.mark.parametrize(
    ("config", "extra", "words"),
    [
        ({"model_type": "gpt2"}, {}, "of type 'gpt2'"),
        ({}, {"lm_head.weight": (WIDTH, WIDTH)}, "lm_head.weight has no place"),
    ],
)
def test_what_it_does_not_know_is_refused(
    config: dict[str, object], extra: dict[str, tuple[int, ...]], words: str, tmp_path: Path
) -> None:
    model = make_model(tmp_path / "model", config=config, extra=extra)
    with pytest.raises(BundleError, match=words):
        convert(model, tmp_path / "x.gguf", IDENTITY)


def test_a_damaged_file_is_refused(tmp_path: Path) -> None:
    model = make_model(tmp_path / "model")
    (model / "config.json").write_text("{")
    with pytest.raises(BundleError, match=r"config\.json cannot be read"):
        convert(model, tmp_path / "x.gguf", IDENTITY)
