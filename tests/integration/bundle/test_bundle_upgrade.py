"""What a bundle tells the isolated side for an upgrade: built, imported and read back."""

from __future__ import annotations

import hashlib
import shutil
from datetime import UTC, datetime
from pathlib import Path

import pytest

from bastide import resources
from bastide.bundle.build import build
from bastide.bundle.catalogue import Catalogue
from bastide.bundle.lock import upgrade_entries
from bastide.bundle.workshop import Workshop
from bastide.cli.context import read_road
from bastide.errors import BundleError, ConfigError
from bastide.evaluation.suites import load_suite, read_suite
from bastide.layout import blob_path
from bastide.plan.path import solve
from bastide.progress import SilentProgress
from bastide.schema.artifact import ArtifactKind
from bastide.schema.lock import Inline, Lock, LockEntry
from bastide.sources.cache import Cache
from bastide.sources.fetch import Fetcher
from bastide.store.importer import import_bundle
from bastide.store.local import Store
from bastide.trust.verifier import DigestOnly

pytestmark = pytest.mark.integration

SHIPPED = Catalogue(resources.catalogue())
A, B, C = "starter-2026.11.0", "starter-2026.12.0", "starter_f16-2026.12.0"
TARGET = "debian12-x86_64"


def lock_of(name: str, catalogue: Catalogue = SHIPPED) -> Lock:
    """Return the catalogue's part of a release's lock: what needs no registry."""
    entry = catalogue.release(name)
    entries = upgrade_entries(catalogue, entry.value)
    like = entries[0] if entries else upgrade_entries(SHIPPED, SHIPPED.release(B).value)[0]
    content = entry.text.encode()
    own = like.artifact.replace(
        name="release", filename="release.yaml", size=len(content), sha256=_sha(content)
    )
    entries.append(LockEntry(artifact=own, origin=Inline(text=entry.text)))
    entries.sort(key=lambda e: (e.artifact.kind, e.artifact.name))
    return Lock(release=name, target=TARGET, entries=tuple(entries))


def _sha(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def bring(store: Store, lock: Lock, place: Path) -> Path:
    out = place / f"{lock.release}-{lock.digest()[:8]}"
    workshop = Workshop(Fetcher(Cache(place / "cache")), SilentProgress())
    summary = build(lock, out, workshop)
    import_bundle(
        out,
        store=store,
        verifier=DigestOnly(summary.digest),
        progress=SilentProgress(),
        now=datetime(2026, 12, 1, tzinfo=UTC),
    )
    return out


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


def test_a_bundle_carries_the_ways_that_lead_to_it() -> None:
    names = [e.artifact.name for e in lock_of(C).entries]
    assert [n for n in names if n.startswith("release-")] == [f"release-{A}", f"release-{B}"]
    assert lock_of(C) == lock_of(C), "equal locks give equal bundles"
    assert [e.artifact.name for e in lock_of(A).entries] == ["release"]


def test_one_bundle_is_enough_to_know_the_way(store: Store, tmp_path: Path) -> None:
    bring(store, lock_of(C), tmp_path)
    road = read_road(store, TARGET)
    assert (set(road.known), set(road.imported)) == ({A, B, C}, {C})
    with pytest.raises(Exception, match="cannot be reached in one apply") as caught:
        solve(C, [A], road)
    hint = getattr(caught.value, "hint", "")
    assert hint.startswith(f"apply {B} (imported: no) first, then {C} (imported: yes)")
    bring(store, lock_of(B), tmp_path)
    assert set(read_road(store, TARGET).imported) == {B, C}
    assert set(read_road(store, "other").imported) == set()
    assert set(read_road(store, "other").known) == {A, B, C}, "manifests are of no platform"


def test_the_gates_questions_are_the_catalogues(store: Store, tmp_path: Path) -> None:
    bring(store, lock_of(B), tmp_path)
    (bundle,) = store.bundles()
    assert read_suite(store, bundle, "handbook") == load_suite(
        resources.catalogue() / "suites/handbook.yaml"
    )
    with pytest.raises(BundleError, match=r"carries no catalogue file suite-other\.yaml"):
        read_suite(store, bundle, "other")


def test_a_damaged_corpus_is_refused(store: Store, tmp_path: Path) -> None:
    bring(store, lock_of(B), tmp_path)
    (bundle,) = store.bundles()
    files = {a.name: a for a in bundle.manifest.of_kind(ArtifactKind.CATALOGUE)}
    blob = store.root / blob_path(files["suite-handbook-corpus"].sha256)
    blob.chmod(0o644)
    blob.write_bytes(blob.read_bytes()[:-10])
    with pytest.raises(BundleError, match="damaged"):
        read_suite(store, bundle, "handbook")


def test_a_suite_of_ones_own_catalogue(store: Store, tmp_path: Path) -> None:
    own = Catalogue(Path(shutil.copytree(SHIPPED.root, tmp_path / "own")))
    suite = own.root / "suites/handbook.yaml"
    shutil.copy(resources.verification_suite() / "corpus/handbook.jsonl", suite.parent / "c.jsonl")
    text = suite.read_text().replace("../../tests/verification/corpus/handbook.jsonl", "c.jsonl")
    suite.write_text(text)  # the corpus is beside it; the questions are only beside ours
    bring(store, lock_of(B, own), tmp_path)
    (bundle,) = store.bundles()
    assert len(read_suite(store, bundle, "handbook").searches) == 20
    suite.write_text(text.replace("[HB-401]", "[HB-999]"))
    with pytest.raises(ConfigError, match="1 mistakes") as caught:
        lock_of(B, own)
    assert "HB-999" in caught.value.problems[0].what


def test_a_release_that_another_version_wrote_is_only_not_known(
    store: Store, tmp_path: Path
) -> None:
    old = lock_of(A)
    text = old.entries[0].origin.text.replace("summary: Bastide", "sumary: Bastide")  # type: ignore[union-attr]
    content = text.encode()
    entry = old.entries[0]
    artifact = entry.artifact.replace(size=len(content), sha256=_sha(content))
    bring(
        store,
        old.replace(entries=(LockEntry(artifact=artifact, origin=Inline(text=text)),)),
        tmp_path,
    )
    assert read_road(store, TARGET).known == {}
