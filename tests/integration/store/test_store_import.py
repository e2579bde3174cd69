from __future__ import annotations

import json
import os
import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from bastide.cli.main import main
from bastide.errors import BundleError, ConfigError, LockedError, TrustError
from bastide.progress import SilentProgress
from bastide.schema.artifact import ArtifactKind
from bastide.store import Store
from bastide.store.importer import check_bundle, import_bundle
from bastide.trust.verifier import DigestOnly

pytestmark = pytest.mark.integration


def test_a_bundle_arrives_whole(make_bundle: Any, run_import: Any, store: Store) -> None:
    built = make_bundle()
    before = built.fingerprint()
    result = run_import(built.folder)
    run_import.assert_holds(built)
    assert built.fingerprint() == before
    assert result.bundle == built.root.digest()
    assert result.bytes_copied == built.root.blob_bytes
    assert (result.bytes_continued, result.bytes_present) == (0, 0)
    assert not result.trust.signed
    assert sum(kind.artifacts for kind in result.kinds) == len(built.manifest.artifacts)
    stored = store.latest()
    assert stored.digest == result.bundle
    assert stored.manifest == built.manifest
    assert (stored.folder / "lock.json").read_bytes() == (built.folder / "lock.json").read_bytes()
    content = (built.blob("release.yaml")).read_bytes()
    assert store.read_catalogue(stored.manifest, "release.yaml") == content


def test_blobs_are_read_only_in_the_store(make_bundle: Any, run_import: Any, store: Store) -> None:
    built = make_bundle()
    run_import(built.folder)
    for each in built.manifest.artifacts:
        assert stat.S_IMODE(store.blob(each.sha256).stat().st_mode) == 0o444


def test_second_import_copies_nothing(make_bundle: Any, run_import: Any) -> None:
    built = make_bundle()
    run_import(built.folder)
    again = run_import(built.folder)
    assert again.bytes_copied == 0
    assert again.bytes_present == built.root.blob_bytes
    run_import.assert_holds(built)


def test_two_bundles_share_blobs(make_bundle: Any, run_import: Any, store: Store) -> None:
    contents = make_bundle.generated()
    first = make_bundle(contents)
    contents["server.py"] = (ArtifactKind.SOURCE, b"# a new server\n")
    second = make_bundle(contents, release="starter-2026.12.0")
    run_import(first.folder)
    assert run_import(second.folder).bytes_copied == len(b"# a new server\n")
    run_import.assert_holds(first)
    run_import.assert_holds(second)
    assert store.latest().digest == second.root.digest()
    assert store.latest(release="starter-2026.11.0").digest == first.root.digest()
    with pytest.raises(BundleError, match=r"holds no bundle of starter-2026\.11\.0 for arm"):
        store.latest("starter-2026.11.0", "arm")


def test_newest_is_by_order_of_import_not_by_clock(make_bundle: Any, store: Store) -> None:
    first, second = make_bundle(), make_bundle(release="starter-2026.12.0")
    for days, built in ((0, first), (-20_000, second)):  # the clock fell back to 1972
        import_bundle(
            built.folder,
            store,
            verifier=DigestOnly(),
            progress=SilentProgress(),
            now=datetime(2026, 11, 22, tzinfo=UTC) + timedelta(days=days),
        )
    assert [bundle.digest for bundle in store.bundles()] == [
        first.root.digest(),
        second.root.digest(),
    ]
    assert store.latest().digest == second.root.digest()


def test_check_reads_every_byte_and_writes_nothing(make_bundle: Any, tmp_path: Path) -> None:
    built = make_bundle()
    before = sorted(tmp_path.rglob("*"))
    result = check_bundle(built.folder, verifier=DigestOnly(), progress=SilentProgress())
    assert result.bundle == built.root.digest()
    assert result.bytes_read >= built.root.blob_bytes
    assert sorted(tmp_path.rglob("*")) == before


def test_expected_digest_decides(make_bundle: Any, run_import: Any, store: Store) -> None:
    built = make_bundle()
    with pytest.raises(TrustError, match="not the bundle that you expect") as caught:
        run_import(built.folder, expect="0" * 64)
    assert caught.value.code == "BAS-4001"
    assert store.bundles() == ()
    result = run_import(built.folder, expect=built.root.digest())
    assert "the one you gave" in result.trust.statement


def test_damage_in_the_store_is_found_and_repaired_on_recheck(
    make_bundle: Any, run_import: Any, store: Store
) -> None:
    built = make_bundle()
    run_import(built.folder)
    victim = store.blob(built.blob("engine.whl").name)
    os.chmod(victim, 0o644)  # noqa: PTH101
    content = bytearray(victim.read_bytes())
    content[1000] ^= 1
    victim.write_bytes(content)
    assert run_import(built.folder).bytes_copied == 0  # trusted by size
    assert run_import(built.folder, recheck=True).bytes_copied == len(content)
    run_import.assert_holds(built)


@pytest.mark.parametrize("change", ["shorter", "gone", "folder"])
def test_blob_of_the_wrong_size_in_the_store_is_replaced(
    make_bundle: Any, run_import: Any, store: Store, change: str
) -> None:
    built = make_bundle()
    run_import(built.folder)
    victim = store.blob(built.blob("engine.whl").name)
    victim.unlink()
    if change == "shorter":
        victim.write_bytes(b"short")
    if change == "folder":
        victim.mkdir()
        with pytest.raises(BundleError, match="cannot be written") as caught:
            run_import(built.folder)
        assert caught.value.code == "BAS-3106"
        victim.rmdir()
    run_import(built.folder)
    run_import.assert_holds(built)


def test_damaged_record_is_named_and_repaired(
    make_bundle: Any, run_import: Any, store: Store
) -> None:
    built = make_bundle()
    run_import(built.folder)
    manifest = store.latest().folder / "manifest.json"
    manifest.write_bytes(manifest.read_bytes().replace(b"engine", b"engina"))
    with pytest.raises(BundleError, match=r"copy of manifest\.json is damaged") as caught:
        store.latest()
    assert caught.value.code == "BAS-3107"
    run_import(built.folder)
    run_import.assert_holds(built)


def test_a_second_import_at_the_same_time_is_refused(
    make_bundle: Any, run_import: Any, store: Store
) -> None:
    built = make_bundle()
    with store.lock("another import"), pytest.raises(LockedError, match="another import"):
        run_import(built.folder)
    run_import(built.folder)


def test_empty_store_says_what_to_do(store: Store) -> None:
    assert store.bundles() == ()
    with pytest.raises(BundleError, match="holds no bundle") as caught:
        store.latest()
    assert "bastide import" in caught.value.hint
    assert not store.root.exists()


def test_catalogue_file_that_is_not_there_or_not_right(
    make_bundle: Any, run_import: Any, store: Store
) -> None:
    built = make_bundle()
    run_import(built.folder)
    manifest = store.latest().manifest
    with pytest.raises(BundleError, match=r"no catalogue file other\.yaml"):
        store.read_catalogue(manifest, "other.yaml")
    blob = store.blob(built.blob("release.yaml").name)
    os.chmod(blob, 0o644)  # noqa: PTH101
    blob.write_bytes(b"x" * blob.stat().st_size)
    with pytest.raises(BundleError, match=r"release\.yaml is damaged"):
        store.read_catalogue(manifest, "release.yaml")
    blob.unlink()
    with pytest.raises(BundleError, match=r"lost release\.yaml"):
        store.read_catalogue(manifest, "release.yaml")


def test_command_prints_a_result_and_json(
    make_bundle: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BASTIDE_HOME", str(tmp_path / "home"))
    built = make_bundle()
    digest = built.root.digest()
    said = CliRunner().invoke(main, ["import", str(built.folder), "--expect-digest", digest])
    assert said.exit_code == 0, said.output
    assert digest in said.stdout
    assert "no signature was checked" in said.stdout
    arguments = ["import", str(built.folder), "--expect-digest", digest, "--json"]
    said = CliRunner().invoke(main, arguments)
    envelope = json.loads(said.stdout)
    assert envelope["ok"]
    assert envelope["result"]["bundle"] == digest
    assert envelope["result"]["bytes_present"] == built.root.blob_bytes


@pytest.mark.parametrize(
    ("arguments", "code", "exit_code"),
    [(["--expect-digest", "0" * 64], "BAS-4001", 4), (["--expect-digest", "zz"], "BAS-2005", 2)],
)
def test_command_fails_with_code_and_exit_code(
    make_bundle: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    code: str,
    exit_code: int,
) -> None:
    monkeypatch.setenv("BASTIDE_HOME", str(tmp_path / "home"))
    said = CliRunner().invoke(main, ["import", str(make_bundle().folder), *arguments])
    assert said.exit_code == exit_code
    assert code in said.stderr
    assert ConfigError.exit_code == 2
