from __future__ import annotations

import gzip
import lzma
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bastide.errors import Problem
from bastide.schema.artifact import Artifact, ArtifactKind
from bastide.schema.target import Target
from bastide.sources.checks.closure import Unmet, unmet
from bastide.sources.checks.deb import MAX_CONTROL, DebError, check_deb, data_archive, read_control

Make = Callable[..., Path]


@pytest.fixture
def check(make_artifact: Callable[..., Artifact], target: Target) -> Callable[..., list[Problem]]:
    def run(path: Path, **changes: str) -> list[Problem]:
        artifact = make_artifact(path, ArtifactKind.OS_PACKAGE, "demo", "1:1.0-1")
        return check_deb(path, artifact.replace(**changes), target)[0]

    return run


def test_a_right_deb(make_deb: Make, check: Callable[..., list[Problem]], tmp_path: Path) -> None:
    path = make_deb(
        tmp_path, "Package: demo\nVersion: 1:1.0-1\nArchitecture: all\nDepends: a,\n b\n"
    )
    assert check(path) == []
    assert read_control(path)["Depends"] == "a,\n b"


@pytest.mark.parametrize(
    ("control", "words"),
    [
        ("Package: other\nVersion: 1:1.0-1\nArchitecture: amd64\n", "'other'"),
        ("Package: demo\nVersion: 1.0-1\nArchitecture: amd64\n", "'1.0-1'"),
        ("Package: demo\nVersion: 1:1.0-1\nArchitecture: arm64\n", "'arm64'"),
        ("Package: demo\nVersion: 1:1.0-1\n", "''"),
        ("Nothing: here\n", "no control file"),
    ],
)
def test_other_identities(
    make_deb: Make,
    check: Callable[..., list[Problem]],
    control: str,
    words: str,
    tmp_path: Path,
) -> None:
    (problem,) = check(make_deb(tmp_path, control))
    assert problem.code == "BAS-3164"
    assert words in problem.what


def ar(members: dict[str, bytes]) -> bytes:
    parts = [b"!<arch>\n"]
    for name, content in members.items():
        parts.append(f"{name:<16}{0:<32}{len(content):<10}`\n".encode())
        parts.append(content + b"\n" * (len(content) % 2))
    return b"".join(parts)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"<html>404</html>",
        b"!<arch>\n",
        ar({"debian-binary": b"2.0\n"}),
        ar({"debian-binary": b"2.0\n", "control.tar.xz": b"noise"}),
        ar({"debian-binary": b"2.0\n", "control.tar.zst": b"noise"}),
        ar({"debian-binary": b"2.0\n", "control.tar.xz": lzma.compress(bytes(MAX_CONTROL + 1))}),
        ar({"debian-binary": b"2.0\n", "control.tar.gz": gzip.compress(bytes(MAX_CONTROL + 1))}),
        ar({"debian-binary": b"2.0\n", "control.tar": b""}),
        ar({"debian-binary": b"2.0\n"}) + b"control.tar.xz  " + b" " * 32 + b"9999999999`\n",
    ],
)
def test_what_is_no_deb(
    content: bytes, check: Callable[..., list[Problem]], tmp_path: Path
) -> None:
    path = tmp_path / "demo_1%3a1.0-1_amd64.deb"
    path.write_bytes(content)
    (problem,) = check(path)
    assert problem.code == "BAS-3164"
    assert "not a usable .deb" in problem.what


def test_data_is_streamed(make_deb: Make, tmp_path: Path) -> None:
    path = make_deb(tmp_path, files={"./usr/share/doc/demo/copyright": b"text"})
    with data_archive(path) as archive:
        assert [entry.name for entry in archive] == ["./usr/share/doc/demo/copyright"]


@given(st.data())
def test_mutated_debs_never_crash(
    make_deb: Make, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    path = make_deb(tmp_path_factory.mktemp("deb"))
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(content[: data.draw(st.just(len(content)) | st.integers(0, len(content)))])
    try:
        read_control(path)
    except DebError as error:
        assert str(error)  # noqa: PT017 - mutations of the data's part are not seen


# --- closure ---------------------------------------------------------------------------------
BASE = [
    {"Package": "libc6", "Version": "2.36-9+deb12u10"},
    {"Package": "mawk", "Version": "1.3.4", "Provides": "awk"},
    {"Package": "libold", "Version": "1", "Provides": "libvirtual (= 2)"},
]


def package(depends: str, **fields: str) -> dict[str, str]:
    return {"Package": "demo", "Version": "1", "Depends": depends, **fields}


@pytest.mark.parametrize(
    "depends",
    [
        "",
        "libc6",
        "libc6 (>= 2.34), awk",
        "libc6:any (>= 2.36-9)",
        "missing | awk",
        "libc6 (>= 2.34),\n awk",
        "libc6 (<< 3)",
        "libvirtual (= 2)",
        "demo (= 1)",
    ],
)
def test_met(depends: str) -> None:
    assert unmet([package(depends)], BASE) == []


@pytest.mark.parametrize(
    "depends",
    [
        "missing",
        "libc6 (>= 2.37)",
        "missing | libc6 (<< 2)",
        "awk (>= 1)",  # a virtual package without a version meets no version
        "libvirtual (>> 2)",
        "not a relation!",
        "libc6 (>= 1" + "0" * 5000 + ")",
    ],
)
def test_not_met(depends: str) -> None:
    assert unmet([package(f"libc6, {depends}")], BASE) == [Unmet("demo", depends)]


def test_a_bundled_package_replaces_the_base_s() -> None:
    assert unmet([package("libold (= 2)"), {"Package": "libold", "Version": "2"}], BASE) == []
    assert unmet([package("libvirtual"), {"Package": "libold", "Version": "2"}], BASE) != []


def test_pre_depends_count() -> None:
    assert unmet([package("", **{"Pre-Depends": "missing"})], BASE) == [Unmet("demo", "missing")]


@given(st.text(max_size=200))
def test_any_text_is_an_answer(text: str) -> None:
    unmet([package(text, Provides=text)], [{"Package": "x", "Version": text, "Provides": text}])
