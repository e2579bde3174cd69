"""How fast a model will be: decode by the bytes that a token reads, prefill by the operations.

decode   seconds a token = weights read ÷ bandwidth + cache read ÷ bandwidth + what is between
prefill  seconds a token = (2 x weights of the layers + 4 x layers x heads x head size x seen)
         ÷ FLOP/s + what is between
         (seen: half the prompt, because a token looks back only; all of it in an embedding model)

A machine whose kernels were timed (`bastide models fit --measure`) has a rate for each weight type,
one for attention, and a cost for each small operation; otherwise one bandwidth serves for all, and
the answer is the most that the memory allows. Why decode is bound by bandwidth: every token reads
every active weight once (Pope et al., Efficiently Scaling Transformer Inference, 2022).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from bastide.errors import ConfigError
from bastide.sizing.memory import ABSURD, CacheType, activations, cache_bytes
from bastide.sizing.subject import Subject

STEPS_A_LAYER = 20  # operations that a transformer layer is made of
# How often a number of a layer's activations goes through the timed chain of norm, gate and sum:
# norms, rotation, gate, residuals, conversion for the next product. Fitted to the three models of
# docs/sizing.md: ADR 14 has the spread.
ELEMENT_PASSES = 3


@dataclass(frozen=True)
class Machine:
    """How fast a machine is.

    Args:
        bandwidth: Bytes a second from the memory that holds the model.
        flops: Floating point operations a second; none if not known.
        decode: Bytes of weights a second times one vector, by weight type, if timed.
        prefill: Operations a second times many vectors, by weight type, if timed.
        attention_decode: Operations a second of attention, one token at a time, if timed.
        attention_prefill: The same for a whole prompt.
        step_seconds: Cost of one small operation, if timed.
        element_seconds: Cost of a number in norm, gate and sum, if timed.
        measured: How the numbers came about, in words.
    """

    bandwidth: float
    flops: float | None = None
    decode: Mapping[str, float] = field(default_factory=dict)
    prefill: Mapping[str, float] = field(default_factory=dict)
    attention_decode: float | None = None
    attention_prefill: float | None = None
    step_seconds: float = 0.0
    element_seconds: float = 0.0
    measured: str = "given"

    def __post_init__(self) -> None:
        for what, value, least, most in (
            ("bandwidth", self.bandwidth, 1e6, 1e15),
            ("flops", self.flops, 1e6, 1e19),
        ):
            if value is not None and not least <= value <= most:
                raise ConfigError(
                    f"{what} should be {least:.0e} to {most:.0e} a second; found {value:g}",
                    code=ABSURD,
                    hint=f"give --{what} with its unit, such as 50GB or 2T",
                )


@dataclass(frozen=True)
class Speed:
    """The prediction, in tokens a second, for one request alone.

    Args:
        decode: Tokens written a second; none for a model that writes nothing.
        prefill: Tokens read a second; none if the machine's FLOP/s are not known.
        decode_formula: The numbers of the one.
        prefill_formula: The numbers of the other.
    """

    decode: float | None
    prefill: float | None
    decode_formula: str
    prefill_formula: str


def predict(
    subject: Subject, machine: Machine, *, past: int, prompt: int, cache_type: CacheType
) -> Speed:
    """Return how fast ``subject`` will be.

    Args:
        subject: The model.
        machine: The machine.
        past: Tokens that are in the context already while it writes.
        prompt: Tokens of the prompt that it reads.
        cache_type: How keys and values are stored.
    """
    shape = subject.architecture
    steps = machine.step_seconds * STEPS_A_LAYER * shape.layers
    numbers = shape.layers * activations(subject) * ELEMENT_PASSES
    between = numbers * machine.element_seconds
    decode, decode_formula = None, "an embedding model writes no tokens"
    if not subject.embedding:
        weights = sum(
            size / machine.decode.get(kind, machine.bandwidth)
            for kind, size in subject.types.items()
        )
        read = cache_bytes(shape.layers, shape.kv_heads, shape.head_dim, past, cache_type.bits)
        attention = 4 * shape.layers * shape.heads * shape.head_dim * past
        cached = max(
            read / machine.bandwidth,
            attention / machine.attention_decode if machine.attention_decode else 0.0,
        )
        decode = 1 / (weights + cached + between + steps)
        decode_formula = (
            f"1 ÷ ({sum(subject.types.values()) / 1e9:.3g} GB of weights in "
            f"{weights * 1e3:.3g} ms + cache of {past} tokens in {cached * 1e3:.3g} ms + "
            f"what is between in {(between + steps) * 1e3:.3g} ms)"
        )
    prefill, prefill_formula = _prefill(subject, machine, prompt, steps / prompt + between)
    return Speed(decode, prefill, decode_formula, prefill_formula)


def _prefill(
    subject: Subject, machine: Machine, prompt: int, rest: float
) -> tuple[float | None, str]:
    if machine.flops is None and not machine.prefill:
        return None, "FLOP/s of the machine are not known: give --flops"
    shape = subject.architecture
    known = machine.flops or max(machine.prefill.values())
    weights = sum(
        2 * count / machine.prefill.get(kind, known)
        for kind, count in subject.layer_weights.items()
    )
    active = sum(subject.layer_weights.values())
    seen = prompt if subject.embedding else prompt / 2
    attention = 4 * shape.layers * shape.heads * shape.head_dim * seen
    looking = attention / (machine.attention_prefill or known)
    seconds = weights + looking + rest
    return 1 / seconds, (
        f"1 ÷ (2 x {active / 1e9:.3g} billion weights in {weights * 1e3:.3g} ms + attention to a "
        f"prompt of {prompt} in {looking * 1e3:.3g} ms + what is between in {rest * 1e3:.3g} ms)"
    )
