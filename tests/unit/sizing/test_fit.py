"""What a model takes and how fast it is: against figures that were published or measured."""

from __future__ import annotations

import json
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import plan_factories as make
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from bastide.cli.main import main
from bastide.errors import ConfigError
from bastide.schema.gguf_header import Header, Tensor
from bastide.sizing.fit import Verdict, amount, cards_needed, place_cpu, place_gpu
from bastide.sizing.memory import (
    CacheType,
    Setting,
    cache_part,
    cpu_parts,
    gpu_parts,
    needed,
    resident,
    window_cells,
)
from bastide.sizing.speed import Machine, predict
from bastide.sizing.subject import Subject, from_header

GIB = 1024**3


def tensor(name: str, kind: int, elements: int) -> Tensor:
    rest = {f.name: 0 for f in fields(Tensor)}
    return Tensor(**{**rest, "name": name, "kind": kind, "elements": elements})  # type: ignore[arg-type]


def header(**changes: Any) -> Header:
    values: dict[str, Any] = {
        "general.architecture": "llama",
        "llama.block_count": 30,
        "llama.attention.head_count": 9,
        "llama.attention.head_count_kv": 3,
        "llama.embedding_length": 576,
        "llama.context_length": 8192,
        "llama.feed_forward_length": 1536,
        "tokenizer.ggml.tokens.length": 49152,
    }
    values.update(changes)
    tensors = (
        tensor("token_embd.weight", 8, 28_311_552),
        tensor("blk.0.ffn_up.weight", 3, 106_168_320),
        tensor("blk.0.attn_norm.weight", 0, 35_136),
    )
    return Header({k: v for k, v in values.items() if v is not None}, tensors)


def small(**changes: Any) -> Subject:
    return from_header("small", header(**changes), 98_362_432)


# --- memory ------------------------------------------------------------------------------------
def test_cache_is_what_the_engine_says_it_allocates() -> None:
    """llama.cpp on SmolLM2 with n_ctx 8192: "KV buffer size = 180.00 MiB"."""
    setting = Setting(2048, 4, unified=True)
    assert cache_part(small(), setting).size == 180 * 1024**2
    halved = cache_part(small(), replace(setting, cache_type=CacheType.Q8_0))
    assert halved.size == 180 * 1024**2 * 8.5 / 16


def gemma() -> Subject:
    values = {
        "general.architecture": "gemma3",
        "gemma3.block_count": 18,
        "gemma3.attention.head_count": 4,
        "gemma3.attention.head_count_kv": 1,
        "gemma3.attention.key_length": 256,
        "gemma3.attention.sliding_window": 512,
        "gemma3.embedding_length": 640,
        "gemma3.context_length": 32768,
    }
    return small(**values)


def test_cache_of_a_sliding_window_whole_and_short() -> None:
    """llama.cpp on Gemma 3 270M, n_ctx 8192: 24 MiB for 3 whole layers, 120 for the other 15."""
    whole = Setting(8192)
    assert cache_part(gemma(), whole).size == (24 + 120) * 1024**2
    short = replace(whole, full_window=False)
    assert window_cells(gemma().architecture, short) == 1024
    assert cache_part(gemma(), short).size == 24 * 1024**2 + 15 * 2 * 256 * 1024 * 2


def test_parts_of_each_request_are_rounded_up_alone() -> None:
    assert Setting(100, 4).tokens == 1024
    assert Setting(100, 4, unified=True).tokens == 512


def test_a_file_that_is_laid_out_anew_is_resident_twice_but_needed_once() -> None:
    tensors = (tensor("blk.0.ffn_up.weight", 12, 256_000_000),)
    subject = from_header("k", Header(header().values, tensors), 150_000_000)
    parts = cpu_parts(subject, Setting(512))
    assert resident(parts) - needed(parts) == 256_000_000 * 4.5 / 8


@given(context=st.integers(1, 20_000), parallel=st.integers(1, 32), unified=st.booleans())
def test_more_context_or_requests_never_need_less(
    context: int, parallel: int, unified: bool
) -> None:
    for subject in (small(), gemma()):
        here = Setting(context, parallel, unified=unified)
        for more in (replace(here, context=context + 1), replace(here, parallel=parallel + 1)):
            assert needed(cpu_parts(subject, here)) <= needed(cpu_parts(subject, more))
            assert needed(gpu_parts(subject, here)) <= needed(gpu_parts(subject, more))


@given(ram=st.integers(600_000_000, 3_000_000_000), parallel=st.integers(1, 8))
def test_the_context_that_is_offered_fits_and_more_does_not(ram: int, parallel: int) -> None:
    setting = Setting(8192, parallel)
    place = place_cpu(small(), setting, ram)
    if place.most_context is None:
        assert place.verdict is Verdict.NO
        return
    assert place.available is not None
    offered = replace(setting, context=place.most_context)
    assert needed(cpu_parts(small(), offered)) <= place.available
    longer = replace(setting, context=place.most_context + 256)
    window = small().architecture.context_window
    assert place.most_context == window or needed(cpu_parts(small(), longer)) > place.available
    assert (place.verdict is Verdict.FITS) == (place.most_context >= 8192)


def test_gpus_take_the_whole_compute_buffer() -> None:
    parts = {part.name: part.size for part in gpu_parts(small(), Setting(512))}
    assert parts["compute buffer"] == 512 * 49152 * 4  # llama.cpp: 98.25 MiB, 96 of them logits


# --- speed -------------------------------------------------------------------------------------
def test_decode_is_bandwidth_over_bytes_read() -> None:
    subject = small()
    read = 28_311_552 * 8.5 / 8 + 106_168_320 * 5 / 8 + 35_136 * 4
    cache = 2 * 30 * 3 * 64 * 100 * 2
    speed = predict(subject, Machine(50e9), past=100, prompt=100, cache_type=CacheType.F16)
    assert speed.decode == pytest.approx(50e9 / (read + cache), rel=1e-6)
    assert speed.prefill is None


def test_prefill_is_flops_over_operations() -> None:
    speed = predict(small(), Machine(50e9, 100e9), past=100, prompt=100, cache_type=CacheType.F16)
    operations = 2 * (106_168_320 + 35_136) + 4 * 30 * 9 * 64 * 50
    assert speed.prefill == pytest.approx(100e9 / operations, rel=1e-6)


def test_only_the_experts_in_use_are_read() -> None:
    tensors = (tensor("blk.0.ffn_up_exps.weight", 1, 8_000_000),)
    values = {**header().values, "llama.expert_count": 8, "llama.expert_used_count": 2}
    subject = from_header("moe", Header(values, tensors), 16_000_000)
    assert sum(subject.types.values()) == 16_000_000 / 4


# --- the command -------------------------------------------------------------------------------
def run(*words: str) -> Any:
    return CliRunner().invoke(main, ["models", "fit", *words])


def fit(*words: str) -> Any:
    done = run(*words, "--json")
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)["result"]


def test_mixtral_in_half_precision_is_about_90_gb_on_two_cards() -> None:
    result = fit("mixtral-8x7b-instruct", "--quant", "F16", "--vram", "2x80GB")
    weights = result["places"][0]["parts"][0]["size"]
    assert 0.9 * 90e9 < weights < 1.1 * 90e9
    assert result["places"][0]["verdict"] == "fits"
    assert result["cards"]["80"] == 2
    assert fit("mixtral-8x7b-instruct", "--quant", "F16", "--vram", "80GB")["places"][0][
        "verdict"
    ] == ("does not fit")


def test_less_context_says_how_much() -> None:
    result = fit("smollm2-135m-instruct-q4_1", "--context", "8192", "--parallel", "8",
                 "--ram", "1.4GB")  # fmt: skip
    place = result["places"][0]
    assert place["verdict"] == "fits with less context"
    assert 256 <= place["most_context"] < 8192


def test_facts_of_a_host(tmp_path: Path) -> None:
    path = tmp_path / "facts.json"
    path.write_text(make.make_facts(memory_bytes=4_000_000_000).model_dump_json())
    place = fit("smollm2-135m-instruct-q4_1", "--host", str(path))["places"][0]
    assert place["available"] == 4_000_000_000 - 512 * 1024**2
    path.write_text("{}")
    assert "BAS-2043" in run("smollm2-135m-instruct-q4_1", "--host", str(path)).output


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("smollm2-135m-instruct-q4_1", "--context", "-5"), "BAS-2040"),
        (("smollm2-135m-instruct-q4_1", "--parallel", "0"), "BAS-2040"),
        (("smollm2-135m-instruct-q4_1", "--context", "999999999999"), "BAS-2040"),
        (("smollm2-135m-instruct-q4_1", "--ram", "-1GB"), "BAS-2040"),
        (("smollm2-135m-instruct-q4_1", "--ram", "plenty"), "BAS-2040"),
        (("smollm2-135m-instruct-q4_1", "--vram", "0x80GB"), "BAS-2040"),
        (("smollm2-135m-instruct-q4_1", "--bandwidth", "5"), "BAS-2040"),
        (("smollm2-135m-instruct-q4_1", "--quant", "Q3_XXL"), "BAS-2042"),
        (("smolm2-135m-instruct",), "BAS-2011"),
        (("/nowhere/model.gguf",), "BAS-2043"),
        (("smollm2-135m-instruct-q4_1", "--measure", "--python", "/bin/false"), "BAS-2055"),
    ],
)
def test_mistakes_get_clear_errors(words: tuple[str, ...], code: str) -> None:
    done = run(*words)
    assert done.exit_code == 2, done.output
    assert code in done.output
    assert "what to do:" in done.output


def test_a_file_that_is_no_model(tmp_path: Path) -> None:
    path = tmp_path / "page.gguf"
    path.write_text("<html>404</html>")
    done = run(str(path))
    assert done.exit_code == 2
    assert "BAS-2043" in done.output
    assert "does not begin with 'GGUF'" in done.output


def test_a_header_without_its_numbers_lists_them() -> None:
    with pytest.raises(ConfigError) as caught:
        small(**{"llama.block_count": None, "llama.context_length": None})
    assert caught.value.code == "BAS-2041"
    assert [p.where for p in caught.value.problems] == [
        "llama.block_count",
        "llama.context_length",
    ]


@pytest.mark.parametrize(
    ("text", "count", "bytes_"),
    [("64GB", 1, 64e9), ("2x80GB", 2, 80e9), ("80GiB", 1, 80 * GIB), ("1.5T", 1, 1.5e12)],
)
def test_amounts(text: str, count: int, bytes_: float) -> None:
    assert amount(text, "--ram") == (count, bytes_)


def test_cards_of_common_sizes() -> None:
    assert cards_needed(small(), Setting(2048)) == {24: 1, 48: 1, 80: 1}
    assert place_gpu(small(), Setting(512), 24 * 10**9).verdict is Verdict.FITS
