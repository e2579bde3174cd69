"""Bundles from hand-made locks: real files, no network."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from click.testing import CliRunner

from bastide import layout
from bastide.bundle.build import build, make_manifest
from bastide.bundle.lock import load_lock, save_lock
from bastide.bundle.workshop import Workshop, public_url
from bastide.cli.main import main
from bastide.errors import BundleError
from bastide.progress import SilentProgress
from bastide.schema.artifact import Artifact, ArtifactKind, Component
from bastide.schema.chunks import CHUNK, Chunks
from bastide.schema.lock import Container, Download, Inline, Lock, LockEntry, Member, Origin
from bastide.sources.cache import Cache
from bastide.sources.fetch import Fetcher
from bastide.sources.index import uv_program
from bastide.sources.wheelfile import WheelName, write_wheel
from bastide.store.importer import check_bundle
from bastide.trust.verifier import DigestOnly

pytestmark = pytest.mark.integration


def digest_of(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def entry(name: str, content: bytes, origin: Origin,
          kind: ArtifactKind = ArtifactKind.BINARY) -> LockEntry:  # fmt: skip
    artifact = Artifact(
        name=name,
        kind=kind,
        version="1",
        filename=f"{name}.bin",
        size=len(content),
        sha256=digest_of(content),
        platform="any",
        licence="MIT",
        components=(Component.BASE,),
        source="a test",
    )
    return LockEntry(artifact=artifact, origin=origin)


def make_lock(folder: Path) -> Lock:
    """Return a lock with one artifact of each origin that needs no tools."""
    folder.mkdir(exist_ok=True)
    plain = folder / "plain"
    plain.write_bytes(b"plain" * 1000)
    wheel = folder / "x.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("pkg/inner", b"inner")
    content = wheel.read_bytes()
    container = Container(url=wheel.as_uri(), sha256=digest_of(content), size=len(content))
    member = Member(container=container, path=("pkg/inner",))
    entries = (
        entry("inner", b"inner", member),
        entry("plain", plain.read_bytes(), Download(url=plain.as_uri())),
        entry("text", b"text\n", Inline(text="text\n"), ArtifactKind.CATALOGUE),
        entry("same-bytes", b"text\n", Inline(text="text\n")),
    )
    return Lock(release="test-2026.11.0", target="debian12-x86_64", entries=entries)


def workshop(folder: Path) -> Workshop:
    return Workshop(Fetcher(Cache(folder)), SilentProgress())


def tree(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_two_builds_of_one_lock_are_equal(tmp_path: Path) -> None:
    lock = make_lock(tmp_path / "source")
    save_lock(lock, tmp_path / "a.lock.json")
    first = build(lock, tmp_path / "one", workshop(tmp_path / "cache1"))
    second = build(
        load_lock(tmp_path / "a.lock.json"), tmp_path / "two", workshop(tmp_path / "cache2")
    )
    assert first.digest == second.digest
    assert tree(tmp_path / "one") == tree(tmp_path / "two")
    assert (first.artifacts, first.blobs) == (4, 3)


def test_the_root_reaches_every_byte(tmp_path: Path) -> None:
    out = tmp_path / "out"
    summary = build(make_lock(tmp_path / "source"), out, workshop(tmp_path / "cache"))
    result = check_bundle(out, verifier=DigestOnly(summary.digest), progress=SilentProgress())
    assert result.bundle == summary.digest == digest_of((out / layout.BUNDLE_ROOT).read_bytes())


def test_chunks_of_large_blobs_are_pinned(tmp_path: Path) -> None:
    content = b"0123456789abcdef" * 2**18 * 2 + b"the rest"
    (tmp_path / "large").write_bytes(content)
    origin = Download(url=(tmp_path / "large").as_uri())
    lock = make_lock(tmp_path / "source")
    lock = lock.replace(entries=(*lock.entries, entry("large", content, origin)))
    out = tmp_path / "out"
    summary = build(lock, out, workshop(tmp_path / "cache"))
    written = (out / layout.BUNDLE_CHUNKS).read_bytes()
    (blob,) = Chunks.model_validate_json(written).blobs
    assert blob.sha256 == digest_of(content)
    pieces = [content[start : start + CHUNK] for start in range(0, len(content), CHUNK)]
    assert blob.chunks == tuple(digest_of(piece) for piece in pieces)
    root = json.loads((out / layout.BUNDLE_ROOT).read_bytes())
    pins = {each["path"]: each["sha256"] for each in root["documents"]}
    assert pins[layout.BUNDLE_CHUNKS] == digest_of(written)
    before = (out / layout.BUNDLE_ROOT).stat().st_ino
    assert build(lock, out, workshop(tmp_path / "cache")) == summary
    assert (out / layout.BUNDLE_ROOT).stat().st_ino == before, "an equal bundle is left alone"


def test_order_of_a_locks_entries_does_not_matter_for_the_manifest(tmp_path: Path) -> None:
    lock = make_lock(tmp_path / "source")
    turned = lock.replace(entries=tuple(reversed(lock.entries)))
    assert make_manifest(turned).artifacts == make_manifest(lock).artifacts


def test_another_bundle_is_only_replaced_on_demand(tmp_path: Path) -> None:
    out, shop = tmp_path / "out", workshop(tmp_path / "cache")
    lock = make_lock(tmp_path / "source")
    build(lock, out, shop)
    before = (out / layout.BUNDLE_ROOT).stat().st_mtime_ns
    build(lock, out, shop)
    assert (out / layout.BUNDLE_ROOT).stat().st_mtime_ns == before, "it was this bundle already"
    other = lock.replace(release="test-2026.12.0")
    with pytest.raises(BundleError, match="another bundle") as caught:
        build(other, out, shop)
    assert "--force" in caught.value.hint
    assert build(other, out, shop, force=True).release == "test-2026.12.0"


@pytest.mark.parametrize("force", [False, True])
def test_a_folder_of_something_else_is_never_replaced(force: bool, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "precious").write_text("x")
    with pytest.raises(BundleError, match="not a bundle"):
        build(make_lock(tmp_path / "s"), out, workshop(tmp_path / "cache"), force=force)
    assert (out / "precious").read_text() == "x"


def test_a_damaged_cache_file_never_gets_into_a_bundle(tmp_path: Path) -> None:
    lock, shop = make_lock(tmp_path / "source"), workshop(tmp_path / "cache")
    build(lock, tmp_path / "one", shop)
    damaged = shop.cache.path(digest_of(b"inner"))
    damaged.unlink()
    damaged.write_bytes(b"wrong")
    with pytest.raises(BundleError, match="was damaged") as caught:
        build(lock, tmp_path / "two", shop)
    assert caught.value.code == "BAS-3037"
    assert not (tmp_path / "two").exists()
    assert [p.name for p in tmp_path.iterdir() if "partial" in p.name] == []
    build(lock, tmp_path / "two", shop)
    assert tree(tmp_path / "one") == tree(tmp_path / "two")


def test_a_source_that_changed_since_the_lock_is_refused(tmp_path: Path) -> None:
    lock = make_lock(tmp_path / "source")
    (tmp_path / "source/plain").write_bytes(b"other" * 1000)
    with pytest.raises(BundleError, match="not the pinned file"):
        build(lock, tmp_path / "out", workshop(tmp_path / "cache"))
    assert not (tmp_path / "out").exists()


def test_a_lock_that_lies_about_inline_text_is_refused(tmp_path: Path) -> None:
    lock = Lock(
        release="test-2026.11.0",
        target="debian12-x86_64",
        entries=(entry("text", b"one", Inline(text="two")),),
    )
    with pytest.raises(BundleError, match="another file than the lock pins"):
        build(lock, tmp_path / "out", workshop(tmp_path / "cache"))


@pytest.mark.parametrize("text", ["", "[]", '{"format": "bastide.lock/9"}', "\xff"])
def test_an_unreadable_lock(text: str, tmp_path: Path) -> None:
    path = tmp_path / "x.lock.json"
    path.write_text(text, encoding="latin-1")
    with pytest.raises(BundleError, match="not a readable lock"):
        load_lock(path)


def test_credentials_do_not_get_into_a_lock() -> None:
    url = "https://user:secret@mirror.internal:8443/simple/x.whl?a=b"
    assert public_url(url) == "https://mirror.internal:8443/simple/x.whl?a=b"


def test_commands_build_list_and_verify(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BASTIDE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("BASTIDE_HOME", str(tmp_path / "home"))
    save_lock(make_lock(tmp_path / "source"), tmp_path / "lock.json")
    out = str(tmp_path / "out")
    run = CliRunner()
    built = run.invoke(
        main, ["bundle", "build", "--lock", str(tmp_path / "lock.json"), "--out", out, "--json"]
    )
    assert built.exit_code == 0, built.output
    digest = json.loads(built.stdout)["result"]["digest"]
    listed = run.invoke(main, ["bundle", "inspect", out, "--json"])
    groups = json.loads(listed.stdout)["result"]["contents"]["groups"]
    names = {each["artifact"]["name"] for group in groups for each in group["items"]}
    assert names == {"inner", "plain", "text", "same-bytes"}
    unsigned = run.invoke(main, ["bundle", "verify", out])
    assert unsigned.exit_code == 4
    verify = ["bundle", "verify", out, "--expect-digest", digest, "--json"]
    checked = run.invoke(main, verify)
    assert json.loads(checked.stdout)["result"]["bundle"] == digest
    blob = Path(out) / layout.blob_path(digest_of(b"inner"))
    blob.unlink()
    blob.write_bytes(b"innet")
    bad = run.invoke(main, verify)
    assert bad.exit_code == 3
    assert digest_of(b"inner") in json.loads(bad.stdout)["error"]["problems"][0]["where"]


@pytest.mark.parametrize(
    "arguments",
    [
        ["build", "--out", "x"],
        ["build", "--out", "x", "--release", "starter"],
        ["build", "--out", "x", "--lock", "LOCK", "--release", "starter"],
        ["lock", "--out", "x", "--release", "starter"],
        ["build", "--out", "x", "--release", "starter", "--target", "debian99"],
    ],
)
def test_usage_mistakes_end_with_exit_code_2(arguments: list[str], tmp_path: Path) -> None:
    lock = tmp_path / "lock.json"
    save_lock(make_lock(tmp_path / "source"), lock)
    named = [str(lock) if argument == "LOCK" else argument for argument in arguments]
    result = CliRunner().invoke(main, ["bundle", *named, "--json"])
    assert result.exit_code == 2, result.output
    assert json.loads(result.stdout)["error"]["hint"]


def _bootstrap(bundle: Path, folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(bundle / layout.BUNDLE_BOOTSTRAP), str(folder), *options],
        check=False,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
    )


def test_bootstrap_refuses_what_is_not_right(tmp_path: Path) -> None:
    out = tmp_path / "out"
    summary = build(make_lock(tmp_path / "source"), out, workshop(tmp_path / "cache"))
    venv = tmp_path / "venv"
    other = _bootstrap(out, venv, "--expect", "a" * 64)
    assert (other.returncode, "bundle.json is damaged" in other.stderr) == (1, True)
    assert "give --root FINGERPRINT" in _bootstrap(out, venv).stderr
    no_uv = _bootstrap(out, venv, "--expect", summary.digest)
    assert "carries no uv" in no_uv.stderr
    manifest = out / layout.BUNDLE_MANIFEST
    manifest.write_bytes(manifest.read_bytes().replace(b"plain", b"plaim"))
    damaged = _bootstrap(out, venv, "--expect", summary.digest)
    assert "manifest.json is damaged" in damaged.stderr
    assert not venv.exists()
    venv.mkdir()
    assert "must not be there yet" in _bootstrap(out, venv, "--expect", summary.digest).stderr


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    blocked = tmp_path / "blocked"
    blocked.write_text("a file, not a folder")
    with pytest.raises(BundleError, match="cannot be written") as caught:
        build(make_lock(tmp_path / "s"), blocked / "out", workshop(tmp_path / "cache"))
    assert caught.value.code == "BAS-3038"


def _wheel(folder: Path, name: str, files: dict[str, bytes]) -> LockEntry:
    wheel = WheelName(name, "1.0", "py3-none-any")
    path = folder / wheel.filename
    metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n".encode()
    write_wheel(path, wheel, files, metadata=metadata)
    made = entry(name, path.read_bytes(), Download(url=path.as_uri()), ArtifactKind.WHEEL)
    artifact = made.artifact.replace(filename=path.name, components=(Component.CONTROL,))
    return made.replace(artifact=artifact)


def test_bootstrap_installs_without_pip_or_network(tmp_path: Path) -> None:
    """With the real uv and a small stand-in for Bastide, which is what is not under test."""
    points = b"[console_scripts]\nbastide = bastide_small:main\n"
    module = b"def main():\n    print('hello')\n"
    files = {"bastide_small.py": module, "bastide-1.0.dist-info/entry_points.txt": points}
    program = Path(uv_program()).read_bytes()
    entries = (
        _wheel(tmp_path, "bastide", files),
        _wheel(tmp_path, "uv", {"uv-1.0.data/scripts/uv": program}),
    )
    lock = Lock(release="test-2026.11.0", target="debian12-x86_64", entries=entries)
    out, venv = tmp_path / "out", tmp_path / "venv"
    summary = build(lock, out, workshop(tmp_path / "cache"))
    done = _bootstrap(out, venv, "--expect", summary.digest)
    assert done.returncode == 0, done.stderr
    assert summary.digest in done.stdout
    said = subprocess.run([venv / "bin/bastide"], check=True, capture_output=True, text=True)
    assert said.stdout == "hello\n"
    blob = out / layout.blob_path(entries[0].artifact.sha256)
    blob.unlink()
    refused = _bootstrap(out, tmp_path / "second", "--expect", summary.digest)
    assert refused.returncode == 1
    assert "No such file" in refused.stderr
    assert "do not use this bundle" in refused.stderr
    assert not (tmp_path / "second").exists()
