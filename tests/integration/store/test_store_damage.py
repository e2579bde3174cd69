"""Every way in which a medium can be wrong: named, refused whole, and nothing touched."""

from __future__ import annotations

import hashlib
import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bastide.errors import BastideError, BundleError
from bastide.progress import SilentProgress
from bastide.schema.artifact import ArtifactKind
from bastide.store import Store
from bastide.store.importer import check_bundle
from bastide.trust.verifier import DigestOnly

pytestmark = pytest.mark.integration


def flip(path: Path, offset: int | None = None) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2 if offset is None else offset] ^= 0x10
    path.write_bytes(content)


def blob(name: str) -> Callable[[Any], Path]:
    return lambda built: built.blob(name)


def document(name: str) -> Callable[[Any], Path]:
    return lambda built: built.folder / name


FILES = {
    "wheel": blob("engine.whl"),
    "os-package": blob("tool.deb"),
    "source": blob("server.py"),
    "binary": blob("weights.bin"),
    "catalogue": blob("release.yaml"),
    "manifest": document("manifest.json"),
    "lock": document("lock.json"),
    "bootstrap": document("bootstrap.py"),
    "root": document("bundle.json"),
}


def refused(run_import: Any, built: Any) -> BastideError:
    """Import and check ``built``; both must refuse it with the same words and leave no trace."""
    before = built.fingerprint()
    with pytest.raises(BastideError) as caught:
        run_import(built.folder)
    with pytest.raises(BastideError) as checked:
        check_bundle(built.folder, verifier=DigestOnly(), progress=SilentProgress())
    assert (checked.value.code, checked.value.problems) == (
        caught.value.code,
        caught.value.problems,
    )
    assert run_import.store.bundles() == ()
    assert built.fingerprint() == before
    assert caught.value.hint
    error = caught.value
    assert isinstance(error, BastideError)
    return error


def named(error: BastideError, path: Path, built: Any) -> str:
    where = str(path.relative_to(built.folder))
    found = [problem.what for problem in error.problems if problem.where == where]
    assert len(found) == 1, error.problems
    return found[0]


@pytest.mark.parametrize("kind", FILES)
@pytest.mark.parametrize("place", [0, -1, None], ids=["first", "last", "middle"])
def test_one_flipped_bit(make_bundle: Any, run_import: Any, kind: str, place: int | None) -> None:
    built = make_bundle()
    path = FILES[kind](built)
    expected = hashlib.sha256(path.read_bytes()).hexdigest()
    flip(path, place)
    error = refused(run_import, built)
    if kind == "root":
        assert "bundle.json" in str(error)
        return
    what = named(error, path, built)
    assert expected in what
    assert hashlib.sha256(path.read_bytes()).hexdigest() in what


@pytest.mark.parametrize("kind", [k for k in FILES if k != "root"])
def test_missing_file(make_bundle: Any, run_import: Any, kind: str) -> None:
    built = make_bundle()
    path = FILES[kind](built)
    size = path.stat().st_size
    path.unlink()
    error = refused(run_import, built)
    what = named(error, path, built)
    assert what.startswith("is missing")
    assert f"{size} bytes" in what


@pytest.mark.parametrize("kind", [k for k in FILES if k != "root"])
@pytest.mark.parametrize("by", [-1, 1], ids=["truncated", "longer"])
def test_wrong_size(make_bundle: Any, run_import: Any, kind: str, by: int) -> None:
    built = make_bundle()
    path = FILES[kind](built)
    content = path.read_bytes()
    path.write_bytes(content[:-1] if by < 0 else content + b"x")
    error = refused(run_import, built)
    what = named(error, path, built)
    assert what.startswith(f"has {len(content) + by} bytes, expected {len(content)}")


def test_no_root(make_bundle: Any, run_import: Any) -> None:
    built = make_bundle()
    (built.folder / "bundle.json").unlink()
    error = refused(run_import, built)
    assert error.code == "BAS-3101"


def test_no_folder(run_import: Any, tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="no bundle at") as caught:
        run_import(tmp_path / "nowhere")
    assert caught.value.code == "BAS-3101"


def test_all_bad_files_are_named_in_one_pass(make_bundle: Any, run_import: Any) -> None:
    built = make_bundle()
    victims = [built.blob(name) for name in ("engine.whl", "server.py", "weights.bin")]
    for victim in victims:
        flip(victim)
    error = refused(run_import, built)
    assert {p.where for p in error.problems} == {str(v.relative_to(built.folder)) for v in victims}
    assert "wheel engine (engine.whl)" in " ".join(problem.what for problem in error.problems)


def test_missing_truncated_and_extra_are_named_together(make_bundle: Any, run_import: Any) -> None:
    built = make_bundle()
    built.blob("engine.whl").unlink()
    built.blob("tool.deb").write_bytes(b"short")
    (built.folder / "notes.txt").write_text("hello")
    error = refused(run_import, built)
    assert len(error.problems) == 3
    assert "3 files are wrong" in str(error)


def test_after_repair_the_good_blobs_are_not_read_again(
    make_bundle: Any, run_import: Any, store: Store
) -> None:
    built = make_bundle()
    victim = built.blob("server.py")
    good = victim.read_bytes()
    flip(victim)
    refused(run_import, built)
    assert not store.has(victim.name, len(good))
    victim.write_bytes(good)
    assert run_import(built.folder).bytes_copied == len(good)
    run_import.assert_holds(built)


def extra_file(folder: Path) -> str:
    (folder / "sha256" / "README").write_text("x")
    return "sha256/README"


def extra_blob(folder: Path) -> str:
    content = b"a blob that no manifest lists"
    digest = hashlib.sha256(content).hexdigest()
    path = folder / "sha256" / digest[:2] / digest
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content)
    return str(path.relative_to(folder))


def extra_folder(folder: Path) -> str:
    (folder / "lost+found").mkdir()
    return "lost+found"


def terminal_escape(folder: Path) -> str:
    (folder / "\x1b[2Jfoo").write_text("x")
    return "\\x1b[2Jfoo"


def not_utf8(folder: Path) -> str:
    Path(os.fsdecode(os.fsencode(folder) + b"/\xff")).write_text("x")
    return "\\udcff"


def link_out(folder: Path) -> str:
    (folder / "link").symlink_to("/etc/passwd")
    return "link"


def link_to_folder(folder: Path) -> str:
    (folder / "linked").symlink_to(folder.parent)
    return "linked"


def pipe(folder: Path) -> str:
    os.mkfifo(folder / "pipe")
    return "pipe"


def unix_socket(folder: Path) -> str:
    home = Path.cwd()
    os.chdir(folder)  # a socket's path has at most 107 bytes
    try:
        with socket.socket(socket.AF_UNIX) as each:
            each.bind("socket")
    finally:
        os.chdir(home)
    return "socket"


@pytest.mark.parametrize(
    "add",
    [
        extra_file,
        extra_blob,
        extra_folder,
        terminal_escape,
        not_utf8,
        link_out,
        link_to_folder,
        pipe,
        unix_socket,
    ],
)
def test_anything_extra_is_refused(
    make_bundle: Any, run_import: Any, add: Callable[[Path], str]
) -> None:
    built = make_bundle()
    name = add(built.folder)
    error = refused(run_import, built)
    assert [problem.where for problem in error.problems] == [name]
    assert error.code == "BAS-3103"


@pytest.mark.parametrize("kind", ["wheel", "manifest", "root"])
def test_symlink_in_place_of_a_file(
    make_bundle: Any, run_import: Any, kind: str, tmp_path: Path
) -> None:
    built = make_bundle()
    path = FILES[kind](built)
    (tmp_path / "outside").write_bytes(path.read_bytes())  # right bytes, wrong place
    path.unlink()
    path.symlink_to(tmp_path / "outside")
    refused(run_import, built)


def test_symlinked_folder_of_blobs(make_bundle: Any, run_import: Any, tmp_path: Path) -> None:
    built = make_bundle()
    (built.folder / "sha256").rename(tmp_path / "elsewhere")
    (built.folder / "sha256").symlink_to(tmp_path / "elsewhere")
    refused(run_import, built)


@pytest.mark.parametrize(
    "path",
    ["../escape", "/etc/passwd", "sha256/../x", "a/b", "..", "", ".hidden", "a\nb", "bundle.json"],
)
def test_document_path_that_leads_elsewhere(make_bundle: Any, run_import: Any, path: str) -> None:
    def pin(root: Any) -> Any:
        first = root.documents[0]
        return root.replace(documents=(*root.documents, first.replace(path=path)))

    built = make_bundle(change_root=pin)
    error = refused(run_import, built)
    assert error.code == "BAS-3104"
    assert not (built.folder.parent / "escape").exists()


@pytest.mark.parametrize(
    "change",
    [
        {"release": "starter-2099.1.0"},
        {"target": "debian13-x86_64"},
        {"blobs": 1},
        {"blob_bytes": 10**40},
        {"documents": ()},
    ],
    ids=lambda change: next(iter(change)),
)
def test_root_that_contradicts_the_manifest(
    make_bundle: Any, run_import: Any, change: dict[str, Any]
) -> None:
    built = make_bundle(change_root=lambda root: root.replace(**change))
    assert refused(run_import, built).code == "BAS-3104"


def test_manifest_pinned_with_a_wrong_digest(make_bundle: Any, run_import: Any) -> None:
    def lie(root: Any) -> Any:
        return root.replace(
            documents=tuple(
                d.replace(sha256="0" * 64) if d.path == "manifest.json" else d
                for d in root.documents
            )
        )

    built = make_bundle(change_root=lie)
    error = refused(run_import, built)
    assert "expected " + "0" * 64 in named(error, built.folder / "manifest.json", built)


@pytest.mark.parametrize("change", ["duplicate", "two sizes", "huge", "lock"])
def test_manifest_that_contradicts_itself(make_bundle: Any, run_import: Any, change: str) -> None:
    def spoil(manifest: Any) -> Any:
        first = manifest.artifacts[0]
        if change == "lock":
            return manifest.replace(lock="0" * 64)
        more = {
            "duplicate": first.replace(name="other"),
            "two sizes": first.replace(filename="other.bin", size=first.size + 1),
            "huge": first.replace(filename="other.bin", size=10**30, sha256="0" * 64),
        }[change]
        return manifest.replace(artifacts=(*manifest.artifacts, more))

    assert refused(run_import, make_bundle(change=spoil)).code == "BAS-3104"


def test_root_spelt_otherwise_is_refused(make_bundle: Any, run_import: Any) -> None:
    built = make_bundle()
    path = built.folder / "bundle.json"
    path.write_bytes(path.read_bytes().replace(b',"blobs"', b', "blobs"'))
    error = refused(run_import, built)
    assert "changed after it was built" in str(error)


def test_newer_format_says_so(make_bundle: Any, run_import: Any) -> None:
    built = make_bundle()
    path = built.folder / "bundle.json"
    path.write_bytes(path.read_bytes().replace(b"bastide.bundle/1", b"bastide.bundle/9"))
    error = refused(run_import, built)
    assert "bastide.bundle/9" in str(error)
    assert "the Bastide that the bundle carries" in error.hint


def test_model_without_a_card_or_with_a_lying_header(make_bundle: Any, run_import: Any) -> None:
    contents = make_bundle.generated()
    contents["tiny.gguf"] = (ArtifactKind.MODEL, b"GGUF" + b"\xff" * 200)
    error = refused(run_import, make_bundle(contents))
    assert error.code == "BAS-3109"
    assert "no model card tiny.yaml" in error.problems[0].what
    contents["tiny.yaml"] = (
        ArtifactKind.CATALOGUE,
        card(hashlib.sha256(contents["tiny.gguf"][1]).hexdigest(), 204),
    )
    error = refused(run_import, make_bundle(contents))
    assert error.code == "BAS-3109"
    assert "not a usable GGUF file" in error.problems[0].what
    contents["tiny.yaml"] = (ArtifactKind.CATALOGUE, card("a" * 64, 204))
    error = refused(run_import, make_bundle(contents))
    assert "is of another file" in error.problems[0].what
    contents["tiny.yaml"] = (ArtifactKind.CATALOGUE, b"name: tiny\n")
    error = refused(run_import, make_bundle(contents))
    assert len(error.problems) > 3


def card(sha256: str, size: int) -> bytes:
    return f"""
name: tiny
title: Tiny
version: "1"
task: chat
family: Tiny
architecture: llama
parameters: 1000
quantisation: Q8_0
context_window: 128
embedding_length: 16
languages: [en]
licence: {{spdx: Apache-2.0}}
memory: {{weights: 1000, kv_cache_per_token: 10}}
file: {{name: tiny.gguf, size: {size}, sha256: {sha256}}}
sources: [{{kind: local, path: /tiny.gguf, sha256: {sha256}}}]
""".encode()
