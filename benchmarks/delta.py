"""How many bytes a changed file costs, by our patches and by other tools, on real files.

    .venv/bin/python benchmarks/delta.py [--work DIR] [--only CASE]

Cases: SmolLM2 with another chat template; with other tokenizer metadata; all-MiniLM-L6-v2 from F16
to Q8_0; an adapter merged into a quantised and into an F16 model; a rebuilt wheel; the next version
of a Debian package. The files come from the builder's cache (`bastide bundle build` fills it) and
from `apt-get download`. Peers: zstd --patch-from, xdelta3, casync; also plain chunks (fixed, by
content) and tensors by name, each in the simplest form. Prints a table in Markdown: bytes, part of
the file, seconds and peak memory (RSS) of making and of using the patch; every result is compared
with the file that it must make.
"""

from __future__ import annotations

import argparse
import hashlib
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import gguf
import numpy as np
from backports import zstd
from pyfastcdc import FastCDC

from bastide import resources
from bastide.bundle.catalogue import Catalogue
from bastide.bundle.delta import WORTH
from bastide.layout import blob_path, cache_directory
from bastide.schema.model_card import IndexSource
from bastide.sources.convert import bert_gguf

SMOLLM = "smollm2-135m-instruct-q4_1"
MINILM = "all-minilm-l6-v2-q8_0"
RANK = 8  # of the adapter that is merged
DEBIAN = ("haproxy", "2.6.12-1+deb12u3", "2.6.12-1+deb12u4")
FIXED = 4 * 2**20
CONTENT = 64 * 2**10


@dataclass(frozen=True)
class Case:
    """Two versions of a file."""

    name: str
    base: Path
    new: Path


@dataclass(frozen=True)
class Cost:
    """What a program took."""

    seconds: float
    peak: int  # bytes


def main() -> int:
    """Measure all cases and print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--work", type=Path)
    parser.add_argument("--only", default="")
    parser.add_argument("--large", type=float, metavar="GB", help="a made-up file of this size")
    options = parser.parse_args()
    work = options.work or Path(tempfile.mkdtemp(prefix="bastide-delta-"))
    work.mkdir(parents=True, exist_ok=True)
    print("| change | method | bytes | of the file | make | use | memory: make, use |")
    print("|---|---|---:|---:|---:|---:|---|")
    try:
        for make in CASES:
            if options.only in make.__name__ and not options.large:
                measure(make(work), work, METHODS)
        if options.large:
            measure(large(work, int(options.large * 1e9)), work, {"**bastide**": ours})
    finally:
        if options.work is None:
            shutil.rmtree(work)
    return 0


Result = tuple[int | None, Cost | None, Cost | None]


def measure(case: Case, work: Path, methods: dict[str, Callable[[Case, Path], Result]]) -> None:
    """Print one case's rows."""
    for name, method in methods.items():
        place = work / "peer"
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir()
        size, make, use = method(case, place)
        if size is None and make is None:
            continue  # it is not for such a file
        if size is None:
            whole = case.new.stat().st_size
            print(f"| {case.name} | {name} | does not pay: {whole:,} | 100 % | {cell(make)} | | |")
            continue
        part = 100 * size / case.new.stat().st_size
        memory = ", ".join(f"{cost.peak / 1e6:.0f} MB" for cost in (make, use) if cost)
        print(
            f"| {case.name} | {name} | {size:,} | {part:.4f} % | {cell(make)} | {cell(use)} "
            f"| {memory} |",
            flush=True,
        )


def cell(cost: Cost | None) -> str:
    """Return a cell of seconds."""
    return f"{cost.seconds:.2f} s" if cost else ""


# A process begins with the largest resident size of the one that it was forked from. So programs
# are started by a small one, which also counts for them.
LAUNCHER = """
import os, sys, time
started = time.monotonic()
process = os.posix_spawnp(sys.argv[1], sys.argv[1:], os.environ)
_, status, usage = os.wait4(process, 0)
print(os.waitstatus_to_exitcode(status), time.monotonic() - started, usage.ru_maxrss * 1024)
"""


def run(*command: str | Path) -> Cost:
    """Run a program; return its time and its largest resident size."""
    words = [str(word) for word in command]
    launch = [sys.executable, "-S", "-c", LAUNCHER, *words]
    done = subprocess.run(launch, stdout=subprocess.PIPE, text=True, check=True)
    status, seconds, peak = done.stdout.splitlines()[-1].split()
    if status != "0":
        raise SystemExit(f"{words} ended with {status}")
    return Cost(float(seconds), int(peak))


ENCODE = """
import sys
from pathlib import Path
from bastide.bundle.delta_encode import encode_patch
with open(sys.argv[3], "wb+") as out:
    if encode_patch(Path(sys.argv[1]), Path(sys.argv[2]), out, limit=int(sys.argv[4])) is None:
        out.truncate(0)
"""
DECODE = """
import sys
from pathlib import Path
from bastide.store.patched import PatchedSource
base, patch, view = Path(sys.argv[1]), Path(sys.argv[3]), memoryview(bytearray(2**20))
with PatchedSource(base, patch, int(sys.argv[4])).open() as reader, open(sys.argv[2], "wb") as out:
    while count := reader.read_into(out.tell(), view):
        out.write(view[:count])
"""


def ours(case: Case, place: Path) -> Result:
    """Bastide's own patch."""
    patch, out = place / "patch", place / "out"
    limit = int(WORTH * case.new.stat().st_size)
    make = run(sys.executable, "-c", ENCODE, case.base, case.new, patch, str(limit))
    if not patch.stat().st_size:
        return None, make, None
    use = run(sys.executable, "-c", DECODE, case.base, out, patch, str(case.new.stat().st_size))
    same(case, out)
    return patch.stat().st_size, make, use


def zstd_patch(case: Case, place: Path) -> Result:
    """Zstandard with the whole old file as what came before."""
    patch, out = place / "patch", place / "out"
    make = run("zstd", "-q", "--long=31", f"--patch-from={case.base}", case.new, "-o", patch)
    use = run("zstd", "-q", "-d", "--long=31", f"--patch-from={case.base}", patch, "-o", out)
    same(case, out)
    return patch.stat().st_size, make, use


def xdelta(case: Case, place: Path) -> Result:
    """VCDIFF, with a window as large as the old file."""
    patch, out = place / "patch", place / "out"
    window = str(max(case.base.stat().st_size, 2**19))
    make = run("xdelta3", "-q", "-e", "-B", window, "-s", case.base, case.new, patch)
    use = run("xdelta3", "-q", "-d", "-B", window, "-s", case.base, patch, out)
    same(case, out)
    return patch.stat().st_size, make, use


def casync(case: Case, place: Path) -> Result:
    """Chunks in a store: what the new index adds to the old one's, and the index itself."""
    store, out = place / "store.castr", place / "out"
    old, new = place / "old.caibx", place / "new.caibx"
    run("casync", "make", f"--store={store}", old, case.base)
    before = tree_size(store)
    make = run("casync", "make", f"--store={store}", new, case.new)
    use = run("casync", "extract", f"--store={store}", new, out)
    same(case, out)
    return tree_size(store) - before + new.stat().st_size, make, use


def fixed_chunks(case: Case, place: Path) -> Result:  # noqa: ARG001
    """Chunks of one size, as in chunks.json; those that the old file lacks, compressed."""

    def cut(path: Path) -> list[bytes]:
        content = path.read_bytes()
        return [content[n : n + FIXED] for n in range(0, len(content), FIXED)]

    return chunked(cut(case.base), cut(case.new))


def content_chunks(case: Case, place: Path) -> Result:  # noqa: ARG001
    """Chunks by content; those that the old file lacks, compressed."""

    def cut(path: Path) -> list[bytes]:
        return [bytes(chunk.data) for chunk in FastCDC(CONTENT).cut_buf(path.read_bytes())]

    return chunked(cut(case.base), cut(case.new))


def chunked(old: list[bytes], new: list[bytes]) -> Result:
    """Return the cost of a list of digests and of the chunks that the old file lacks."""
    have = {hashlib.sha256(chunk).digest() for chunk in old}
    lacking = [chunk for chunk in new if hashlib.sha256(chunk).digest() not in have]
    return sum(len(zstd.compress(chunk, 9)) for chunk in lacking) + 32 * len(new), None, None


def tensors(case: Case, place: Path) -> Result:  # noqa: ARG001
    """Equal tensors by name; the changed ones compressed, the header against the old one."""
    with case.new.open("rb") as stream:
        if stream.read(4) != b"GGUF":
            return None, None, None
    old, new = gguf.GGUFReader(case.base), gguf.GGUFReader(case.new)
    have = {tensor.name: tensor.data.tobytes() for tensor in old.tensors}
    prefix = zstd.ZstdDict(case.base.read_bytes()[: old.data_offset], is_raw=True).as_prefix
    header = case.new.read_bytes()[: new.data_offset]
    total = len(zstd.compress(header, 19, zstd_dict=prefix)) + 16 * len(new.tensors)
    for tensor in new.tensors:
        content = tensor.data.tobytes()
        if have.get(tensor.name) != content:
            total += len(zstd.compress(content, 9))
    return total, None, None


METHODS: dict[str, Callable[[Case, Path], Result]] = {
    "**bastide**": ours,
    "zstd --patch-from": zstd_patch,
    "xdelta3": xdelta,
    "casync": casync,
    "chunks of 4 MiB": fixed_chunks,
    "chunks by content, 64 KiB": content_chunks,
    "tensors by name": tensors,
}


def same(case: Case, made: Path) -> None:
    """Stop if a tool did not make the file."""
    with made.open("rb") as one, case.new.open("rb") as other:
        if hashlib.file_digest(one, "sha256").digest() != (
            hashlib.file_digest(other, "sha256").digest()
        ):
            raise SystemExit(f"{case.name}: the patch made another file")


def tree_size(folder: Path) -> int:
    """Return the bytes of all files below a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def cached(name: str) -> Path:
    """Return a model's file in the builder's cache."""
    card = Catalogue(resources.catalogue()).model(name).value
    return cache_directory() / blob_path(card.file.sha256)


def template(work: Path) -> Case:
    """Another chat template, every tensor as it was."""
    base = cached(SMOLLM)
    text = gguf.GGUFReader(base).fields["tokenizer.chat_template"].contents()
    changed = text.replace("You are a helpful AI assistant", "You are this site's assistant")
    return Case(
        "chat template",
        base,
        with_metadata(work / "template.gguf", base, "--chat-template", changed),
    )


def metadata(work: Path) -> Case:
    """A description, another padding token, another pre-tokenizer."""
    base = cached(SMOLLM)
    options = ["--general-description", "Checked by us", "--special-token-by-id", "pad", "2"]
    options += ["--pre-tokenizer", "smollm"]
    return Case("tokenizer metadata", base, with_metadata(work / "meta.gguf", base, *options))


def with_metadata(out: Path, base: Path, *options: str) -> Path:
    """Return a copy of a model that gguf's own tool made."""
    out.unlink(missing_ok=True)
    tool = [sys.executable, "-m", "gguf.scripts.gguf_new_metadata", "--force"]
    subprocess.run([*tool, *options, str(base), str(out)], check=True, capture_output=True)
    return out


def requantised(work: Path) -> Case:
    """F16 weights become Q8_0."""
    return Case("F16 → Q8_0", f16(work), cached(MINILM))


def f16(work: Path) -> Path:
    """Return all-MiniLM-L6-v2 in F16, from the original weights."""
    out = work / "minilm-f16.gguf"
    originals = dict(original_tensors(work))

    def change(tensor: gguf.ReaderTensor) -> tuple[np.ndarray, gguf.GGMLQuantizationType]:
        if tensor.tensor_type != gguf.GGMLQuantizationType.Q8_0:
            return tensor.data, tensor.tensor_type
        return originals[tensor.name].astype(np.float16), gguf.GGMLQuantizationType.F16

    return rewrite(cached(MINILM), out, change)


def original_tensors(work: Path) -> list[tuple[str, np.ndarray]]:
    """Return the original 32-bit weights under their GGUF names."""
    source = Catalogue(resources.catalogue()).model(MINILM).value.sources[0]
    if not isinstance(source, IndexSource):
        raise SystemExit(f"{MINILM} comes from elsewhere now; mend this case")
    wheel = cache_directory() / blob_path(source.sha256)
    with (
        zipfile.ZipFile(wheel) as outer,
        outer.open(source.member[0]) as member,
        zipfile.ZipFile(member) as inner,
    ):
        name = next(n for n in inner.namelist() if n.endswith("model.safetensors"))
        (work / "model.safetensors").write_bytes(inner.read(name))
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.BERT, 6)
    found = []
    for name, tensor in bert_gguf._tensors(  # noqa: SLF001 - the same weights
        work / "model.safetensors"
    ):
        mapped = names.get_name(name, try_suffixes=(".weight", ".bias"))
        if mapped:
            found.append((mapped, tensor))
    return found


def merged(work: Path) -> Case:
    """An adapter of rank 8 merged into attention of every layer, Q4_1."""
    base = cached(SMOLLM)
    return Case("adapter merged, Q4_1", base, with_adapter(base, work / "merged-q4.gguf"))


def merged_f16(work: Path) -> Case:
    """The same in F16, where a small change leaves the upper bits alone."""
    base = f16(work)
    return Case("adapter merged, F16", base, with_adapter(base, work / "merged-f16.gguf"))


def with_adapter(base: Path, out: Path) -> Path:
    """Return a copy in which low-rank changes were added to the attention's weights."""
    rng = np.random.default_rng(7)

    def change(tensor: gguf.ReaderTensor) -> tuple[np.ndarray, gguf.GGMLQuantizationType]:
        kind = tensor.tensor_type
        if not any(part in tensor.name for part in ("attn_q.weight", "attn_v.weight")):
            return tensor.data, kind
        weights = gguf.quants.dequantize(tensor.data, kind)
        rows, columns = weights.shape
        low = rng.normal(size=(rows, RANK)) @ rng.normal(size=(RANK, columns))
        weights = weights + (0.01 * weights.std() * low).astype(np.float32)
        return gguf.quants.quantize(weights, kind), kind

    return rewrite(base, out, change)


def rewrite(
    base: Path,
    out: Path,
    change: Callable[[gguf.ReaderTensor], tuple[np.ndarray, gguf.GGMLQuantizationType]],
) -> Path:
    """Return a copy of a model with the same metadata and changed tensors."""
    reader = gguf.GGUFReader(base)
    writer = gguf.GGUFWriter(out, reader.fields["general.architecture"].contents())
    for field in reader.fields.values():
        if field.name.startswith("GGUF.") or field.name == "general.architecture":
            continue
        inner = field.types[-1] if field.types[0] == gguf.GGUFValueType.ARRAY else None
        writer.add_key_value(field.name, field.contents(), field.types[0], sub_type=inner)
    for tensor in reader.tensors:
        data, kind = change(tensor)
        writer.add_tensor(tensor.name, data, raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return out


def wheel(work: Path) -> Case:
    """The engine's wheel, packed again with one changed Python file."""
    source = max(
        (path for path in (cache_directory() / "sha256").rglob("*") if is_wheel(path)),
        key=lambda path: path.stat().st_size,
    )
    old, new = work / "old.whl", work / "new.whl"
    repack(source, old, "")
    repack(source, new, "\n# changed\n")
    return Case("rebuilt wheel", old, new)


def is_wheel(path: Path) -> bool:
    """Tell whether a cached file is the engine's wheel."""
    if not 10**6 < path.stat().st_size < 10**8 or not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return "llama_cpp/llama.py" in archive.namelist()


def repack(source: Path, out: Path, more: str) -> None:
    """Write a wheel again, adding text to one of its modules."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as new:
        for info in old.infolist():
            content = old.read(info)
            if info.filename == "llama_cpp/llama.py":
                content += more.encode()
            new.writestr(info.filename, content)


def debian(work: Path) -> Case:
    """The next security update of an OS package."""
    name, old, new = DEBIAN
    for version in (old, new):
        command = ["apt-get", "download", "-q", f"{name}={version}"]
        subprocess.run(command, cwd=work, check=True, capture_output=True)
    found = [
        next(work.glob(f"{name}_{version.replace(':', '%3a')}*.deb")) for version in (old, new)
    ]
    return Case(f"{name} {old} → {new}", *found)


def large(work: Path, size: int) -> Case:
    """Noise of any size; 50 bytes come in at its head, and a byte changes every 64 MB."""
    rng = np.random.default_rng(1)
    base, new = work / "large-old", work / "large-new"
    with base.open("wb") as old, new.open("wb") as changed:
        changed.write(bytes(50))
        while old.tell() < size:
            block = rng.bytes(64 * 10**6)
            old.write(block)
            changed.write(block[:-1] + bytes([block[-1] ^ 1]))
    return Case(f"{size / 1e9:.0f} GB of noise", base, new)


CASES: tuple[Callable[[Path], Case], ...] = (
    template,
    metadata,
    requantised,
    merged,
    merged_f16,
    wheel,
    debian,
)

if __name__ == "__main__":
    sys.exit(main())
