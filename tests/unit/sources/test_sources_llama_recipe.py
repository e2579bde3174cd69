from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from bastide.errors import BundleError
from bastide.sources import llama_wheel
from bastide.sources.llama_wheel import SKIPPED, VARIANTS, Toolchain, content_key
from bastide.sources.wheelfile import WheelName, write_wheel

CMAKE = """
if (GGML_CPU_ALL_VARIANTS)
    if (GGML_SYSTEM_ARCH STREQUAL "x86")
        ggml_add_cpu_backend_variant(x64)
        ggml_add_cpu_backend_variant(sse42              SSE42)
        ggml_add_cpu_backend_variant(sandybridge        SSE42 AVX)
        if (NOT MSVC)
            ggml_add_cpu_backend_variant(ivybridge      SSE42 AVX F16C)
            ggml_add_cpu_backend_variant(piledriver     SSE42 AVX F16C FMA)
        endif()
        ggml_add_cpu_backend_variant(haswell            SSE42 AVX F16C FMA AVX2 BMI2)
        ggml_add_cpu_backend_variant(skylakex           SSE42 AVX512)
        ggml_add_cpu_backend_variant(cannonlake         SSE42 AVX512 AVX512_VBMI)
        ggml_add_cpu_backend_variant(cascadelake        SSE42 AVX512 AVX512_VNNI)
        ggml_add_cpu_backend_variant(icelake            SSE42 AVX512_VNNI)
        ggml_add_cpu_backend_variant(cooperlake         SSE42 AVX512_BF16)
        ggml_add_cpu_backend_variant(zen4               SSE42 AVX512_BF16)
        ggml_add_cpu_backend_variant(alderlake          SSE42 AVX_VNNI)
        ggml_add_cpu_backend_variant(sapphirerapids     SSE42 AMX_TILE AMX_INT8)
    elseif(GGML_SYSTEM_ARCH STREQUAL "ARM")
        ggml_add_cpu_backend_variant(armv8.0_1)
"""
TOOLS = Toolchain("g++ 12", "2.36", "x86_64")


def test_only_shipped_variants_are_left() -> None:
    left = llama_wheel.without_skipped_variants(CMAKE)
    assert all(f"variant({variant}" in left for variant in VARIANTS)
    assert not any(f"variant({variant}" in left for variant in SKIPPED)
    assert "armv8.0_1" in left
    assert len(left.splitlines()) == len(CMAKE.splitlines()) - len(SKIPPED)


@pytest.mark.parametrize(
    ("old", "new"),
    [("(zen4 ", "(zen6 "), ("        ggml_add_cpu_backend_variant(x64)\n", ""), (CMAKE, "")],
)
def test_another_set_of_variants_is_refused(old: str, new: str) -> None:
    with pytest.raises(BundleError, match="CPU variants have changed"):
        llama_wheel.without_skipped_variants(CMAKE.replace(old, new))


def test_key_depends_on_source_and_tools(monkeypatch: pytest.MonkeyPatch) -> None:
    key = content_key("a" * 64, TOOLS)
    assert key == content_key("a" * 64, TOOLS)
    assert key != content_key("b" * 64, TOOLS)
    assert key != content_key("a" * 64, dataclasses.replace(TOOLS, compiler="g++ 14"))
    monkeypatch.setattr(llama_wheel, "OPTIONS", (*llama_wheel.OPTIONS, "X=ON"))
    assert key != content_key("a" * 64, TOOLS)


def test_libraries_must_run_on_the_targets_c_library(tmp_path: Path) -> None:
    wheel = tmp_path / "x.whl"
    content = b"\x7fELF\0GLIBC_2.2.5\0GLIBC_2.36\0"
    write_wheel(wheel, WheelName("x", "1", "py3-none-any"), {"x/l.so": content}, metadata=b"")
    llama_wheel.require_glibc(wheel, "2.36")
    with pytest.raises(BundleError, match=r"l\.so was .* glibc 2\.36; the target has 2\.31"):
        llama_wheel.require_glibc(wheel, "2.31")


def test_an_engine_that_finds_no_backend_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Exception, match="cannot open shared object"):
        llama_wheel.prove(tmp_path)
