"""Times this machine with the engine's own kernels, for predictions of speed."""

from __future__ import annotations

from bastide.evaluation.engine import Engine, Event
from bastide.progress import Progress
from bastide.sizing.speed import Machine
from bastide.sizing.subject import NUMBERS

# What the probe times if no model is named: what files of today are made of.
COMMON = ("F16", "Q4_0", "Q4_K", "Q5_K", "Q6_K", "Q8_0")
NOT_TIMED = frozenset({"F32"})  # norms and biases: a thousandth of a model


def measure_machine(engine: Engine, types: tuple[str, ...], progress: Progress) -> Machine:
    """Return how fast this machine is with weights of ``types``.

    Raises:
        VerifyError: The engine failed.
    """
    wanted = {name: NUMBERS[name] for name in types or COMMON if name not in NOT_TIMED}
    found: list[Event] = []
    with progress.task("time the kernels", total=len(wanted), unit="steps") as task:

        def on_event(event: Event) -> None:
            task.advance(event["event"] == "step")
            found.append(event)

        engine.run({"action": "probe", "types": wanted}, on_event)
    return machine_of(found[-1], engine.threads)


def machine_of(event: Event, threads: int) -> Machine:
    """Return the machine that a probe's last event describes."""
    return Machine(
        bandwidth=max(event["decode"].values()),
        decode=event["decode"],
        prefill=event["prefill"],
        attention_decode=event["attention_decode"],
        attention_prefill=event["attention_prefill"],
        step_seconds=event["step_seconds"],
        element_seconds=event["element_seconds"],
        measured=f"kernels of llama-cpp-python {event['engine']}, {threads} threads, "
        f"load {event['load']:.1f}",
    )
