from __future__ import annotations

import random
import stat
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bastide.errors import Problem
from bastide.schema.artifact import Artifact, ArtifactKind
from bastide.schema.target import Target
from bastide.sources.checks.wheel import MAX_IN_MEMORY, QUICK_LIMIT, check_wheel

Make = Callable[..., Path]
MakeArtifact = Callable[..., Artifact]


class Check:
    def __init__(self, make: MakeArtifact, target: Target) -> None:
        self.make = make
        self.target = target

    def __call__(self, path: Path, **changes: str) -> list[Problem]:
        artifact = self.make(path, ArtifactKind.WHEEL, "demo-pkg", "1.0").replace(**changes)
        return check_wheel(path, artifact, self.target)


@pytest.fixture(scope="session")
def check(make_artifact: MakeArtifact, target: Target) -> Check:
    return Check(make_artifact, target)


def codes(problems: list[Problem]) -> list[str]:
    return [problem.code for problem in problems]


def test_a_right_wheel_passes(
    make_wheel: Make, check: Check, library: bytes, tmp_path: Path
) -> None:
    assert check(make_wheel(tmp_path)) == []
    tag = "cp311-cp311-manylinux_2_17_x86_64"
    assert check(make_wheel(tmp_path, {"demo_pkg/_x.so": library}, tag=tag)) == []


@pytest.mark.parametrize(
    "tag",
    [
        "cp312-cp312-manylinux_2_17_x86_64",
        "cp311-cp311-manylinux_2_37_x86_64",
        "cp311-cp311-manylinux_2_17_aarch64",
        "cp311-cp311-musllinux_1_2_x86_64",
        "py3-none-win_amd64",
    ],
)
def test_tags_of_other_platforms(make_wheel: Make, check: Check, tag: str, tmp_path: Path) -> None:
    (problem,) = check(make_wheel(tmp_path, tag=tag))
    assert problem.code == "BAS-3162"
    assert tag.rpartition("-")[2] in problem.what
    assert "debian12-x86_64" in problem.what


def test_name_and_version_must_agree(make_wheel: Make, check: Check, tmp_path: Path) -> None:
    assert codes(check(make_wheel(tmp_path), name="other")) == ["BAS-3162"]
    assert codes(check(make_wheel(tmp_path), version="1.1")) == ["BAS-3162"]
    lying = make_wheel(tmp_path, metadata=b"Metadata-Version: 2.1\nName: evil\nVersion: 1.0\n")
    (problem,) = check(lying)
    assert problem.code == "BAS-3162"
    assert "METADATA evil 1.0" in problem.what
    assert codes(check(make_wheel(tmp_path), filename="nonsense.whl")) == ["BAS-3162"]


def test_a_newer_glibc_is_named(
    make_wheel: Make, check: Check, library: bytes, tmp_path: Path
) -> None:
    number = library.index(b"GLIBC_2.")
    end = library.index(b"\0", number)
    newer = library.replace(
        library[number:end], b"GLIBC_2.99"[: end - number].ljust(end - number, b"9")
    )
    (problem,) = check(make_wheel(tmp_path, {"demo_pkg/_x.so": newer}))
    assert problem.code == "BAS-3163"
    assert "demo_pkg/_x.so: it needs glibc 2.9" in problem.what
    assert "the target has 2.36" in problem.what


def test_another_machine_is_named(
    make_wheel: Make, check: Check, library: bytes, tmp_path: Path
) -> None:
    other = library[:18] + struct.pack("<H", 183) + library[20:]
    (problem,) = check(make_wheel(tmp_path, {"demo_pkg/_x.so": other}))
    assert problem.code == "BAS-3163"
    assert "aarch64" in problem.what


def test_large_libraries_are_read_without_holding_them(
    make_wheel: Make, check: Check, library: bytes, tmp_path: Path
) -> None:
    large = library[:18] + struct.pack("<H", 183) + library[20:] + bytes(MAX_IN_MEMORY)
    noise = random.Random(1).randbytes(1 << 20)  # noqa: S311
    (problem,) = check(make_wheel(tmp_path, {"demo_pkg/_x.so": large, "demo_pkg/data": noise}))
    assert problem.code == "BAS-3163"
    assert "aarch64" in problem.what


def test_a_quick_look_at_a_large_library_sees_its_machine(
    make_wheel: Make,
    make_artifact: MakeArtifact,
    target: Target,
    library: bytes,
    tmp_path: Path,
) -> None:
    number = library.index(b"GLIBC_2.")
    end = library.index(b"\0", number)
    newest = b"GLIBC_2.99"[: end - number].ljust(end - number, b"9")
    newer = library.replace(library[number:end], newest)
    noise = random.Random(1).randbytes(1 << 20)  # noqa: S311
    for content, thorough, found in (
        (newer, True, ["BAS-3163"]),
        (newer, False, []),
        (newer[:18] + struct.pack("<H", 183) + newer[20:], False, ["BAS-3163"]),
    ):
        path = make_wheel(
            tmp_path, {"demo_pkg/_x.so": content + bytes(QUICK_LIMIT), "demo_pkg/data": noise}
        )
        artifact = make_artifact(path, ArtifactKind.WHEEL, "demo-pkg", "1.0")
        assert codes(check_wheel(path, artifact, target, thorough=thorough)) == found


def rewrite(path: Path, change: Callable[[zipfile.ZipFile], None]) -> Path:
    with zipfile.ZipFile(path, "a") as archive:
        change(archive)
    return path


def link(archive: zipfile.ZipFile) -> None:
    info = zipfile.ZipInfo("demo_pkg/link")
    info.create_system = 3
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    archive.writestr(info, "/etc/passwd")


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda z: z.writestr("../evil.py", b""), "'../evil.py'"),
        (lambda z: z.writestr("/etc/cron.d/evil", b""), "'/etc/cron.d/evil'"),
        (lambda z: z.writestr("a/../../evil", b""), "evil"),
        (lambda z: z.writestr("a//b", b""), "a//b"),
        (lambda z: z.writestr("C:/evil", b""), "C:/evil"),
        (lambda z: z.writestr("a\\..\\b", b""), "path"),
        (lambda z: z.writestr("a\x1b[2Jb", b""), "path"),
        (lambda z: z.writestr("demo_pkg/__init__.py", b"evil"), "twice"),
        (link, "link"),
        (lambda z: z.writestr("bomb", bytes(200 << 20), zipfile.ZIP_DEFLATED), "unpack to"),
        (lambda z: z.writestr("x", b"x", zipfile.ZIP_LZMA), "method"),
    ],
)
def test_archive_tricks(
    make_wheel: Make,
    check: Check,
    tmp_path: Path,
    change: Callable[[zipfile.ZipFile], None],
    words: str,
) -> None:
    (problem,) = check(rewrite(make_wheel(tmp_path), change))
    assert problem.code == "BAS-3161"
    assert words in problem.what
    assert problem.where == "demo_pkg-1.0-py3-none-any.whl"
    assert "\x1b" not in problem.what


def test_record_lists_every_file(make_wheel: Make, check: Check, tmp_path: Path) -> None:
    (problem,) = check(rewrite(make_wheel(tmp_path), lambda z: z.writestr("demo_pkg/b.py", b"")))
    assert problem.code == "BAS-3162"
    assert "RECORD does not list 1 of its files" in problem.what


def test_two_names_for_the_same_bytes(make_wheel: Make, check: Check, tmp_path: Path) -> None:
    path = make_wheel(tmp_path)
    content = path.read_bytes()
    with zipfile.ZipFile(path) as archive:
        first = archive.infolist()[0]
        directory = archive.start_dir
    entry = content.index(b"PK\x01\x02", directory)
    entry = content.index(b"PK\x01\x02", entry + 4)
    changed = bytearray(content)
    changed[entry + 42 : entry + 46] = struct.pack("<I", first.header_offset)
    path.write_bytes(changed)
    (problem,) = check(path)
    assert problem.code == "BAS-3161"
    assert "overlaps" in problem.what


def test_what_is_no_zip(check: Check, tmp_path: Path) -> None:
    path = tmp_path / "demo_pkg-1.0-py3-none-any.whl"
    for content in (b"", b"<html>", b"PK\x05\x06", b"PK\x05\x06" + bytes(18), bytes(100_000)):
        path.write_bytes(content)
        (problem,) = check(path)
        assert problem.code in {"BAS-3161", "BAS-3162"}


@given(st.data())
def test_mutated_wheels_never_crash(
    make_wheel: Make,
    check: Check,
    library: bytes,
    tmp_path_factory: pytest.TempPathFactory,
    data: st.DataObject,
) -> None:
    folder = tmp_path_factory.mktemp("wheel")
    path = make_wheel(folder, {"demo_pkg/_x.so": library})
    content = bytearray(path.read_bytes())
    tail = st.integers(max(0, len(content) - 700), len(content) - 1)
    for _ in range(data.draw(st.integers(1, 5))):
        place = data.draw(tail | st.integers(0, len(content) - 1))
        content[place] = data.draw(st.integers(0, 255))
    cut = data.draw(st.just(len(content)) | st.integers(0, len(content)))
    path.write_bytes(content[:cut])
    for problem in check(path):
        assert problem.code in {"BAS-3161", "BAS-3162", "BAS-3163"}
        assert problem.what.isprintable()
