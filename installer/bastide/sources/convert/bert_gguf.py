"""Sentence-embedding models of the BERT family: safetensors → GGUF Q8_0 or F16, without torch.

The same names, types, quantisation and metadata as llama.cpp's own ``convert_hf_to_gguf.py``
(docs/bundle.md says how that was checked); equal input gives equal bytes.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import numpy.typing as npt

from bastide.errors import BundleError

_ELSEWHERE = "let the model card name a source that has the GGUF file itself"
RECIPE = "bert-gguf/1"
UNUSED_TENSORS = ("embeddings.position_ids", "pooler.", "cls.")  # only embeddings are wanted
KEPT_AS_F32 = (gguf.MODEL_TENSOR.POS_EMBD, gguf.MODEL_TENSOR.TOKEN_TYPES)
PRE_TOKENISER = "jina-v2-en"  # llama.cpp's name for BERT's own, which is the same
FORMATS = {  # how a matrix is stored, and what the file is then said to be
    "Q8_0": (gguf.GGMLQuantizationType.Q8_0, gguf.LlamaFileType.MOSTLY_Q8_0),
    "F16": (gguf.GGMLQuantizationType.F16, gguf.LlamaFileType.MOSTLY_F16),
}
POOLINGS = {
    "pooling_mode_mean_tokens": gguf.PoolingType.MEAN,
    "pooling_mode_cls_token": gguf.PoolingType.CLS,
    "pooling_mode_lasttoken": gguf.PoolingType.LAST,
}


@dataclass(frozen=True)
class Identity:
    """What the file says about itself.

    Args:
        title: The model's name.
        licence: SPDX expression of the weights' licence, in lower case, as hubs write it.
        size_label: Parameters in short, such as ``22M``.
        weights: Format of its matrices, one of ``FORMATS``.
    """

    title: str
    licence: str
    size_label: str
    weights: str = "Q8_0"


def convert(folder: Path, output: Path, identity: Identity) -> None:
    """Write the GGUF file of the model in ``folder``.

    Args:
        folder: ``config.json``, ``tokenizer.json``, ``model.safetensors`` and their like.
        output: The file to write.
        identity: Name and licence to state in it.

    Raises:
        BundleError: The folder does not hold a BERT embedding model that this recipe knows.
    """
    config = _json(folder / "config.json")
    if config.get("model_type") != "bert":
        raise BundleError(
            f"cannot convert a model of type {config.get('model_type')!r}: expected 'bert'",
            code="BAS-3031",
            hint=_ELSEWHERE,
        )
    if identity.weights not in FORMATS:
        raise BundleError(
            f"cannot make weights of format {identity.weights}: expected {' or '.join(FORMATS)}",
            code="BAS-3031",
            hint=_ELSEWHERE,
        )
    kind, file_type = FORMATS[identity.weights]
    writer = gguf.GGUFWriter(str(output), "bert")
    _add_identity(writer, identity)
    _add_shape(writer, config, folder, file_type)
    _add_vocabulary(writer, config, folder)
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.BERT, config["num_hidden_layers"])
    for name, tensor in _tensors(folder / "model.safetensors"):
        _add_tensor(writer, names, (name, tensor), kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _json(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise BundleError(
            f"the model's {path.name} cannot be read: {error}", code="BAS-3031", hint=_ELSEWHERE
        ) from error
    if not isinstance(value, dict):
        raise BundleError(
            f"the model's {path.name} is not a JSON object", code="BAS-3031", hint=_ELSEWHERE
        )
    return value


def _add_identity(writer: gguf.GGUFWriter, identity: Identity) -> None:
    writer.add_type(gguf.GGUFType.MODEL)
    writer.add_name(identity.title)
    writer.add_size_label(identity.size_label)
    writer.add_license(identity.licence)


def _add_shape(
    writer: gguf.GGUFWriter, config: dict[str, Any], folder: Path, file_type: gguf.LlamaFileType
) -> None:
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(config["num_attention_heads"])
    writer.add_layer_norm_eps(config["layer_norm_eps"])
    writer.add_file_type(file_type)
    writer.add_causal_attention(False)  # noqa: FBT003 - the library's signature
    writer.add_pooling_type(_pooling(folder))
    writer.add_quantization_version(gguf.GGML_QUANT_VERSION)


def _pooling(folder: Path) -> gguf.PoolingType:
    modules = json.loads((folder / "modules.json").read_text())
    module = next((m for m in modules if m["type"].endswith("Pooling")), None)
    if module is None:
        return gguf.PoolingType.NONE
    modes = _json(folder / module["path"] / "config.json")
    wanted = [pooling for key, pooling in POOLINGS.items() if modes.get(key)]
    if len(wanted) != 1:
        raise BundleError(
            f"the model's way of pooling is not one of {', '.join(POOLINGS)}",
            code="BAS-3031",
            hint=_ELSEWHERE,
        )
    return wanted[0]


def _add_vocabulary(writer: gguf.GGUFWriter, config: dict[str, Any], folder: Path) -> None:
    tokenizer = _json(folder / "tokenizer.json")
    if tokenizer["model"].get("type", "WordPiece") != "WordPiece":
        raise BundleError(
            "the model's tokenizer is not WordPiece", code="BAS-3031", hint=_ELSEWHERE
        )
    special = {t["content"] for t in tokenizer["added_tokens"] if t["special"]}
    by_id = {number: token for token, number in tokenizer["model"]["vocab"].items()}
    tokens, types = [], []
    for number in range(config["vocab_size"]):
        token = by_id.get(number)
        if token is None:
            tokens.append(f"[PAD{number}]")
            types.append(gguf.TokenType.UNUSED)
        elif token in special:
            tokens.append(token)
            types.append(gguf.TokenType.CONTROL)
        else:  # llama.cpp marks the start of a word where WordPiece marks its continuation
            tokens.append(token[2:] if token.startswith("##") else "\u2581" + token)
            types.append(gguf.TokenType.NORMAL)
    writer.add_token_type_count(config["type_vocab_size"])
    writer.add_tokenizer_model("bert")
    writer.add_tokenizer_pre(PRE_TOKENISER)
    writer.add_token_list(tokens)
    writer.add_token_types(types)
    lowercase = bool((tokenizer.get("normalizer") or {}).get("lowercase"))
    writer.add_bool("tokenizer.ggml.normalizer.lowercase", lowercase)
    logging.getLogger("gguf.vocab").setLevel(logging.ERROR)  # it warns of what BERT always has
    gguf.SpecialVocab(folder, n_vocab=len(tokens)).add_to_gguf(writer, quiet=True)


def _tensors(path: Path) -> Iterator[tuple[str, npt.NDArray[np.float32]]]:
    """Yield the tensors that a conversion wants, as 32-bit floats, in the order of their bytes."""
    # Connected side only: the control node reads this module, but does not have this library.
    from safetensors import safe_open  # noqa: PLC0415

    with safe_open(path, framework="numpy") as file:
        for name in file.offset_keys():
            if name.startswith(UNUSED_TENSORS):
                continue
            tensor = file.get_tensor(name)
            if tensor.dtype not in (np.float32, np.float16):
                raise BundleError(
                    f"tensor {name} is of type {tensor.dtype}", code="BAS-3031", hint=_ELSEWHERE
                )
            yield name, tensor.astype(np.float32)


def _add_tensor(
    writer: gguf.GGUFWriter,
    names: gguf.TensorNameMap,
    named: tuple[str, npt.NDArray[np.float32]],
    weights: gguf.GGMLQuantizationType,
) -> None:
    name, tensor = named
    found = names.get_type_and_name(name, try_suffixes=(".weight", ".bias"))
    if found is None:
        raise BundleError(
            f"tensor {name} has no place in a BERT model", code="BAS-3031", hint=_ELSEWHERE
        )
    kind, new_name = found
    if tensor.ndim == 1 or kind in KEPT_AS_F32 or new_name.endswith("_norm.weight"):
        writer.add_tensor(new_name, tensor)
        return
    writer.add_tensor(new_name, gguf.quants.quantize(tensor, weights), raw_dtype=weights)
