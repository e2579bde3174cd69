"""How much memory a model takes: weights + key-value cache + buffers + the process itself.

The one place for these formulas: `bastide models fit` and the preflight of a site both use it.
Sources are llama.cpp's own allocations (src/llama-kv-cache.cpp, src/llama-kv-cache-iswa.cpp,
src/llama-context.cpp of the pinned release); docs/sizing.md compares them with measurements.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from bastide.errors import ConfigError
from bastide.schema.model_facts import Architecture
from bastide.sizing.subject import Subject

ABSURD = "BAS-2040"
MIB = 1024 * 1024
UBATCH = 512  # tokens that the engine works on at once, as sites are set up
CELLS = 256  # the engine rounds a sequence's cache up to a multiple of this

# Measured with benchmarks/fit.py, release starter-2026.11.0: a Python that has loaded the engine
# (numpy with it), and what its HTTP server adds (74 to 94 MB with three models).
PROCESS_BYTES = 54_000_000
SERVER_BYTES = 90_000_000
WORD_BYTES = 180  # the tokenizer's tables, for each token of the vocabulary
# On a GPU: what the driver's context takes on each card. Not measured here: NVIDIA's usual size.
GPU_CONTEXT_BYTES = 500 * MIB


class CacheType(StrEnum):
    """How a key or value is stored."""

    F16 = "f16"
    Q8_0 = "q8_0"

    @property
    def bits(self) -> float:
        """Bits for each number."""
        return {"f16": 16.0, "q8_0": 8.5}[self.value]


@dataclass(frozen=True)
class Setting:
    """How a model is served.

    Args:
        context: Tokens that one request may have.
        parallel: Requests at once; the cache holds context x parallel tokens.
        cache_type: How keys and values are stored.
        unified: Whether all requests share one cache, as sites are set up, or each has its part.
        full_window: Whether layers with a sliding window keep the whole context all the same (the
            engine's default: it lets requests share the beginning of a prompt).
        server: Whether the engine's HTTP server is counted too.
    """

    context: int
    parallel: int = 1
    cache_type: CacheType = CacheType.F16
    unified: bool = False
    full_window: bool = True
    server: bool = True

    def __post_init__(self) -> None:
        for what, value, most in (
            ("context", self.context, 100_000_000),
            ("parallel", self.parallel, 65_536),
        ):
            if not 1 <= value <= most:
                raise ConfigError(
                    f"{what} should be 1 to {most:,}; found {value:,}",
                    code=ABSURD,
                    hint=f"give a sensible --{what}",
                )

    @property
    def tokens(self) -> int:
        """Tokens that the cache has room for."""
        if self.unified:
            return _round_up(self.context * self.parallel, CELLS)
        return _round_up(self.context, CELLS) * self.parallel


@dataclass(frozen=True)
class Part:
    """One part of the memory.

    Args:
        name: What takes it.
        size: Bytes.
        formula: How the number came about.
        given_back: Whether the system takes it back when memory is short (pages of a mapped file
            that are not used any more). It is resident, but no model fails for lack of it.
    """

    name: str
    size: int
    formula: str
    given_back: bool = False


def _round_up(value: int, step: int) -> int:
    return -(-value // step) * step


def cache_bytes(layers: int, kv_heads: int, head_dim: int, cells: int, bits: float = 16.0) -> int:
    """Return the bytes of keys and values.

    2 (key, value) x layers x KV heads x head size x cells x bits ÷ 8.
    """
    return int(2 * layers * kv_heads * head_dim * cells * bits / 8)


def whole_layers(shape: Architecture) -> int:
    """Return how many layers look at the whole context; the others have a sliding window."""
    window = shape.sliding_window
    if window is None:
        return shape.layers
    return shape.layers // window.global_every if window.global_every else 0


def window_cells(shape: Architecture, setting: Setting) -> int:
    """Return the cells of a layer with a sliding window (src/llama-kv-cache-iswa.cpp).

    min(all cells, window x sequences in one cache + batch), rounded up, for each cache.
    """
    if shape.sliding_window is None or setting.full_window:
        return setting.tokens
    shared = setting.parallel if setting.unified else 1
    caches = 1 if setting.unified else setting.parallel
    most = setting.tokens // caches
    cells = shape.sliding_window.tokens * shared + UBATCH
    return min(most, _round_up(cells, CELLS)) * caches


def cache_part(subject: Subject, setting: Setting) -> Part:
    """Return the key-value cache; a model that reads a text at once keeps none."""
    shape = subject.architecture
    if subject.embedding:
        return Part("key-value cache", 0, "an embedding model keeps none")
    whole, bits = whole_layers(shape), setting.cache_type.bits
    windowed = shape.layers - whole
    cells = window_cells(shape, setting)
    size = cache_bytes(whole, shape.kv_heads, shape.head_dim, setting.tokens, bits)
    size += cache_bytes(windowed, shape.kv_heads, shape.head_dim, cells, bits)
    formula = (
        f"2 x {shape.layers} layers x {shape.kv_heads} KV heads x {shape.head_dim} x "
        f"{setting.tokens:,} tokens x {bits:g} bits"
    )
    if windowed and cells != setting.tokens:
        formula += f"; {windowed} layers with a window of only {cells:,} cells"
    return Part("key-value cache", size, formula)


def output_part(subject: Subject, setting: Setting) -> Part:
    """Return the buffer for results: a float for each token of the vocabulary and each width.

    A chat model has one row a request; an embedding model has one for each token of a batch.
    """
    rows = min(UBATCH, setting.tokens) if subject.embedding else setting.parallel
    width = subject.vocabulary + (subject.architecture.embedding_length if subject.embedding else 0)
    return Part("results", rows * width * 4, f"{rows} rows x {width:,} x 4 bytes")


def activations(subject: Subject) -> int:
    """Return how many numbers a token has in work within a layer.

    4 widths + 2 feed-forward widths (of all experts that it uses) + 2 x heads x head size.
    """
    shape = subject.architecture
    inner = subject.feed_forward * max(shape.experts_used, 1)
    return 4 * shape.embedding_length + 2 * inner + 2 * shape.heads * shape.head_dim


def working_part(subject: Subject, setting: Setting) -> Part:
    """Return what is touched of the compute buffer while a full batch is worked on.

    Activations: batch x (4 widths + 2 feed-forward widths + 2 x heads x head size) x 4 bytes.
    Attention mask: batch x cells of one cache x 6 bytes (32 and 16 bits), twice with a window.
    """
    shape = subject.architecture
    batch = min(UBATCH, setting.tokens)
    wide = activations(subject)
    cells = setting.tokens if setting.unified else _round_up(setting.context, CELLS)
    masks = batch * cells * 6 * (2 if shape.sliding_window else 1)
    if subject.embedding:
        masks = batch * batch * 6
    return Part(
        "working memory",
        batch * wide * 4 + masks,
        f"batch of {batch}: activations {batch} x {wide:,} x 4, masks {masks:,}",
    )


def cpu_parts(subject: Subject, setting: Setting) -> tuple[Part, ...]:
    """Return what a model takes in main memory when it is full and busy."""
    server = SERVER_BYTES if setting.server else 0
    tables = subject.vocabulary * WORD_BYTES
    parts = (
        Part("weights", subject.file_bytes, subject.origin),
        Part(
            "file's pages of weights laid out anew",
            subject.repacked_bytes,
            "types that the CPU repacks; the system takes these pages back when memory is short",
            given_back=True,
        ),
        cache_part(subject, setting),
        output_part(subject, setting),
        working_part(subject, setting),
        Part("process", PROCESS_BYTES + server, "Python, engine" + (", server" * bool(server))),
        Part("tokenizer", tables, f"{subject.vocabulary:,} tokens x {WORD_BYTES} bytes"),
    )
    return tuple(part for part in parts if part.size)


def gpu_parts(subject: Subject, setting: Setting, cards: int = 1) -> tuple[Part, ...]:
    """Return what a model takes in the memory of ``cards`` GPUs, all layers there.

    Unlike in main memory the whole compute buffer is taken: the engine reserves it for results of
    a whole batch (batch x vocabulary x 4 bytes), whether they are asked for or not.
    """
    batch = min(UBATCH, setting.tokens)
    working = working_part(subject, setting)
    logits = batch * subject.vocabulary * 4
    reserved = Part(
        "compute buffer",
        max(working.size, logits) * cards,
        f"the larger of {working.formula} and {batch} x {subject.vocabulary:,} x 4"
        + (f", on each of {cards} cards" if cards > 1 else ""),
    )
    parts = (
        Part("weights", subject.file_bytes, subject.origin),
        cache_part(subject, setting),
        reserved,
        Part("driver", GPU_CONTEXT_BYTES * cards, f"500 MiB x {cards}, not measured here"),
    )
    return tuple(part for part in parts if part.size)


def resident(parts: tuple[Part, ...]) -> int:
    """Return the bytes that would be resident while memory is plenty."""
    return sum(part.size for part in parts)


def needed(parts: tuple[Part, ...]) -> int:
    """Return the bytes without which the model could not be held."""
    return sum(part.size for part in parts if not part.given_back)
