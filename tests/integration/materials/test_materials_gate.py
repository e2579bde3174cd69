"""The licence gate where it stands: before a fetch, before a build, before an import."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest
from click.testing import CliRunner

from bastide import resources
from bastide.bundle.build import build
from bastide.bundle.workshop import Workshop
from bastide.cli.main import main
from bastide.errors import BundleError, TrustError
from bastide.layout import Home
from bastide.progress import SilentProgress
from bastide.schema.artifact import Artifact, ArtifactKind, Component
from bastide.schema.lock import Inline, Lock, LockEntry
from bastide.sources.cache import Cache
from bastide.sources.fetch import Fetcher
from bastide.trust.acceptance import record_acceptance
from bastide.trust.licences import LicenceGate, load_policy

pytestmark = pytest.mark.integration
GEMMA = "gemma-3-270m-q4_k_m"


def text_entry(name: str, filename: str, text: str, licence: str, kind: ArtifactKind) -> LockEntry:
    content = text.encode()
    artifact = Artifact(
        name=name,
        kind=kind,
        version="1",
        filename=filename,
        size=len(content),
        sha256=hashlib.sha256(content).hexdigest(),
        platform="any",
        licence=licence,
        licence_from="made by a test",
        components=(Component.CONTROL,),
        source="made by a test",
    )
    return LockEntry(artifact=artifact, origin=Inline(text=text))


def lock_of(*entries: LockEntry) -> Lock:
    target = (resources.catalogue() / "targets" / "debian12-x86_64.yaml").read_text()
    fixed = text_entry("target", "target.yaml", target, "Apache-2.0", ArtifactKind.CATALOGUE)
    ordered = sorted((*entries, fixed), key=lambda e: (e.artifact.kind, e.artifact.name))
    return Lock(release="demo-2026.11.0", target="debian12-x86_64", entries=tuple(ordered))


def workshop(place: Path, gate: LicenceGate | None = None) -> Workshop:
    return Workshop(Fetcher(Cache(place / "cache")), SilentProgress(), gate)


def script(licence: str = "MIT", text: str = "print('hello')\n") -> LockEntry:
    return text_entry("script", "script.py", text, licence, ArtifactKind.SOURCE)


def files(folder: Path) -> dict[str, bytes]:
    return {
        str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()
    }


def test_gemma_is_refused_before_anything_is_fetched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BASTIDE_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("BASTIDE_CACHE", str(tmp_path / "cache"))
    said = CliRunner().invoke(
        main,
        [
            *("bundle", "build", "--release", "starter_gemma"),
            *("--target", "debian12-x86_64", "--out", str(tmp_path / "out"), "--json"),
        ],
    )
    assert said.exit_code == 4, said.output
    error = json.loads(said.stdout)["error"]
    assert error["code"] == "BAS-4053"
    assert GEMMA in error["problems"][0]["where"]
    assert not (tmp_path / "out").exists()
    fetched = list((tmp_path / "cache").rglob("*")) if (tmp_path / "cache").exists() else []
    assert [path for path in fetched if path.is_file()] == []


def test_a_build_is_refused_and_then_accepted(tmp_path: Path) -> None:
    lock, out = lock_of(script("Gemma")), tmp_path / "out"
    with pytest.raises(TrustError) as caught:
        build(lock, out, workshop(tmp_path, LicenceGate(load_policy())))
    assert caught.value.code == "BAS-4053"
    assert not out.exists()
    record = Home(tmp_path).acceptances
    accepted = record_acceptance(
        record, licence="Gemma", terms_sha256=None, by="me", reason="test",
        now=datetime(2026, 11, 22, tzinfo=UTC),
    )  # fmt: skip
    build(lock, out, workshop(tmp_path, LicenceGate(load_policy(), (accepted,))))
    assert b"licence: Gemma" in (out / "NOTICES.txt").read_bytes()


def test_an_import_has_its_own_gate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BASTIDE_HOME", str(tmp_path / "home"))
    out = tmp_path / "out"
    summary = build(lock_of(script("Gemma")), out, workshop(tmp_path))
    arguments = ["import", str(out), "--expect-digest", summary.digest]
    refused = CliRunner().invoke(main, arguments)
    assert refused.exit_code == 4
    assert "BAS-4053" in refused.stderr
    assert not list((tmp_path / "home" / "store" / "sha256").rglob("*"))
    policy = tmp_path / "policy.yaml"
    policy.write_text(
        "name: ours\nrules:\n  - {licences: [any], decision: allow, because: a test site}\n"
    )
    taken = CliRunner().invoke(main, [*arguments, "--licence-policy", str(policy)])
    assert taken.exit_code == 0, taken.output


def test_a_lying_wheel_stops_the_build(tmp_path: Path) -> None:
    wheel = text_entry("x", "x-1-py3-none-any.whl", "no zip", "MIT", ArtifactKind.WHEEL)
    with pytest.raises(BundleError) as caught:
        build(lock_of(wheel), tmp_path / "out", workshop(tmp_path))
    assert caught.value.code == "BAS-3070"
    assert [problem.code for problem in caught.value.problems] == ["BAS-3161"]
    assert not (tmp_path / "out").exists()


def test_inspect_and_diff_by_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BASTIDE_HOME", str(tmp_path / "home"))
    one, other = tmp_path / "one", tmp_path / "other"
    build(lock_of(script()), one, workshop(tmp_path))
    build(lock_of(script("ISC", "print('more')\n")), other, workshop(tmp_path))
    page = tmp_path / "page.html"
    said = CliRunner().invoke(main, ["bundle", "inspect", str(one), "--html", str(page)])
    assert said.exit_code == 0, said.output
    assert "script" in said.stdout
    assert "not trusted" in said.stdout
    assert "<title>demo-2026.11.0" in page.read_text()
    said = CliRunner().invoke(main, ["bundle", "diff", str(one), str(other), "--json"])
    result = json.loads(said.stdout)["result"]
    assert [d["change"] for d in result["differences"]] == ["rebuilt"]
    assert result["new_licences"] == ["ISC"]
    assert result["to_carry"] == len("print('more')\n")
    shown = CliRunner().invoke(main, ["bundle", "diff", str(one), str(other)])
    assert "MIT → ISC" in shown.stdout


BUILD = """
import os, sys
from pathlib import Path
os.umask(int(sys.argv[3], 8))
from bastide.bundle.build import build
from bastide.bundle.lock import load_lock
from bastide.bundle.workshop import Workshop
from bastide.progress import SilentProgress
from bastide.sources.cache import Cache
from bastide.sources.fetch import Fetcher
place = Path(sys.argv[2])
shop = Workshop(Fetcher(Cache(place / "cache")), SilentProgress())
print(build(load_lock(Path(sys.argv[1])), place / "bundle", shop).digest)
"""


def test_one_lock_gives_the_same_bytes_anywhere(tmp_path: Path) -> None:
    lock = lock_of(script(), text_entry("ä", "a.txt", "ß\n", "MIT", ArtifactKind.BINARY))
    path = tmp_path / "lock.json"
    path.write_text(json.dumps(lock.model_dump(mode="json")))
    settings = [
        ("022", "UTC", "C.UTF-8", "0", "a"),
        ("077", "Asia/Kathmandu", "POSIX", "12345", "a longer/path with spaces"),
    ]
    built = []
    for umask, zone, language, seed, folder in settings:
        place = tmp_path / folder
        place.mkdir(parents=True)
        environment = {**os.environ, "TZ": zone, "LC_ALL": language, "PYTHONHASHSEED": seed}
        done = subprocess.run(
            [sys.executable, "-c", BUILD, path, place, umask],
            env=environment, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        built.append((done.stdout, files(place / "bundle")))
    assert built[0] == built[1]
    assert {"sbom.cdx.json", "NOTICES.txt", "chunks.json"} <= set(built[0][1])
