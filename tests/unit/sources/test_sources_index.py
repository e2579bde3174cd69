from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import pytest

from bastide import resources
from bastide.bundle.catalogue import Catalogue
from bastide.errors import BundleError
from bastide.schema.model_card import HttpsSource, HuggingFaceSource, LocalSource
from bastide.sources import index
from bastide.sources.licence_texts import wheel_licence
from bastide.sources.places import pin_of

TARGET = Catalogue(resources.catalogue()).target("debian12-x86_64").value
MIT = "Classifier: License :: OSI Approved :: MIT License\n"
RANKS = {tag: rank for rank, tag in enumerate(index.target_tags(TARGET))}


def package(*names: str) -> dict[str, Any]:
    wheels = [{"url": f"https://x/{name}", "hashes": {"sha256": "a" * 64}} for name in names]
    return {"name": "Some_Thing", "version": "1.0", "wheels": wheels}


@pytest.mark.parametrize(
    ("names", "best"),
    [
        (["some_thing-1.0-py3-none-any.whl"], 0),
        (
            [
                "some_thing-1.0-cp310-abi3-manylinux_2_28_x86_64.whl",
                "some_thing-1.0-cp311-cp311-manylinux_2_17_x86_64.manylinux2014_x86_64.whl",
            ],
            1,
        ),
        (
            [
                "some_thing-1.0-cp311-cp311-manylinux_2_38_x86_64.whl",
                "some_thing-1.0-cp39-abi3-manylinux_2_28_x86_64.whl",
                "some_thing-1.0-py3-none-any.whl",
            ],
            1,
        ),
    ],
)
def test_the_best_wheel_for_the_target_is_taken(names: list[str], best: int) -> None:
    file = index._wheel(package(*names), None, RANKS)
    assert file.filename == names[best]
    assert file.name == "some-thing"


@pytest.mark.parametrize(
    "name",
    [
        "some_thing-1.0-cp312-cp312-manylinux_2_17_x86_64.whl",
        "some_thing-1.0-cp311-cp311-manylinux_2_17_aarch64.whl",
        "some_thing-1.0-cp311-cp311-manylinux_2_39_x86_64.whl",
        "some_thing-1.0-cp311-cp311-musllinux_1_2_x86_64.whl",
        "some_thing-1.0-cp311-cp311-win_amd64.whl",
    ],
)
def test_a_wheel_for_another_platform_is_refused(name: str) -> None:
    with pytest.raises(BundleError, match="no wheel that fits"):
        index._wheel(package(name), None, RANKS)


@pytest.mark.parametrize(
    ("metadata", "licence"),
    [
        ("License-Expression: MIT AND Zlib\n", "MIT AND Zlib"),
        (MIT, "MIT"),
        ("License: BSD-3-Clause\nClassifier: License :: OSI Approved :: BSD License\n",
         "BSD-3-Clause"),
        ("Classifier: License :: OSI Approved :: BSD License\n", "BSD License"),
        (f"{MIT}Classifier: License :: OSI Approved :: Apache Software License\n",
         "MIT OR Apache-2.0"),
        ("Name: x\n", "unknown"),
    ],
)  # fmt: skip
def test_licence_of_a_wheel(metadata: str, licence: str, tmp_path: Path) -> None:
    path = tmp_path / "x-1-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as wheel:
        wheel.writestr("x-1.dist-info/METADATA", metadata)
    assert wheel_licence(path).licence == licence


def test_a_hub_is_an_address_at_one_commit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    source = HuggingFaceSource(
        kind="huggingface",
        repository="owner/model",
        revision="c" * 40,
        file="q/model.gguf",
        endpoint="https://hub.internal/",
        sha256="a" * 64,
    )
    pin = pin_of(source)
    assert pin.url == f"https://hub.internal/owner/model/resolve/{'c' * 40}/q/model.gguf"
    assert pin.headers == {"Authorization": "Bearer hf_secret"}


def test_addresses_and_local_files() -> None:
    url = "https://mirror.internal/m.gguf"
    assert pin_of(HttpsSource(kind="https", url=url, sha256="a" * 64)).url == url
    local = LocalSource(kind="local", path="/srv/a b.gguf", sha256="a" * 64)
    assert pin_of(local).url == "file:///srv/a%20b.gguf"
