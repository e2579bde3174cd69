"""From receipt to recheck by the commands alone, with a real model file whose template changes."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
from click.testing import CliRunner

from bastide.bundle.lock import save_lock
from bastide.cli.main import main
from bastide.layout import blob_path, patch_path
from bastide.schema.artifact import Artifact, ArtifactKind, Component
from bastide.schema.lock import Download, Lock, LockEntry

pytestmark = pytest.mark.integration


@pytest.fixture(autouse=True)
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BASTIDE_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("BASTIDE_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)


def run(*args: str | Path) -> Any:
    result = CliRunner().invoke(main, [*(str(each) for each in args), "--json"])
    answer = json.loads(result.stdout)
    assert answer["ok"], answer["error"]
    return answer["result"]


def model(path: Path, template: str) -> Path:
    """Write a real GGUF file of 2 MB; the same weights whatever the template."""
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_chat_template(template)
    writer.add_context_length(64)
    rng = np.random.default_rng(1)
    for name in ("token_embd.weight", "output.weight"):
        writer.add_tensor(name, rng.normal(size=(256, 1024)).astype(np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def lock(out: Path, version: str, *files: Path) -> Path:
    """Write a lock of files of this machine; names do not change from one to the next."""
    entries = tuple(
        LockEntry(
            artifact=Artifact(
                name=path.stem.partition("-")[0],
                kind=ArtifactKind.BINARY,
                version=version,
                filename=path.name,
                size=path.stat().st_size,
                sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
                platform="any",
                licence="MIT",
                components=(Component.BASE,),
                source="a test",
            ),
            origin=Download(url=path.as_uri()),
        )
        for path in files
    )
    save_lock(Lock(release=f"test-{version}", target="debian12-x86_64", entries=entries), out)
    return out


def test_a_corrected_template_costs_next_to_nothing(tmp_path: Path) -> None:
    old = model(tmp_path / "chat-1.gguf", "{{ messages[0] }}")
    new = model(tmp_path / "chat-2.gguf", "{% for m in messages %}{{ m.content }}{% endfor %}")
    other = tmp_path / "embeddings-1.gguf"
    other.write_bytes(np.random.default_rng(2).bytes(500_000))
    first = lock(tmp_path / "a.json", "2026.11.0", old, other)
    second = lock(tmp_path / "b.json", "2026.11.1", new, other)

    built = run("bundle", "build", "--lock", first, "--out", "full")
    run("import", "full", "--expect-digest", built["digest"])
    receipt = run("receipt", "export", "--out", "receipt.json")
    since = ["--lock", second, "--since", "receipt.json", "--receipt-key", receipt["key"]]
    predicted = run("bundle", "build", *since, "--out", "delta", "--dry-run")
    assert not Path("delta").exists()
    delta = run("bundle", "build", *since, "--out", "delta")
    on_disk = sum(path.stat().st_size for path in Path("delta").rglob("*") if path.is_file())
    assert predicted["bytes"] == delta["bytes"] == on_disk
    assert on_disk <= 1.02 * delta["full_bytes"]

    digest = hashlib.sha256(new.read_bytes()).hexdigest()
    assert (Path("delta") / patch_path(digest)).stat().st_size <= 0.001 * new.stat().st_size
    assert (delta["carried"], delta["assumed"]) == (0, 1), "an unchanged model costs nothing"
    assert [Path("delta") / blob_path(digest)] != list(Path("delta").rglob(digest))

    result = run("import", "delta", "--expect-digest", delta["bundle"])
    assert (result["bytes_copied"], result["bytes_rebuilt"]) == (0, new.stat().st_size)
    assert result["bytes_present"] == 500_000
    store = tmp_path / "home" / "store"
    assert (store / blob_path(digest)).read_bytes() == new.read_bytes()
    run("import", "delta", "--expect-digest", delta["bundle"], "--recheck")
    assert not list(tmp_path.glob(".*full*")), "the full bundle was only scratch"


def test_a_delta_of_a_built_bundle_is_the_same(tmp_path: Path) -> None:
    old = model(tmp_path / "chat-1.gguf", "{{ messages[0] }}")
    new = model(tmp_path / "chat-2.gguf", "{{ messages[1] }}")
    built = run("bundle", "build", "--lock", lock(tmp_path / "a.json", "1.0.0", old), "--out", "a")
    run("import", "a", "--expect-digest", built["digest"])
    receipt = run("receipt", "export", "--out", "r.json", "--qr", "r.svg")
    Path("qr.txt").write_text(receipt["qr_text"])
    second = lock(tmp_path / "b.json", "1.0.1", new)
    run("bundle", "build", "--lock", second, "--out", "b")
    by_file = run("bundle", "delta", "b", "--since", "r.json", "--out", "d1")
    by_code = run("bundle", "delta", "b", "--since", "qr.txt", "--out", "d2")
    at_once = run("bundle", "build", "--lock", second, "--since", "r.json", "--out", "d3")
    patches = [
        (Path(folder) / patch_path(hashlib.sha256(new.read_bytes()).hexdigest())).read_bytes()
        for folder in ("d1", "d2", "d3")
    ]
    assert len(set(patches)) == 1, "the same patch, whichever way it is asked for"
    assert by_file["bytes"] == at_once["bytes"]
    assert by_code["bundle"] == by_file["bundle"]


def test_a_base_elsewhere_is_named_with_base(tmp_path: Path, monkeypatch: Any) -> None:
    old = model(tmp_path / "chat-1.gguf", "{{ messages[0] }}")
    new = model(tmp_path / "chat-2.gguf", "{{ messages[1] }}")
    built = run("bundle", "build", "--lock", lock(tmp_path / "a.json", "1.0.0", old), "--out", "a")
    run("import", "a", "--expect-digest", built["digest"])
    run("receipt", "export", "--out", "r.json")
    monkeypatch.setenv("BASTIDE_CACHE", str(tmp_path / "another-builder"))
    run("bundle", "build", "--lock", lock(tmp_path / "b.json", "1.0.1", new), "--out", "b")
    whole = run("bundle", "delta", "b", "--since", "r.json", "--out", "d1")
    assert (whole["carried"], whole["patches"]) == (1, []), "without the old file there is no patch"
    patched = run("bundle", "delta", "b", "--since", "r.json", "--out", "d2", "--base", "a")
    assert (patched["carried"], len(patched["patches"])) == (0, 1)
