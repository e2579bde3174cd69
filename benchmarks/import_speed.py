"""How fast is an import, beside what operators do by hand; and how much memory does it take?

Run it from the checkout, with the virtual environment's Python:

    python benchmarks/import_speed.py                   # 1.5 GB, five rounds
    python benchmarks/import_speed.py --sparse-gb 20    # memory for one 20 GB model
    python benchmarks/volume_speed.py                   # the same for volumes

All methods get the same bytes in the same round, in turns, with the source in the page cache (or,
for the sparse file, holes). Ratios are medians of the rounds' own ratios: they last where absolute
figures are of one machine and one moment.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from bastide.bundle.chunks import Digests, chunks_document
from bastide.layout import blob_path
from bastide.progress import SilentProgress
from bastide.schema.artifact import (
    Artifact,
    ArtifactKind,
    BundleRoot,
    Component,
    Manifest,
    RootEntry,
)
from bastide.schema.chunks import CHUNK
from bastide.store import Store
from bastide.store.importer import import_bundle
from bastide.trust.verifier import DigestOnly

QUIET = 0.35  # of one processor, taken by other programs, write-back by the kernel included
COMMAND = "from bastide.cli.main import main; main()"


def write_random(path: Path, size: int) -> Digests:
    """Write ``size`` random bytes to ``path`` and return their digests."""
    digest, chunks = hashlib.sha256(), []
    with path.open("wb") as stream:
        for start in range(0, size, CHUNK):
            block = os.urandom(min(CHUNK, size - start))
            digest.update(block)
            chunks.append(hashlib.sha256(block).hexdigest())
            stream.write(block)
    return Digests(digest.hexdigest(), size, tuple(chunks))


def write_sparse(path: Path, size: int) -> Digests:
    """Make ``path`` a hole of ``size`` bytes and return its digests."""
    path.touch()
    os.truncate(path, size)
    digest, zeros, chunks = hashlib.sha256(), bytes(CHUNK), []
    whole = hashlib.sha256(zeros).hexdigest()
    for start in range(0, size, CHUNK):
        block = zeros[: min(CHUNK, size - start)]
        digest.update(block)
        chunks.append(whole if len(block) == CHUNK else hashlib.sha256(block).hexdigest())
    return Digests(digest.hexdigest(), size, tuple(chunks))


def make_bundle(folder: Path, sizes: list[int], write: Callable[[Path, int], Digests]) -> None:
    """Write a bundle with one binary artifact for each of ``sizes``."""
    folder.mkdir()
    artifacts = []
    written = []
    for number, size in enumerate(sizes):
        temporary = folder / "new"
        written.append(write(temporary, size))
        digest = written[-1].sha256
        path = folder / blob_path(digest)
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.rename(path)
        artifacts.append(
            Artifact(
                name=f"blob{number}",
                kind=ArtifactKind.BINARY,
                version="1",
                filename=f"blob{number}.bin",
                size=size,
                sha256=digest,
                platform="any",
                licence="Apache-2.0",
                components=(Component.LLM,),
                source="generated",
            )
        )
    lock = b"{}\n"
    manifest = Manifest(
        release="benchmark",
        target="any",
        lock=hashlib.sha256(lock).hexdigest(),
        artifacts=tuple(artifacts),
    )
    documents = {
        "chunks.json": chunks_document(written).canonical(),
        "lock.json": lock,
        "manifest.json": manifest.canonical(),
    }
    for name, content in documents.items():
        (folder / name).write_bytes(content)
    root = BundleRoot(
        release="benchmark",
        target="any",
        documents=tuple(
            RootEntry(path=n, size=len(c), sha256=hashlib.sha256(c).hexdigest())
            for n, c in documents.items()
        ),
        blobs=len(sizes),
        blob_bytes=sum(sizes),
    )
    (folder / "bundle.json").write_bytes(root.canonical())


def shell(line: str) -> None:
    """Run a line of shell, quietly."""
    subprocess.run(["sh", "-ec", line], check=True, stdout=subprocess.DEVNULL)


def import_in_process(bundle: Path, place: Path) -> None:
    """Import as the command does, without the interpreter's start."""
    import_bundle(
        bundle,
        Store(place / "store"),
        verifier=DigestOnly(),
        progress=SilentProgress(),
        now=datetime.now(UTC),
    )


def expected(bundle: Path) -> str:
    """Return a bundle's digest, as its builder would tell it."""
    return hashlib.sha256((bundle / "bundle.json").read_bytes()).hexdigest()


def import_by_command(bundle: Path, place: Path) -> None:
    """Run the whole command, the interpreter's start included."""
    digest = hashlib.sha256((bundle / "bundle.json").read_bytes()).hexdigest()
    subprocess.run(
        [sys.executable, "-c", COMMAND, "import", str(bundle), "--expect-digest", digest],
        check=True,
        env={**os.environ, "BASTIDE_HOME": str(place)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def methods(bundle: Path, place: Path, sums: Path) -> dict[str, Callable[[], None]]:
    """Return what is compared, by name."""
    blobs = bundle / "sha256"
    copy = f"cp -r '{blobs}' '{place}/copy'"
    sync = f"find '{place}/copy' -type f -exec sync {{}} +"
    check = f"cd '{place}/copy' && sha256sum --quiet -c '{sums}'"
    digest = f"find '{blobs}' -type f -exec openssl dgst -sha256 {{}} +"
    return {
        "cp": lambda: shell(copy),
        "cp, sync": lambda: shell(f"{copy}; {sync}"),
        "openssl dgst -sha256": lambda: shell(digest),
        "cp, then sha256sum -c": lambda: shell(f"{copy}; {check}"),
        "cp, sync, sha256sum -c": lambda: shell(f"{copy}; {sync}; {check}"),
        "import": lambda: import_in_process(bundle, place),
        "import, whole command": lambda: import_by_command(bundle, place),
    }


def processor_seconds() -> tuple[float, float]:
    """Return the processor time that the machine, and this process with its children, have used."""
    ticks = [int(n) for n in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
    everyone = (sum(ticks) - ticks[3] - ticks[4]) / os.sysconf("SC_CLK_TCK")  # without idling
    used = os.times()
    return everyone, used.user + used.system + used.children_user + used.children_system


def timed(action: Callable[[], None], place: Path) -> tuple[float, float]:
    """Return the seconds that ``action`` takes in an empty ``place``, on a settled disk.

    The second figure is how much of a processor other programs took meanwhile.
    """
    place.mkdir()
    os.sync()
    everyone, ours = processor_seconds()
    started = time.perf_counter()
    action()
    seconds = time.perf_counter() - started
    everyone, ours = processor_seconds()[0] - everyone, processor_seconds()[1] - ours
    shutil.rmtree(place)
    return seconds, max(everyone - ours, 0.0) / seconds


def timed_undisturbed(action: Callable[[], None], place: Path, tries: int) -> float:
    """Return the first timing that others did not disturb; after ``tries``, the least disturbed."""
    found: list[tuple[float, float]] = []
    while len(found) < tries:
        found.append(timed(action, place))
        if found[-1][1] < QUIET:
            break
        time.sleep(1)
    return min(found, key=lambda each: each[1])[0]


def compare(folder: Path, size: int, rounds: int, tries: int) -> None:
    """Time all methods in turns and print the table and the ratios."""
    bundle, place, sums = folder / "bundle", folder / "place", folder / "SHA256SUMS"
    make_bundle(bundle, [size // 2, size // 4, size - size // 2 - size // 4], write_random)
    blobs = sorted((bundle / "sha256").rglob("*/*"))
    sums.write_text("".join(f"{b.name}  {b.parent.name}/{b.name}\n" for b in blobs))
    found: dict[str, list[float]] = {}
    for number in range(rounds):
        order = list(methods(bundle, place, sums).items())
        turn = number % len(order)  # so that no method always follows the same one
        for name, action in order[turn:] + order[:turn]:
            found.setdefault(name, []).append(timed_undisturbed(action, place, tries))
        print(f"round {number + 1} of {rounds} done", file=sys.stderr)
    print(f"{size / 1e9:.2f} GB in {len(blobs)} blobs, {rounds} rounds, {os.cpu_count()} cores\n")
    print(f"{'method':<26}{'median s':>9}{'best s':>9}{'GB/s':>7}   all")
    for name in methods(bundle, place, sums):
        each = found[name]
        middle = statistics.median(each)
        every = " ".join(f"{value:.2f}" for value in each)
        print(f"{name:<26}{middle:>9.2f}{min(each):>9.2f}{size / middle / 1e9:>7.2f}   {every}")
    print()
    for name in ("import", "import, whole command"):
        report_ratios(name, found)


def report_ratios(name: str, found: dict[str, list[float]]) -> None:
    """Print the two ratios that the project promises, and their durable counterparts."""
    rounds = range(len(found["cp"]))

    def ratio(top: Callable[[int], float], bottom: Callable[[int], float]) -> str:
        return f"{statistics.median(top(n) / bottom(n) for n in rounds):.2f}"

    def ours(n: int) -> float:
        return found[name][n]

    def slower(copy: str) -> Callable[[int], float]:
        return lambda n: max(found[copy][n], found["openssl dgst -sha256"][n])

    print(f"{name}: {ratio(ours, slower('cp'))} x the slower of cp and openssl (promised ≤ 1.25);")
    print(f"  with cp made durable too, {ratio(ours, slower('cp, sync'))} x")
    for way in ("cp, then sha256sum -c", "cp, sync, sha256sum -c"):
        faster = ratio(lambda n, way=way: found[way][n], ours)  # type: ignore[misc]
        print(f"  {faster} x faster than {way}{' (promised ≥ 4)' if 'then' in way else ''}")


def memory(folder: Path, size: int) -> None:
    """Import one sparse file by the command and print the most memory that it held."""
    bundle = folder / "bundle"
    print(f"hashing {size / 1e9:.0f} GB of zeros for the manifest …", file=sys.stderr)
    make_bundle(bundle, [size], write_sparse)
    seconds, _ = timed(lambda: import_by_command(bundle, folder / "place"), folder / "place")
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024
    print(
        f"one {size / 1e9:.0f} GB blob: peak resident memory {peak / 1e6:.0f} MB "
        f"(promised ≤ 200), {seconds:.0f} s, {size / seconds / 1e9:.2f} GB/s"
    )


def main() -> None:
    """Read the options and run."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--gb", type=float, default=1.5, help="size of the bundle (decimal GB)")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument(
        "--tries",
        type=int,
        default=1,
        help="on a busy machine: repeat a timing that other programs disturbed, so often at most",
    )
    parser.add_argument("--sparse-gb", type=float, help="measure memory instead, with one blob")
    parser.add_argument("--place", type=Path, help="folder to work in; default: a temporary one")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.place, prefix="import-speed-") as name:
        if options.sparse_gb:
            memory(Path(name), round(options.sparse_gb * 1e9))
        else:
            compare(Path(name), round(options.gb * 1e9), options.rounds, options.tries)


if __name__ == "__main__":
    main()
