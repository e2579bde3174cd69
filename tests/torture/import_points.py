"""Stops imports at random points, in four ways, and runs them once more: the state must be good.

    python tests/torture/import_points.py --points 200 --seed 1

Prints one table; its exit code is 1 if any re-run did not end in the good state.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from torture_bundles import NOW, Made, fingerprint, generated, make_bundle, split
from torture_faults import KINDS, PLACES, Faults

from bastide.bundle.media import ParityWish
from bastide.errors import BastideError
from bastide.progress import SilentProgress
from bastide.schema.chunks import CHUNK
from bastide.store import Store
from bastide.store.importer import ImportOptions, import_bundle
from bastide.store.volume import find_volumes
from bastide.store.volume_import import import_volumes
from bastide.trust.verifier import DigestOnly

SIZES = {"weights.bin": 2 * CHUNK + 99, "more.bin": CHUNK + 1, "note.txt": 40_000,
         "server.py": 1_234, "empty.bin": 0}  # fmt: skip
ROUTES = ("folder", "volumes", "volumes with a lost one")
REFUSED, CRASHED = 3, 99  # exit codes of a child
EXPECTED = {  # errors that tell the operator of one of these faults
    "BAS-1002", "BAS-3101", "BAS-3103", "BAS-3105", "BAS-3106", "BAS-3120", "BAS-3121",
}  # fmt: skip


@dataclass(frozen=True)
class Scene:
    """What is imported, and how.

    Args:
        place: Holds the media; nothing below it may change.
        made: The bundle.
    """

    place: Path
    made: Made

    def bring(self, route: str, store: Store) -> None:
        """Import by one route."""
        options = ImportOptions(inspect=lambda *_: [])
        verifier, progress = DigestOnly(self.made.digest), SilentProgress()
        if route == "folder":
            import_bundle(
                self.made.folder, store, verifier=verifier, progress=progress, now=NOW,
                options=options,
            )  # fmt: skip
            return
        volumes = find_volumes([self.place / "volumes"])
        if route != "volumes":
            volumes = volumes[1:]
        import_volumes(
            volumes, store, verifier=verifier, progress=progress, now=NOW, options=options
        )

    def faults_of(self, store: Store) -> list[str]:
        """Return what is not as it should be in a store that has the bundle."""
        found = []
        if [bundle.digest for bundle in store.bundles()] != [self.made.digest]:
            found.append("the bundle is not visible")
        for sha256 in self.made.blobs:
            path = store.blob(sha256)
            if not path.is_file() or digest(path) != sha256:
                found.append(f"blob {sha256} is missing or wrong")
        left = list(store.incoming.iterdir()) if store.incoming.is_dir() else []
        if left:
            found.append(f"incoming holds {[path.name for path in left]}")
        return found


def digest(path: Path) -> str:
    """Return a file's SHA-256."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def make_scene(place: Path, seed: int) -> Scene:
    """Write a bundle and its volumes."""
    made = make_bundle(place / "bundle", generated(seed, SIZES))
    split(made, place / "volumes", CHUNK + 300_000, ParityWish(volumes=1))
    return Scene(place, made)


def in_child(action: Callable[[], None]) -> int:
    """Run ``action`` in a fork; return its exit code, negative for a signal."""
    pid = os.fork()
    if pid == 0:
        code = CRASHED
        try:
            action()
            code = 0
        except BastideError as error:
            code = REFUSED if error.code in EXPECTED else CRASHED
            if code == CRASHED:
                traceback.print_exc()
        except BaseException:  # noqa: BLE001 - whatever it is, it is a defect, and is reported
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(code)
    _, status = os.waitpid(pid, 0)
    return os.waitstatus_to_exitcode(status)


def operations(scene: Scene, route: str, folder: Path) -> dict[str, int]:
    """Return how many operations an undisturbed import by ``route`` has, by kind of fault."""
    report = folder / "count"
    store = Store(folder / "store")

    def count() -> None:
        faults = Faults("none", 0, store.root, scene.place, folder / "survivor", 0)
        faults.install()
        scene.bring(route, store)
        report.write_text(json.dumps(faults.counts))

    if in_child(count) != 0:
        raise RuntimeError(f"the import by {route} fails without any fault")
    shutil.rmtree(store.root)
    counts = json.loads(report.read_text())
    return {kind: sum(counts[place] for place in PLACES.get(kind, counts)) for kind in KINDS}


def strike(scene: Scene, route: str, kind: str, point: int, seed: int, folder: Path) -> str:
    """Stop an import at one point and run it again; return ``good`` or what went wrong."""
    store = Store(folder / "store")
    survivor = folder / "survivor"

    def run() -> None:
        faults = Faults(kind, point, store.root, scene.place, survivor, seed)
        faults.install()
        scene.bring(route, store)

    code = in_child(run)
    if code == CRASHED:
        return "crashed"
    if code == -signal.SIGKILL and kind == "power cut":
        shutil.rmtree(store.root, ignore_errors=True)
        if survivor.exists():
            survivor.rename(store.root)
    visible = store.bundles()
    if visible and any(digest(store.blob(each)) != each for each in scene.made.blobs):
        return "visible before it was whole"
    try:
        scene.bring(route, store)
    except BastideError as error:
        return f"the re-run failed: {error.code} {error}"
    found = scene.faults_of(store)
    if found:
        return "; ".join(found)
    return "completed" if code == 0 else "good"


def cases(points: int, seed: int) -> Iterator[tuple[str, str, float, int]]:
    """Return route, kind, place in the run (0 to 1) and seed of every point."""
    chance = random.Random(seed)  # noqa: S311
    for number in range(points):
        route = ROUTES[number % len(ROUTES)]
        kind = KINDS[number // len(ROUTES) % len(KINDS)]
        yield route, kind, chance.random(), chance.randrange(2**32)


def run(points: int, seed: int) -> Counter[tuple[str, str, str]]:
    """Strike at ``points`` points; return how often which kind ended how, by route."""
    counts: Counter[tuple[str, str, str]] = Counter()
    with tempfile.TemporaryDirectory(prefix="import-points-") as name:
        folder = Path(name)
        scene = make_scene(folder / "media", seed)
        before = fingerprint(scene.place)
        lengths = {route: operations(scene, route, folder) for route in ROUTES}
        for route, kind, where, own in cases(points, seed):
            point = 1 + int(where * lengths[route][kind])
            outcome = strike(scene, route, kind, point, own, folder)
            if outcome not in {"good", "completed"}:
                print(f"{route}, {kind}, operation {point}, seed {own}: {outcome}", file=sys.stderr)
            counts[route, kind, outcome if outcome in {"good", "completed"} else "bad"] += 1
            for left in ("store", "survivor"):
                shutil.rmtree(folder / left, ignore_errors=True)
        if fingerprint(scene.place) != before:
            raise AssertionError("an import changed what it was given")
    return counts


def table(counts: Counter[tuple[str, str, str]]) -> str:
    """Return the counts as text."""
    lines = [
        f"{'import by':<26}{'fault':<12}{'points':>8}{'stopped':>9}{'good after one re-run':>23}"
    ]
    for route in ROUTES:
        for kind in KINDS:
            good, done, bad = (counts[route, kind, each] for each in ("good", "completed", "bad"))
            total = good + done + bad
            lines.append(f"{route:<26}{kind:<12}{total:>8}{good + bad:>9}{good + done:>23}")
    bad = sum(count for (_, _, outcome), count in counts.items() if outcome == "bad")
    lines.append(f"{counts.total()} points, {counts.total() - bad} good after one plain re-run, "
                 f"{bad} not")  # fmt: skip
    return "\n".join(lines)


def main() -> int:
    """Read the options, run and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--points", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    started = time.monotonic()
    counts = run(options.points, options.seed)
    print(table(counts))
    print(f"seed {options.seed}, {time.monotonic() - started:.0f} s")
    return 1 if any(outcome == "bad" for _, _, outcome in counts) else 0


if __name__ == "__main__":
    with contextlib.suppress(BrokenPipeError):
        sys.exit(main())
