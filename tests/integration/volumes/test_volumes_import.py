"""Bundles that cross in volumes: split, damaged, lost, and whole again."""

from __future__ import annotations

import errno
import hashlib
import os
import random
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from damaging import flip
from torture_bundles import NOW, Made, fingerprint, generated, make_bundle, split

from bastide.bundle.media import ParityWish
from bastide.errors import BundleError
from bastide.layout import VOLUME, VOLUME_FILE_SIZE
from bastide.progress import SilentProgress
from bastide.schema.chunks import CHUNK
from bastide.store import Store
from bastide.store.importer import ImportOptions
from bastide.store.results import ImportResult, Wanted
from bastide.store.volume import find_volumes, open_volume
from bastide.store.volume_check import check_volume, data_parts, parity_parts
from bastide.store.volume_import import import_volumes
from bastide.trust.verifier import DigestOnly

pytestmark = pytest.mark.integration

CAPACITY = 2 * CHUNK + 200_000  # a volume has two chunks at least, and documents


@dataclass
class Scene:
    """A bundle, its volumes and an empty store."""

    place: Path
    made: Made
    volumes: list[Path]
    data: int
    parity: int

    @property
    def store(self) -> Store:
        return Store(self.place / "store")

    def bring(self, folders: Sequence[Path] | None = None, **options: Any) -> ImportResult:
        """Import, and check that no input was touched."""
        before = fingerprint(self.place / "volumes")
        try:
            return import_volumes(
                self.volumes if folders is None else folders,
                self.store,
                verifier=DigestOnly(self.made.digest),
                progress=SilentProgress(),
                now=NOW,
                options=ImportOptions(inspect=lambda *_: [], **options),
            )
        finally:
            assert fingerprint(self.place / "volumes") == before

    def assert_whole(self) -> None:
        assert [bundle.digest for bundle in self.store.bundles()] == [self.made.digest]
        for sha256 in self.made.blobs:
            content = self.store.blob(sha256).read_bytes()
            assert hashlib.sha256(content).hexdigest() == sha256
        assert list(self.store.incoming.iterdir()) == []


def scene_of(place: Path, parity: ParityWish, seed: int = 1) -> Scene:
    made = make_bundle(place / "bundle", generated(seed))
    result = split(made, place / "volumes", CAPACITY, parity)
    volumes = sorted((place / "volumes").iterdir())
    assert [each.name for each in volumes] == [volume.name for volume in result.volumes]
    return Scene(place, made, volumes, result.data, result.parity)


@pytest.fixture
def plain(tmp_path: Path) -> Scene:
    return scene_of(tmp_path, ParityWish())


@pytest.fixture
def safe(tmp_path: Path) -> Scene:
    scene = scene_of(tmp_path, ParityWish(volumes=2))
    assert (scene.data, scene.parity) == (3, 2)
    return scene


def payload(volume: Path) -> Path:
    return volume / "data-001.bin"


@pytest.mark.parametrize("seed", range(3))
def test_all_volumes_in_any_order(plain: Scene, seed: int) -> None:
    random.Random(seed).shuffle(plain.volumes)  # noqa: S311
    result = plain.bring()
    assert result.bytes_copied == sum(map(len, plain.made.blobs.values()))
    assert result.repairs == ()
    plain.assert_whole()


def test_every_volume_fits_its_medium_and_any_file_system(safe: Scene) -> None:
    for volume in safe.volumes:
        files = [path for path in volume.rglob("*") if path.is_file()]
        assert sum(path.stat().st_size for path in files) <= CAPACITY
        for path in files:
            assert path.stat().st_size < 2**32 - 1
            assert not set(path.name) & set('<>:"/\\|?*')
            assert path.name.isascii()
    assert VOLUME_FILE_SIZE < 2**32 - 1


def test_splitting_is_deterministic(safe: Scene) -> None:
    again = split(safe.made, safe.place / "again", CAPACITY, ParityWish(volumes=2))
    assert fingerprint(again.out) == fingerprint(safe.place / "volumes")


def test_one_volume_at_a_time_keeps_what_came_and_names_what_is_wanted(plain: Scene) -> None:
    order = list(reversed(plain.volumes))
    for number, volume in enumerate(order[:-1], start=1):
        with pytest.raises(BundleError) as caught:
            plain.bring([volume])
        assert caught.value.code == "BAS-3120"
        for other in order:
            assert (other.name in str(caught.value)) is (other not in order[:number])
        assert plain.store.bundles() == ()
    result = plain.bring([order[-1]])
    assert result.bytes_copied < len(plain.made.blobs) + 3 * CHUNK
    plain.assert_whole()


def test_the_next_volume_is_asked_for(plain: Scene) -> None:
    asked: list[Wanted] = []

    def ask(wanted: Wanted) -> Sequence[Path]:
        asked.append(wanted)
        return [volume for volume in plain.volumes if volume.name == wanted.volumes[0]]

    plain.bring(plain.volumes[:1], ask=ask)
    assert [wanted.volumes[0] for wanted in asked] == [v.name for v in plain.volumes[1:]]
    plain.assert_whole()


@pytest.mark.parametrize("seed", range(4))
def test_any_two_volumes_may_be_lost(safe: Scene, seed: int) -> None:
    lost = random.Random(seed).sample(safe.volumes, 2)  # noqa: S311
    for volume in lost:
        shutil.rmtree(volume)
    result = safe.bring(find_volumes([safe.place / "volumes"]))
    safe.assert_whole()
    data = [volume.name for volume in sorted(lost)[:2] if volume in safe.volumes[: safe.data]]
    assert [repair.volume for repair in result.repairs] == data
    assert all(repair.how == "made again from parity" for repair in result.repairs)


def test_three_lost_volumes_are_wanted(safe: Scene) -> None:
    with pytest.raises(BundleError) as caught:
        safe.bring(safe.volumes[2:4])
    assert caught.value.code == "BAS-3120"
    for volume in safe.volumes:
        assert (volume.name in str(caught.value)) is (volume not in safe.volumes[2:4])
    result = safe.bring(safe.volumes[3:])
    assert result.bytes_copied < sum(map(len, safe.made.blobs.values()))
    safe.assert_whole()


def most_damage(scene: Scene, seed: int) -> list[tuple[Path, int]]:
    """Return as much damage as parity can mend: no position is bad in three volumes."""
    ranges: list[tuple[int, int, Path]] = []
    for folder in scene.volumes:
        opened = open_volume(folder, DigestOnly())
        if opened.volume.is_parity:
            found = [part.range for part in parity_parts(opened)]
        else:
            pieces = opened.layout.pieces(opened.number)
            found = [part.range for part in data_parts(opened, pieces)]
        ranges += [(low, high, folder) for low, high in found]
    random.Random(seed).shuffle(ranges)  # noqa: S311
    bad: list[tuple[int, int, Path]] = []
    for low, high, folder in ranges:
        others = [each for each in bad if each[0] < high and each[1] > low and each[2] != folder]
        points = {low, *(each[0] for each in others if each[0] > low)}
        if all(sum(a <= point < b for a, b, _ in others) < scene.parity for point in points):
            bad.append((low, high, folder))
    return [(folder, low) for low, _, folder in bad]


@pytest.mark.parametrize("seed", range(5))
def test_as_much_damage_as_there_is_parity_at_every_position(safe: Scene, seed: int) -> None:
    damage = most_damage(safe, seed)
    for folder, low in damage:
        flip(payload(folder), low)
    victims = {folder.name for folder, _ in damage if folder in safe.volumes[: safe.data]}
    assert victims
    assert {repair.volume for repair in safe.bring().repairs} == victims
    safe.assert_whole()


def test_bad_volume_and_range_are_named_and_taken_from_another_copy(plain: Scene) -> None:
    copy = plain.place / "volumes" / "copy"
    shutil.copytree(plain.volumes[1], copy)
    flip(payload(plain.volumes[1]), CHUNK + 5)
    with pytest.raises(BundleError) as caught:
        plain.bring()
    (problem,) = caught.value.problems
    assert problem.where == f"{plain.volumes[1].name}/data-001.bin"
    assert "wrong are the bytes" in problem.what
    assert caught.value.code == "BAS-3120"
    result = plain.bring([*plain.volumes, copy])
    assert result.bytes_copied <= CHUNK
    plain.assert_whole()


def test_result_says_what_a_copy_repaired(plain: Scene) -> None:
    copy = plain.place / "volumes" / "copy"
    shutil.copytree(plain.volumes[0], copy)
    flip(payload(plain.volumes[0]), 5)
    (repair,) = plain.bring([*plain.volumes, copy]).repairs
    assert repair.volume == plain.volumes[0].name
    assert repair.how == f"taken from the copy at {copy}"
    plain.assert_whole()


DOCUMENTS = ["bundle.json", "manifest.json", "chunks.json", "lock.json", VOLUME]


@pytest.mark.parametrize("name", DOCUMENTS)
@pytest.mark.parametrize("action", ["flip", "remove"])
def test_damaged_documents_of_one_volume(plain: Scene, name: str, action: str) -> None:
    victim = plain.volumes[0] / name
    flip(victim, 9) if action == "flip" else victim.unlink()
    (repair,) = plain.bring().repairs
    assert (repair.volume, repair.where) == (plain.volumes[0].name, name)
    plain.assert_whole()


def test_truncated_and_missing_payload(safe: Scene) -> None:
    os.truncate(payload(safe.volumes[0]), CHUNK + 7)
    payload(safe.volumes[2]).unlink()
    result = safe.bring()
    safe.assert_whole()
    assert {repair.volume for repair in result.repairs} == {
        safe.volumes[0].name,
        safe.volumes[2].name,
    }


def test_parity_that_lies_is_not_believed(tmp_path: Path) -> None:
    scene = scene_of(tmp_path, ParityWish(volumes=1))
    shutil.rmtree(scene.volumes[0])
    flip(payload(scene.volumes[-1]), 100)
    with pytest.raises(BundleError) as caught:
        scene.bring(find_volumes([tmp_path / "volumes"]))
    assert caught.value.code == "BAS-3120"
    assert scene.store.bundles() == ()


def test_volumes_of_another_split_and_of_another_bundle_are_refused(plain: Scene) -> None:
    other = split(plain.made, plain.place / "other", CAPACITY + CHUNK, ParityWish())
    foreign = make_bundle(plain.place / "bundle2", generated(2))
    second = split(foreign, plain.place / "foreign", CAPACITY, ParityWish())
    for folder in (other.out, second.out):
        with pytest.raises(BundleError) as caught:
            plain.bring([*plain.volumes, *find_volumes([folder])])
        assert caught.value.code == "BAS-3122"
        assert not plain.store.root.exists()


@pytest.mark.parametrize("name", ["autorun.inf", "sha256/evil", "data-002.bin"])
def test_a_file_that_does_not_belong_there(plain: Scene, name: str) -> None:
    path = plain.volumes[1] / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(b"x")
    with pytest.raises(BundleError) as caught:
        plain.bring()
    assert name in str(caught.value.problems)
    with pytest.raises(BundleError) as checked:
        check_volume(plain.volumes[1], verifier=DigestOnly(), progress=SilentProgress())
    assert checked.value.problems == caught.value.problems


def test_each_volume_verifies_alone(safe: Scene) -> None:
    for volume in safe.volumes:
        checked = check_volume(volume, verifier=DigestOnly(), progress=SilentProgress())
        assert checked.bundle == safe.made.digest
        assert checked.bytes_read == payload(volume).stat().st_size
        flip(payload(volume), CHUNK + 1)
        with pytest.raises(BundleError) as caught:
            check_volume(volume, verifier=DigestOnly(), progress=SilentProgress())
        (problem,) = caught.value.problems
        assert problem.where == "data-001.bin"
        assert "wrong are the bytes" in problem.what


def on_a_volume(descriptor: int) -> bool:
    return "/volumes/" in str(Path(f"/proc/self/fd/{descriptor}").readlink())


def test_unplugged_medium_costs_one_chunk_at_most(
    plain: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All reads after a point fail, as when a stick is pulled; then it is plugged in again."""
    read: list[int] = []
    total = sum(map(len, plain.made.blobs.values()))
    stop = 3 * CHUNK + CHUNK // 2
    real = os.preadv

    def preadv(descriptor: int, buffers: Any, offset: int) -> int:
        if not on_a_volume(descriptor):
            return real(descriptor, buffers, offset)
        if stop and sum(read) + len(buffers[0]) > stop:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        length = real(descriptor, buffers, offset)
        read.append(length)
        return length

    monkeypatch.setattr(os, "preadv", preadv)
    with pytest.raises(BundleError) as caught:
        plain.bring()
    assert caught.value.code == "BAS-3120"
    assert "Input/output error" in str(caught.value.problems)
    stop = 0
    plain.bring()
    assert sum(read) <= total + CHUNK
    plain.assert_whole()


def test_every_byte_of_the_media_is_read_once(safe: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[int] = []
    real = os.preadv

    def preadv(descriptor: int, buffers: Any, offset: int) -> int:
        length = real(descriptor, buffers, offset)
        if on_a_volume(descriptor):
            read.append(length)
        return length

    monkeypatch.setattr(os, "preadv", preadv)
    safe.bring()
    assert sum(read) == sum(map(len, safe.made.blobs.values()))


def test_what_the_store_has_is_not_read_from_volumes(plain: Scene) -> None:
    plain.bring()
    assert plain.bring().bytes_copied == 0
    victim = plain.store.blob(
        max(plain.made.blobs, key=lambda sha256: len(plain.made.blobs[sha256]))
    )
    victim.chmod(0o644)
    flip(victim, 3)
    result = plain.bring(recheck=True)
    assert result.bytes_copied == victim.stat().st_size
    plain.assert_whole()


def test_too_little_space_is_refused_first(plain: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    class Room:
        f_frsize = 4096
        f_bavail = 10

    monkeypatch.setattr(os, "statvfs", lambda _: Room())
    with pytest.raises(BundleError) as caught:
        plain.bring()
    assert caught.value.code == "BAS-3105"
    assert list(plain.store.incoming.iterdir()) == []


def test_a_link_in_the_place_of_a_volume_is_refused(plain: Scene) -> None:
    away = plain.place / "away"
    plain.volumes[1].rename(away)
    plain.volumes[1].symlink_to(away)
    with pytest.raises(BundleError) as caught:
        find_volumes([plain.place / "volumes"])
    assert plain.volumes[1].name in caught.value.problems[0].where


@pytest.mark.parametrize("seed", range(3))
def test_two_lost_volumes_and_one_drive(safe: Scene, seed: int) -> None:
    """Each run sees one volume only; parity comes at any time, and never twice."""
    order = [safe.volumes[2], *safe.volumes[safe.data :]]
    random.Random(seed).shuffle(order)  # noqa: S311
    for volume in order[:-1]:
        with pytest.raises(BundleError) as caught:
            safe.bring([volume])
        assert caught.value.code == "BAS-3120"
    result = safe.bring(order[-1:])
    assert [repair.volume for repair in result.repairs if repair.what == "was not given"][:2] == [
        safe.volumes[0].name,
        safe.volumes[1].name,
    ]
    safe.assert_whole()
