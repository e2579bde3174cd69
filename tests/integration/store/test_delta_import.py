"""Deltas of real bundles: made by a receipt, imported into a store that has the older bundle."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from bastide.bundle.delta import plan_delta, write_delta
from bastide.bundle.since import Held, hold, remember_bundle
from bastide.errors import BundleError, TrustError
from bastide.layout import DELTA, patch_path
from bastide.progress import SilentProgress
from bastide.schema.artifact import ArtifactKind
from bastide.schema.delta import Delta
from bastide.schema.receipt import Receipt, Statement
from bastide.store import Store
from bastide.store.delta import require_full
from bastide.store.importer import check_bundle
from bastide.store.opening import open_bundle
from bastide.store.receipt import receipt_key, sign_compact, sign_receipt, state_holdings
from bastide.trust.verifier import DigestOnly

pytestmark = pytest.mark.integration
QUIET = SilentProgress()


@dataclass
class World:
    """A site that has the old bundle, a builder that knows it, and the new bundle."""

    old: Any
    new: Any
    store: Store
    run_import: Any
    place: Path

    @property
    def weights(self) -> str:
        found = (a.sha256 for a in self.new.manifest.artifacts if a.filename == "weights.bin")
        return str(next(found))

    @property
    def old_weights(self) -> Path:
        found = (a.sha256 for a in self.old.manifest.artifacts if a.filename == "weights.bin")
        return self.store.blob(next(found))

    def receipt(self) -> Receipt:
        return sign_receipt(self._statement(), receipt_key(self.place / "key.pem"))

    def _statement(self) -> Statement:
        blank = Statement(
            site="north",
            issued_at=datetime(1970, 1, 2, tzinfo=UTC),
            imports=0,
            bundles=(),
            blobs=(),
        )
        return state_holdings(self.store, blank)

    def held(self, *, compact: bool = False) -> Held:
        cache = self.place / "cache"
        receipt = self.receipt()
        if compact:
            small = sign_compact(self._statement(), receipt_key(self.place / "key.pem"))
            return hold(small, cache, (self.old.folder,))
        return hold(receipt, cache, (self.old.folder,))

    def delta(self, held: Held | None = None) -> Path:
        out = self.place / "delta"
        bundle = open_bundle(self.new.folder, DigestOnly())
        work = self.place / "work"
        work.mkdir()
        plan = plan_delta(bundle, held or self.held(), work, QUIET)
        write_delta(plan, out, QUIET)
        size = sum(path.stat().st_size for path in out.rglob("*") if path.is_file())
        assert plan.size == size, "the size is known before anything is written"
        assert size <= 1.02 * plan.full_size + 500, "500 bytes of delta.json, in so small a bundle"
        return out


@pytest.fixture
def world(make_bundle: Any, run_import: Any, store: Store, tmp_path: Path) -> World:
    contents = make_bundle.generated()
    old = make_bundle(contents)
    run_import(old.folder)
    weights = bytearray(contents["weights.bin"][1])
    weights[5_000_000:5_000_100] = b"a corrected template, a little longer than the earlier one" * 3
    changed = {
        **contents,
        "weights.bin": (ArtifactKind.BINARY, bytes(weights)),
        "server.py": (ArtifactKind.SOURCE, b"print('new')\n"),
    }
    new = make_bundle(changed, release="starter-2026.12.0")
    return World(old, new, store, run_import, tmp_path)


def test_only_what_changed_travels_and_the_rest_is_rebuilt(world: World) -> None:
    folder = world.delta()
    delta = Delta.model_validate_json((folder / DELTA).read_bytes())
    assert [each.blob.sha256 for each in delta.rebuilt] == [world.weights]
    assert (folder / patch_path(world.weights)).stat().st_size < 500
    assert len(delta.carried) == 1, "the small script, whole; nothing else"
    result = world.run_import(folder)
    world.run_import.assert_holds(world.new)
    assert result.bundle == world.new.root.digest(), "a delta yields the bundle itself"
    assert result.bytes_rebuilt == world.new.blob("weights.bin").stat().st_size
    assert result.bytes_copied == len(b"print('new')\n")
    assert result.bytes_present == 300_000 + 70_001 + 400


def test_a_second_import_of_a_delta_needs_nothing_of_it(world: World) -> None:
    folder = world.delta()
    world.run_import(folder)
    again = world.run_import(folder, recheck=True)
    assert (again.bytes_rebuilt, again.bytes_copied) == (0, 0)


def test_a_delta_can_be_checked_where_it_lies(world: World) -> None:
    folder = world.delta()
    result = check_bundle(folder, verifier=DigestOnly(), progress=QUIET)
    assert result.bundle == world.new.root.digest()
    assert result.bytes_read < 20_000


def test_compact_receipt_serves_as_well_where_the_bundle_is_known(world: World) -> None:
    world.run_import(world.delta(world.held(compact=True)))
    world.run_import.assert_holds(world.new)


def test_compact_receipt_of_unknown_bundles_is_refused(world: World) -> None:
    key = receipt_key(world.place / "key.pem")
    with pytest.raises(BundleError) as caught:
        hold(sign_compact(world.receipt().statement, key), world.place / "empty")
    assert caught.value.code == "BAS-3061"


def test_builder_remembers_what_it_built(world: World) -> None:
    cache = world.place / "cache"
    remember_bundle(world.old.folder, cache)
    held = hold(world.receipt(), cache)
    assert {a.filename for a in held.names} == {a.filename for a in world.old.manifest.artifacts}


def test_without_the_old_file_at_hand_the_new_one_travels_whole(world: World) -> None:
    held = hold(world.receipt(), world.place / "cache")
    folder = world.delta(held)
    assert Delta.model_validate_json((folder / DELTA).read_bytes()).rebuilt == ()
    world.run_import(folder)
    world.run_import.assert_holds(world.new)


def test_a_damaged_old_file_at_the_builder_makes_no_patch(world: World) -> None:
    path = world.old.blob("weights.bin")
    content = bytearray(path.read_bytes())
    content[77] ^= 1
    path.write_bytes(content)
    folder = world.delta()
    assert Delta.model_validate_json((folder / DELTA).read_bytes()).rebuilt == ()


def test_a_store_that_lacks_the_base_is_told_what_to_do(world: World) -> None:
    folder = world.delta()
    world.old_weights.unlink()
    with pytest.raises(BundleError) as caught:
        world.run_import(folder)
    assert caught.value.code == "BAS-3151"
    assert any(world.old_weights.name in problem.what for problem in caught.value.problems)
    assert "receipt export" in caught.value.hint
    assert world.new.root.digest() not in {b.digest for b in world.store.bundles()}


def test_a_store_that_lacks_an_assumed_file_is_told_which(world: World) -> None:
    folder = world.delta()
    lost = next(a for a in world.new.manifest.artifacts if a.filename == "engine.whl")
    world.store.blob(lost.sha256).unlink()
    with pytest.raises(BundleError) as caught:
        world.run_import(folder)
    assert caught.value.code == "BAS-3151"
    assert [lost.sha256 in problem.where for problem in caught.value.problems] == [True]


def test_a_damaged_base_is_named(world: World) -> None:
    folder = world.delta()
    base = world.old_weights
    base.chmod(0o644)
    content = bytearray(base.read_bytes())
    content[1000] ^= 1
    base.write_bytes(content)
    with pytest.raises(BundleError) as caught:
        world.run_import(folder)
    assert caught.value.code == "BAS-3152"
    assert base.name in caught.value.problems[0].what
    assert "--recheck" in caught.value.problems[0].what
    assert not world.store.has(world.weights, world.new.blob("weights.bin").stat().st_size)
    world.run_import(world.old.folder, recheck=True)
    world.run_import(folder)
    world.run_import.assert_holds(world.new)


def _flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.unlink()
    path.write_bytes(content)


def _another(folder: Path, world: World) -> None:
    """A patch that is well-formed and makes the right number of wrong bytes."""
    path = folder / patch_path(world.weights)
    patch = bytearray(path.read_bytes())
    patch[-3] ^= 1
    path.unlink()
    path.write_bytes(patch)


ATTACKS: dict[str, tuple[Callable[[Path, World], object], set[str]]] = {
    "flipped patch": (lambda d, w: _flip(d / patch_path(w.weights)), {"BAS-3152"}),
    "other copy": (_another, {"BAS-3152"}),
    "patch cut": (lambda d, w: _cut(d / patch_path(w.weights)), {"BAS-3103"}),
    "patch gone": (lambda d, w: (d / patch_path(w.weights)).unlink(), {"BAS-3103"}),
    "stranger": (lambda d, _: (d / "delta" / "x.patch").write_bytes(b"x"), {"BAS-3103"}),
    "patch is a link": (lambda d, w: _link(d / patch_path(w.weights)), {"BAS-3103"}),
    "not JSON": (lambda d, _: _rewrite(d, b"{"), {"BAS-3150"}),
    "other bundle": (lambda d, _: _edit(d, bundle="0" * 64), {"BAS-3150"}),
    "carried unknown": (lambda d, _: _edit(d, carried=["1" * 64]), {"BAS-3150"}),
    "nothing carried": (lambda d, _: _edit(d, carried=[]), {"BAS-3103"}),
    "unknown key": (lambda d, _: _edit(d, more=1), {"BAS-3150"}),
    "no delta.json": (lambda d, _: (d / DELTA).unlink(), {"BAS-3103"}),
    "empty delta.json": (lambda d, _: _rewrite(d, b""), {"BAS-3150"}),
}


def _cut(path: Path) -> None:
    content = path.read_bytes()
    path.unlink()
    path.write_bytes(content[:-1])


def _link(path: Path) -> None:
    path.unlink()
    path.symlink_to("/etc/hostname")


def _rewrite(folder: Path, content: bytes) -> None:
    (folder / DELTA).unlink()
    (folder / DELTA).write_bytes(content)


def _edit(folder: Path, **changes: object) -> None:
    import json  # noqa: PLC0415

    plain = json.loads((folder / DELTA).read_bytes())
    _rewrite(folder, json.dumps({**plain, **changes}).encode())


@pytest.mark.parametrize("name", sorted(ATTACKS))
def test_a_changed_delta_is_refused(world: World, name: str) -> None:
    folder = world.delta()
    before = {path.name for path in (world.store.root / "sha256").rglob("*") if path.is_file()}
    change, codes = ATTACKS[name]
    change(folder, world)
    with pytest.raises((BundleError, TrustError)) as caught:
        world.run_import(folder)
    assert caught.value.code in codes
    assert world.new.root.digest() not in {b.digest for b in world.store.bundles()}
    after = {path.name for path in (world.store.root / "sha256").rglob("*") if path.is_file()}
    carried = hashlib.sha256(b"print('new')\n").hexdigest()
    assert after - before <= {carried}, "only what was verified came in"


def test_a_patch_of_another_blob_by_delta_json_is_refused(world: World) -> None:
    folder = world.delta()
    delta = Delta.model_validate_json((folder / DELTA).read_bytes())
    each = delta.rebuilt[0]
    wrong = each.replace(base=each.base.replace(size=each.base.size + 1))
    _rewrite(folder, delta.replace(rebuilt=(wrong,)).canonical())
    with pytest.raises(BundleError) as caught:
        world.run_import(folder)
    assert caught.value.code == "BAS-3151"


def test_an_interrupted_rebuild_goes_on_where_it_stopped(world: World) -> None:
    folder = world.delta()
    whole = world.new.blob("weights.bin").read_bytes()
    world.store.incoming.mkdir(exist_ok=True)
    (world.store.incoming / world.weights).write_bytes(whole[:6_000_001])
    result = world.run_import(folder)
    assert result.bytes_continued == 6_000_001
    assert result.bytes_rebuilt == len(whole) - 6_000_001
    world.run_import.assert_holds(world.new)


def test_leftovers_that_are_wrong_are_dropped_and_it_is_rebuilt_anew(world: World) -> None:
    folder = world.delta()
    world.store.incoming.mkdir(exist_ok=True)
    (world.store.incoming / world.weights).write_bytes(bytes(3_000_000))
    world.run_import(folder)
    world.run_import.assert_holds(world.new)


def test_nothing_known_of_the_site_gives_the_full_bundle(world: World) -> None:
    empty = Store(world.place / "empty-store")
    blank = Statement(
        site="new", issued_at=datetime(2026, 1, 1, tzinfo=UTC), imports=0, bundles=(), blobs=()
    )
    receipt = sign_receipt(state_holdings(empty, blank), receipt_key(world.place / "key.pem"))
    folder = world.delta(hold(receipt, world.place / "cache"))
    delta = Delta.model_validate_json((folder / DELTA).read_bytes())
    assert len(delta.carried) == world.new.root.blobs


def test_a_delta_cannot_be_split_or_made_of_a_delta(world: World) -> None:
    bundle = open_bundle(world.delta(), DigestOnly())
    with pytest.raises(BundleError) as caught:
        require_full(bundle, "`bundle split`")
    assert caught.value.code == "BAS-3153"
    require_full(open_bundle(world.new.folder, DigestOnly()), "`bundle split`")
