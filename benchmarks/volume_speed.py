"""How fast is the check of a volume beside openssl, and the import of volumes beside cp?

Run it from the checkout, with the virtual environment's Python:

    python benchmarks/volume_speed.py                   # 1.5 GB, five rounds
    python benchmarks/volume_speed.py --sparse-gb 20    # memory: split, check and import of 20 GB

The bytes lie in the page cache (or are holes). "One core" is enforced by the scheduler's affinity.
Ratios are medians of the rounds' own.
"""

from __future__ import annotations

import argparse
import os
import resource
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from import_speed import make_bundle, processor_seconds, shell, write_random, write_sparse

from bastide.bundle.media import Media, ParityWish
from bastide.bundle.split import split_bundle
from bastide.progress import SilentProgress
from bastide.store import Store
from bastide.store.importer import ImportOptions
from bastide.store.volume import find_volumes
from bastide.store.volume_check import check_volume
from bastide.store.volume_import import import_volumes
from bastide.trust.verifier import DigestOnly


def apart(action: Callable[[], None], cores: int | None = None) -> tuple[float, float]:
    """Run ``action`` in a fork, on so many cores; return seconds and its peak memory in MB."""
    started = time.perf_counter()
    pid = os.fork()
    if pid == 0:
        if cores:
            os.sched_setaffinity(0, set(range(cores)))
        action()
        os._exit(0)
    _, status, usage = os.wait4(pid, 0)
    if status:
        raise SystemExit("a measured action failed")
    return time.perf_counter() - started, usage.ru_maxrss * 1024 / 1e6


def check(volume: Path) -> None:
    """Check one volume as the command does."""
    check_volume(volume, verifier=DigestOnly(), progress=SilentProgress())


def bring(folder: Path, place: Path) -> None:
    """Import all volumes of a folder."""
    shutil.rmtree(place, ignore_errors=True)
    import_volumes(
        find_volumes([folder]), Store(place), verifier=DigestOnly(), progress=SilentProgress(),
        now=datetime.now(UTC), options=ImportOptions(),
    )  # fmt: skip


def split(bundle: Path, out: Path, size: int, parity: int) -> None:
    """Cut a bundle into volumes."""
    media = Media("benchmark", size)
    split_bundle(bundle, out, media, ParityWish(volumes=parity), SilentProgress())


Way = tuple[int, Callable[[], None], int | None]


def ways_of(folder: Path, volumes: Path, size: int) -> dict[str, Way]:
    """Return what is compared, by name: bytes, action, number of cores (None: all)."""
    victim = find_volumes([volumes])[0]
    data = victim / "data-001.bin"
    one = data.stat().st_size
    digest = f"openssl dgst -sha256 '{data}'"
    everything = f"openssl dgst -sha256 '{volumes}'/*/data-001.bin"
    cores = os.cpu_count() or 1
    return {
        "openssl, one core": (one, lambda: shell(digest), 1),
        "check, one core": (one, lambda: check(victim), 1),
        f"check, {cores} cores": (one, lambda: check(victim), None),
        "openssl over all volumes": (size, lambda: shell(everything), None),
        "cp of all volumes": (size, lambda: shell(f"cp -r '{volumes}' '{folder}/copy'"), None),
        "import of all volumes": (size, lambda: bring(volumes, folder / "store"), None),
    }


def compare(folder: Path, size: int, rounds: int) -> None:
    """Time everything in turns and print the table."""
    bundle, volumes = folder / "bundle", folder / "volumes"
    make_bundle(bundle, [size // 2, size // 4, size - size // 2 - size // 4], write_random)
    split(bundle, volumes, size // 3 + 2**26, 1)
    ways = ways_of(folder, volumes, size)
    one, cores = ways["openssl, one core"][0], os.cpu_count() or 1
    found: dict[str, list[float]] = {name: [] for name in ways}
    busy = []
    for _ in range(rounds):
        for name, (_, action, limit) in ways.items():
            os.sync()
            before, ours = processor_seconds()
            seconds, _ = apart(action, limit)
            after, used = processor_seconds()
            busy.append(max(after - before - (used - ours), 0) / seconds)
            found[name].append(seconds)
            shutil.rmtree(folder / "copy", ignore_errors=True)
    print(f"{size / 1e9:.2f} GB, volume of {one / 1e9:.2f} GB, {rounds} rounds, {cores} cores; "
          f"other programs took {statistics.median(busy):.2f} of a processor\n")  # fmt: skip
    for name, (amount, _, _) in ways.items():
        middle = statistics.median(found[name])
        every = " ".join(f"{value:.2f}" for value in found[name])
        print(f"{name:<26}{middle:>8.2f} s{amount / middle / 1e9:>7.2f} GB/s   {every}")
    openssl = found["openssl, one core"]
    for name in (f"check, {cores} cores", "check, one core"):
        share = statistics.median(a / b for a, b in zip(openssl, found[name], strict=True))
        per = share / (cores if "cores" in name else 1)
        print(f"{name}: {100 * per:.0f} % of openssl per core (promised ≥ 90)")
    pairs = zip(found["cp of all volumes"], found["openssl over all volumes"], strict=True)
    slower = [max(pair) for pair in pairs]
    ratio = statistics.median(
        a / b for a, b in zip(found["import of all volumes"], slower, strict=True)
    )
    print(f"import: {ratio:.2f} x the slower of cp and openssl (promised ≤ 1.25)")


def memory(folder: Path, size: int) -> None:
    """Split, check and import one sparse file, and print the most memory that each held."""
    bundle, volumes = folder / "bundle", folder / "volumes"
    make_bundle(bundle, [size], write_sparse)
    own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6
    print(f"{size / 1e9:.0f} GB in one file; a process that does nothing holds {own:.0f} MB")
    for name, action in (
        ("split, two of parity", lambda: split(bundle, volumes, size // 10, 2)),
        ("check of one volume", lambda: check(find_volumes([volumes])[0])),
        ("import", lambda: bring(volumes, folder / "store")),
    ):
        seconds, peak = apart(action)
        print(f"{name:<24}{peak:>6.0f} MB (promised ≤ 200){seconds:>8.0f} s")


def main() -> None:
    """Read the options and run."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--gb", type=float, default=1.5, help="size of the bundle (decimal GB)")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--sparse-gb", type=float, help="measure memory instead")
    parser.add_argument("--place", type=Path, help="folder to work in; default: a temporary one")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.place, prefix="volume-speed-") as name:
        if options.sparse_gb:
            memory(Path(name), round(options.sparse_gb * 1e9))
        else:
            compare(Path(name), round(options.gb * 1e9), options.rounds)


if __name__ == "__main__":
    main()
