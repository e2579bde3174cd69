"""Changes signed media at random and imports them: nothing false may come in, nothing may crash.

    python tests/torture/mutations.py --count 10000 --seed 1

Prints one table. A change is *refused* with a code of the families 3 or 4, or it is *mended*: the
import succeeds with exactly the true bundle, and import or verify name what is wrong. A change that
leaves the medium as it was is not counted. The exit code is 1 if anything else happened.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import random
import resource
import shutil
import sys
import tempfile
import time
import traceback
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from torture_bundles import NOW, fingerprint, make_bundle
from torture_media import (
    WHEEL,
    Medium,
    Publisher,
    bomb,
    clone,
    files_of,
    make_media,
)
from torture_mutators import MUTATORS, Attempt

from bastide.errors import BastideError
from bastide.progress import SilentProgress
from bastide.store import Store
from bastide.store.importer import ImportOptions, import_bundle
from bastide.store.results import ImportResult
from bastide.store.volume import find_volumes
from bastide.store.volume_check import check_volume
from bastide.store.volume_import import import_volumes

BOMBS = "zip bombs"
CANARY = b"nobody may touch this"
GOOD = {"refused", "mended", "no difference"}
LARGE = 0.1  # share of mutations of media with a file larger than a chunk


@dataclass(frozen=True)
class Bench:
    """Where mutations are tried.

    Args:
        place: Of one process; holds nothing but what is named here.
        media: What is changed, in copies.
        replays: Genuine files of an earlier bundle.
        publisher: Who signed them.
    """

    place: Path
    media: list[Medium]
    replays: Path
    publisher: Publisher

    @property
    def outside(self) -> Path:
        return self.place / "outside"

    def around(self, folder: Path) -> tuple[object, ...]:
        """Return everything that an import may not change."""
        return fingerprint(folder), fingerprint(self.outside), sorted(self.place.iterdir())

    def bring(self, folder: Path, store: Store) -> ImportResult:
        """Import as the command does."""
        verifier, progress = self.publisher.verifier(), SilentProgress()
        volumes = find_volumes([folder])
        if volumes:
            return import_volumes(
                volumes, store, verifier=verifier, progress=progress, now=NOW,
                options=ImportOptions(),
            )  # fmt: skip
        return import_bundle(folder, store, verifier=verifier, progress=progress, now=NOW)

    def verify(self, folder: Path) -> bool:
        """Return whether every volume of a set passes by itself."""
        for volume in find_volumes([folder]):
            try:
                check_volume(volume, verifier=self.publisher.verifier(), progress=SilentProgress())
            except BastideError:
                return False
        return True


def make_bench(place: Path, seed: int) -> Bench:
    """Write the media and the canary; what is not changed must come in."""
    publisher = Publisher()
    (place / "media").mkdir(parents=True)
    (place / "outside").mkdir()
    (place / "outside" / "canary").write_bytes(CANARY)
    media, replays = make_media(place / "media", publisher, seed)
    bench = Bench(place, media, replays, publisher)
    for medium in media:
        outcome = judge(bench, medium.folder, medium)
        if outcome != ("no difference", ""):
            raise AssertionError(f"{medium.name} as it is: {outcome}")
    return bench


def judge(bench: Bench, folder: Path, medium: Medium) -> tuple[str, str]:
    """Import what lies in ``folder``; return the outcome and a code, or what is wrong."""
    store = Store(bench.place / "store")
    shutil.rmtree(store.root, ignore_errors=True)
    before = bench.around(folder)
    result = None
    detail = ""
    try:
        result = bench.bring(folder, store)
    except BastideError as error:
        detail = error.code
        if not _is_proper(error):
            return "crash", f"{error.code} cannot be shown: {error!r}"
    except Exception:  # noqa: BLE001 - any is a defect, and is reported
        return "crash", traceback.format_exc()
    wrong = _wrong(store, [medium.made.digest] if result else [])
    shutil.rmtree(store.root, ignore_errors=True)
    if not wrong and bench.around(folder) != before:
        wrong = "something outside the store was changed"
    if wrong:
        return "accepted", wrong
    return _success(bench, folder, medium, result) if result else ("refused", detail)


def _success(bench: Bench, folder: Path, medium: Medium, result: ImportResult) -> tuple[str, str]:
    now, genuine = fingerprint(folder), fingerprint(medium.folder)
    if now == genuine:
        return "no difference", ""
    if result.repairs or not bench.verify(folder):
        return "mended", ""
    lost = {path.partition("/")[0] for path in genuine if path not in now}
    if now == {path: is_ for path, is_ in genuine.items() if path.partition("/")[0] not in lost}:
        return "no difference", ""  # a whole parity volume is not there, and was not wanted
    return "accepted", "a changed medium came in without a word"


def _wrong(store: Store, expected: list[str]) -> str:
    """Return what is in the store and should not be there, in words."""
    for blob in (store.root / "sha256").rglob("*/*"):
        if hashlib.sha256(blob.read_bytes()).hexdigest() != blob.name:
            return f"a wrong blob is in the store: {blob.name}"
    visible = [bundle.digest for bundle in store.bundles()]
    return "" if visible == expected else f"the store shows {visible}"


def _is_proper(error: BastideError) -> bool:
    """Return whether the error can be shown to an operator as it is, and is of the right family."""
    texts = [str(error), error.hint, *(f"{p.where}: {p.what}" for p in error.problems)]
    family = error.exit_code in {3, 4} and error.code.startswith(f"BAS-{error.exit_code}")
    return family and bool(error.hint) and all(t.isprintable() and t.encode() for t in texts)


def mutate(bench: Bench, kind: str, chance: random.Random) -> tuple[str, str, str]:
    """Try one mutation; return what was done to what, the outcome and its detail."""
    folder = bench.place / "attempt"
    shutil.rmtree(folder, ignore_errors=True)
    for left in bench.outside.iterdir():
        if left.name != "canary":
            shutil.rmtree(left) if left.is_dir() else left.unlink()
    if kind == BOMBS:
        what, content = bomb(bench.place, chance)
        made = make_bundle(folder, {**files_of(bench.place, 1), WHEEL.filename: content})
        bench.publisher.sign(folder, version=3)
        outcome, detail = judge(bench, folder, Medium("bundle", bench.place / "none", made))
        return f"wheel: {what}", outcome, detail
    small = [medium for medium in bench.media if medium.name.endswith("small")]
    medium = chance.choice(bench.media if chance.random() < LARGE else small)
    clone(medium.folder, folder)
    what = MUTATORS[kind](Attempt(folder, bench.replays, bench.outside, chance))
    outcome, detail = judge(bench, folder, medium)
    return f"{medium.name}: {what}", outcome, detail


def run(count: int, seed: int) -> tuple[Counter[tuple[str, str]], Counter[str]]:
    """Try until ``count`` mutations that make a difference were tried.

    Returns:
        How often which kind ended how, and how often each code was met.
    """
    counts: Counter[tuple[str, str]] = Counter()
    codes: Counter[str] = Counter()
    kinds = (*MUTATORS, BOMBS)
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(
        prefix="mutations-", dir=memory if memory.is_dir() else None
    ) as name:
        bench = make_bench(Path(name), seed)
        number = 0
        while sum(n for (_, outcome), n in counts.items() if outcome != "no difference") < count:
            kind = kinds[number % len(kinds)]
            what, outcome, detail = mutate(bench, kind, random.Random(f"{seed}/{number}"))  # noqa: S311
            counts[kind, outcome] += 1
            if outcome == "refused":
                codes[detail] += 1
            elif outcome not in GOOD:
                print(f"{kind}, {number}: {what}: {outcome}: {detail}", file=sys.stderr)
            number += 1
    return counts, codes


def run_all(count: int, seed: int, jobs: int) -> tuple[Counter[tuple[str, str]], Counter[str]]:
    """Share ``count`` mutations among ``jobs`` processes."""
    shares = [count // jobs + (number < count % jobs) for number in range(jobs)]
    seeds = [seed * 1000 + number for number in range(jobs)]
    counts: Counter[tuple[str, str]] = Counter()
    codes: Counter[str] = Counter()
    with ProcessPoolExecutor(jobs) as pool:
        for some, met in pool.map(run, shares, seeds):
            counts += some
            codes += met
    return counts, codes


def table(counts: Counter[tuple[str, str]], codes: Counter[str]) -> str:
    """Return the counts as text."""
    lines = [f"{'mutation':<18}{'tried':>8}{'refused':>9}{'mended':>8}{'other':>7}"]
    total = [0, 0, 0, 0]
    for kind in (*MUTATORS, BOMBS):
        refused, mended = counts[kind, "refused"], counts[kind, "mended"]
        other = sum(n for (k, o), n in counts.items() if k == kind and o not in GOOD)
        row = [refused + mended + other, refused, mended, other]
        total = [a + b for a, b in zip(total, row, strict=True)]
        lines.append(f"{kind:<18}{row[0]:>8}{row[1]:>9}{row[2]:>8}{row[3]:>7}")
    lines.append(f"{'all':<18}{total[0]:>8}{total[1]:>9}{total[2]:>8}{total[3]:>7}")
    same = sum(n for (_, outcome), n in counts.items() if outcome == "no difference")
    lines.append(f"not counted: {same} that made no difference")
    lines.append("codes: " + ", ".join(f"{code} {n}" for code, n in codes.most_common()))
    return "\n".join(lines)


def main() -> int:
    """Read the options, run and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    options = parser.parse_args()
    started = time.monotonic()
    counts, codes = run_all(options.count, options.seed, options.jobs)
    print(table(counts, codes))
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    print(f"seed {options.seed}, {time.monotonic() - started:.0f} s, {peak:.0f} MiB at most")
    return 1 if any(outcome not in GOOD for _, outcome in counts) else 0


if __name__ == "__main__":
    sys.exit(main())
