from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bastide import resources
from bastide.bundle.notices import make_notices
from bastide.errors import BundleError
from bastide.schema.artifact import Artifact, ArtifactKind, Manifest
from bastide.schema.loading import parse_yaml
from bastide.schema.model_card import ModelCard
from bastide.sources.checks.deb import DebError
from bastide.sources.licence_texts import copyright_names, deb_copyright, wheel_licence, wheel_texts

Make = Callable[..., Path]
APACHE = b"Apache License\nVersion 2.0\n"
DIST = "demo_pkg-1.0.dist-info"


@pytest.fixture
def artifacts(
    make_wheel: Make, make_deb: Make, make_artifact: Callable[..., Artifact], tmp_path: Path
) -> dict[str, tuple[Artifact, Path]]:
    wheel = make_wheel(
        tmp_path,
        {
            f"{DIST}/licenses/LICENSE": APACHE,
            f"{DIST}/licenses/vendored/COPYING": b"other\n",
            f"{DIST}/entry_points.txt": b"not a licence\n",
        },
    )
    deb = make_deb(tmp_path, files={"./usr/share/doc/demo/copyright": b"Free text.  \n"})
    model = tmp_path / "gemma.gguf"
    model.write_bytes(b"GGUF")
    made = {
        "demo-pkg": (make_artifact(wheel, ArtifactKind.WHEEL, "demo-pkg", "1.0"), wheel),
        "demo": (make_artifact(deb, ArtifactKind.OS_PACKAGE, "demo", "1:1.0-1"), deb),
        "gemma": (make_artifact(model, ArtifactKind.MODEL, "gemma", "3"), model),
        "apache": (make_artifact(model, ArtifactKind.MODEL, "apache", "1"), model),
    }
    licences = {
        "demo-pkg": "Apache-2.0",
        "demo": "GPL-2+",
        "gemma": "Gemma",
        "apache": "Apache-2.0",
    }
    return {
        n: (a.replace(licence=licences[n], licence_from=f"{n}:place"), p)
        for n, (a, p) in made.items()
    }


def notices(
    artifacts: dict[str, tuple[Artifact, Path]], cards: dict[str, ModelCard] | None = None
) -> str:
    listed = tuple(a for a, _ in sorted(artifacts.values(), key=lambda x: (x[0].kind, x[0].name)))
    manifest = Manifest(release="r-1", target="t", lock="0" * 64, artifacts=listed)
    paths = {a.sha256: p for a, p in artifacts.values()}
    return make_notices(manifest, cards or {}, paths.__getitem__).decode()


def test_every_artifact_with_licence_place_and_text(
    artifacts: dict[str, tuple[Artifact, Path]],
) -> None:
    text = notices(artifacts)
    for artifact, _ in artifacts.values():
        assert f"{artifact.name} {artifact.version}\n  licence: {artifact.licence}\n" in text
        assert f"  declared in: {artifact.licence_from}\n" in text
    assert "Apache License\nVersion 2.0" in text
    assert "Free text." in text
    assert "not a licence" not in text
    assert "snapshot.debian.org/binary/demo/" in text


def test_a_model_points_to_the_text_that_a_wheel_carries(
    artifacts: dict[str, tuple[Artifact, Path]],
) -> None:
    text = notices(artifacts)
    number = text.partition("demo-pkg 1.0: demo_pkg-1.0.dist-info/licenses/LICENSE")[0]
    mark = number.rpartition("[")[2].rpartition("]")[0]
    entry = text.partition("apache 1\n")[2].partition("\n\n")[0]
    assert f"text: [{mark}]" in entry


def test_what_a_card_s_terms_ask_for(artifacts: dict[str, tuple[Artifact, Path]]) -> None:
    path = resources.catalogue() / "models" / "smollm2-135m-instruct-q4_1.yaml"
    plain = parse_yaml(path.read_bytes(), ModelCard, where=str(path)).model_dump()
    plain["licence"] = {"name": "Gemma", "text": "https://ai.google.dev/gemma/terms"}
    plain["terms"] |= {
        "notices": "Copies carry a Notice.",
        "naming": "Built with Gemma",
        "use_policy": "none",
    }
    card = ModelCard.model_validate(plain)
    entry = notices(artifacts, {"gemma": card}).partition("gemma 3\n")[2].partition("\n\n")[0]
    assert "terms: https://ai.google.dev/gemma/terms" in entry
    assert "notice: Copies carry a Notice." in entry
    assert "naming: Built with Gemma" in entry
    assert "use policy" not in entry


def test_equal_texts_are_printed_once(
    artifacts: dict[str, tuple[Artifact, Path]], make_wheel: Make, tmp_path: Path
) -> None:
    folder = tmp_path / "twin"
    folder.mkdir()
    twin = make_wheel(folder, {f"{DIST}/LICENSE.txt": b"\n" + APACHE.replace(b"\n", b"  \n")})
    artifact = artifacts["demo-pkg"][0]
    second = artifact.replace(name="twin", sha256=hashlib.sha256(twin.read_bytes()).hexdigest())
    text = notices({**artifacts, "twin": (second, twin)})
    assert text.count("Apache License") == 1
    assert "demo-pkg 1.0: demo_pkg-1.0.dist-info/licenses/LICENSE, twin 1.0: " in text


def test_a_wheel_that_cannot_be_read(artifacts: dict[str, tuple[Artifact, Path]]) -> None:
    artifacts["demo-pkg"][1].write_bytes(b"no zip")
    with pytest.raises(BundleError) as caught:
        notices(artifacts)
    assert caught.value.code == "BAS-3072"
    assert "demo_pkg-1.0-py3-none-any.whl" in str(caught.value)


def test_texts_of_a_wheel_by_metadata(make_wheel: Make, tmp_path: Path) -> None:
    metadata = b"Metadata-Version: 2.4\nName: demo-pkg\nVersion: 1.0\nLicense-Expression: MIT\n"
    metadata += b"License-File: odd.name\n"
    path = make_wheel(tmp_path, {f"{DIST}/licenses/odd.name": b"words"}, metadata=metadata)
    assert [t.text for t in wheel_texts(path)] == ["words"]
    declared = wheel_licence(path)
    assert (declared.licence, declared.place) == ("MIT", "METADATA: License-Expression")


MIT = """\
The MIT License (MIT)

Copyright (c) 2022 Somebody

Permission is hereby granted, free of charge, to any person obtaining a copy
of this software and associated documentation files (the "Software"), to deal
in the Software without restriction, including without limitation the rights
to use, copy, modify, merge, publish, distribute, sublicense, and/or sell
copies of the Software, and to permit persons to whom the Software is
furnished to do so, subject to the following conditions:

The above copyright notice and this permission notice shall be included in
all copies or substantial portions of the Software.

THE SOFTWARE IS PROVIDED "AS IS", WITHOUT WARRANTY OF ANY KIND, EXPRESS OR
IMPLIED, INCLUDING BUT NOT LIMITED TO THE WARRANTIES OF MERCHANTABILITY,
FITNESS FOR A PARTICULAR PURPOSE AND NONINFRINGEMENT. IN NO EVENT SHALL THE
AUTHORS OR COPYRIGHT HOLDERS BE LIABLE FOR ANY CLAIM, DAMAGES OR OTHER
LIABILITY, WHETHER IN AN ACTION OF CONTRACT, TORT OR OTHERWISE, ARISING FROM,
OUT OF OR IN CONNECTION WITH THE SOFTWARE OR THE USE OR OTHER DEALINGS IN
THE SOFTWARE.
"""


@pytest.mark.parametrize(
    ("texts", "licence"),
    [
        ((MIT,), "MIT"),
        ((MIT.replace("\n", "\r\n  ").upper(),), "MIT"),
        ((MIT.replace("WITHOUT WARRANTY", "WITH WARRANTY"),), "unknown"),
        ((MIT + "Not for military use.",), "unknown"),
        ((MIT, "and another text"), "unknown"),
        ((), "unknown"),
    ],
)
def test_a_licence_that_only_its_text_states_must_be_so_word_for_word(
    make_wheel: Make, tmp_path: Path, texts: tuple[str, ...], licence: str
) -> None:
    files = {f"{DIST}/licenses/LICENSE{n}": text.encode() for n, text in enumerate(texts)}
    assert wheel_licence(make_wheel(tmp_path, files)).licence == licence


def test_copyright_of_debs(make_deb: Make, tmp_path: Path) -> None:
    assert deb_copyright(make_deb(tmp_path), "demo").text is None
    path = make_deb(tmp_path, files={"./usr/share/doc/demo/copyright": b"x"})
    assert deb_copyright(path, "demo").text == "x"
    assert deb_copyright(path, "other").text is None


def test_licences_by_reference() -> None:
    text = "See /usr/share/common-licenses/GPL-3 and `/usr/share/common-licenses/LGPL-2.1'."
    assert copyright_names(text) == "(GPL-3 by reference) AND (LGPL-2.1 by reference)"
    assert copyright_names("nothing said") == "unknown"


@given(st.data())
def test_mutated_debs_are_refused_or_read(
    make_deb: Make, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    files = {"./usr/share/doc/demo/copyright": b"text of a licence\n" * 50}
    path = make_deb(tmp_path_factory.mktemp("deb"), files=files)
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(content)
    with contextlib.suppress(DebError):
        deb_copyright(path, "demo")
