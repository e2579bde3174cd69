"""The language model answers, as it writes, and several people at once."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import openai
import pytest

from bastide.schema.expectations import Expectations
from bastide.verify.suite import Measured, Saw

pytestmark = pytest.mark.area("Chat")

TOKENS = 48
PROMPT = "Explain in a few sentences how a water pump works."


@dataclass(frozen=True)
class Streamed:
    """A streamed answer: its text and when each piece arrived, in s from the request."""

    text: str
    arrivals: tuple[float, ...]
    started: float
    ending: str

    @property
    def tokens_per_second(self) -> float:
        """The rate after the first piece."""
        span = self.arrivals[-1] - self.arrivals[0]
        return (len(self.arrivals) - 1) / max(span, 1e-6)


def _stream(chat: openai.OpenAI, model: str, prompt: str = PROMPT) -> Streamed:
    started = time.monotonic()
    pieces, arrivals, ending = [], [], ""
    for chunk in chat.chat.completions.create(
        model=model,
        messages=[{"role": "user", "content": prompt}],
        max_tokens=TOKENS,
        temperature=0,
        stream=True,
    ):
        text = chunk.choices[0].delta.content if chunk.choices else None
        ending = (chunk.choices and chunk.choices[0].finish_reason) or ending
        if text:
            pieces.append(text)
            arrivals.append(time.monotonic() - started)
    return Streamed("".join(pieces), tuple(arrivals), started, ending)


def test_models_are_listed(expected: Expectations, chat: openai.OpenAI, saw: Saw) -> None:
    """/v1/models lists exactly the site's chat model and embedding model"""
    found = {model.id for model in chat.models.list()}
    saw(", ".join(sorted(found)))
    assert found == {expected.chat_model, expected.embedding_model}


def test_chat_answers(expected: Expectations, chat: openai.OpenAI, saw: Saw) -> None:
    """A question gets an answer, with its count of tokens"""
    answer = chat.chat.completions.create(
        model=expected.chat_model,
        messages=[{"role": "user", "content": "Name three things that a water pump needs."}],
        max_tokens=32,
        temperature=0,
    )
    text = answer.choices[0].message.content or ""
    saw(text.strip())
    assert text.strip(), "the answer is empty"
    assert answer.model == expected.chat_model
    assert answer.choices[0].finish_reason in {"stop", "length"}
    assert answer.usage is not None
    assert answer.usage.prompt_tokens > 0
    assert 0 < answer.usage.completion_tokens <= 32


def test_a_stream_comes_whole(expected: Expectations, chat: openai.OpenAI, saw: Saw) -> None:
    """A streamed answer comes in pieces, to its very end"""
    answer = _stream(chat, expected.chat_model)
    saw(f"{len(answer.arrivals)} pieces, ended by {answer.ending!r}")
    assert len(answer.arrivals) >= 8, f"only {len(answer.arrivals)} pieces: {answer.text!r}"
    assert answer.ending in {"stop", "length"}, f"it broke off: {answer.text!r}"


# The two below look at *when* pieces arrive. Among clients that go on, a request may wait for a
# slot longer than its answer takes: it would fail for a reason that is none of the generation's.
@pytest.mark.alone
def test_chat_streams(
    expected: Expectations, chat: openai.OpenAI, saw: Saw, measured: Measured
) -> None:
    """An answer arrives piece by piece while it is written"""
    answer = _stream(chat, expected.chat_model)
    assert len(answer.arrivals) >= 8, f"only {len(answer.arrivals)} pieces: {answer.text!r}"
    first, last = answer.arrivals[0], answer.arrivals[-1]
    saw(
        f"{len(answer.arrivals)} pieces, the first after {first:.2f} s, the last after {last:.2f} s"
    )
    measured("chat_first_token", "Time to first token", first, "s")
    measured("chat_rate", "Rate of one stream", answer.tokens_per_second, "tokens/s")
    # A proxy that collects the answer first would deliver everything at its end.
    assert first < last / 2, f"the first piece came after {first:.2f} s of {last:.2f} s"


@pytest.mark.alone
def test_people_are_served_at_once(
    expected: Expectations, chat: openai.OpenAI, saw: Saw, measured: Measured
) -> None:
    """Several streams advance together: nobody waits for another's end"""
    people = min(expected.parallel, 4)
    if people < 2:
        pytest.skip("the site is set to answer one request at a time")
    prompts = [f"{PROMPT} This is question number {number}." for number in range(people)]
    with ThreadPoolExecutor(people) as pool:
        answers = list(pool.map(lambda each: _stream(chat, expected.chat_model, each), prompts))
    times = [(a.started + a.arrivals[0], a.started + a.arrivals[-1]) for a in answers]
    total = sum(len(answer.arrivals) for answer in answers)
    rate = total / (max(last for _, last in times) - min(a.started for a in answers))
    saw(f"{people} streams, {total} tokens, {rate:.0f} tokens/s together")
    measured("chat_rate_together", f"Rate of {people} streams together", rate, "tokens/s")
    # On a busy host one stream may end early; a server that takes one at a time overlaps none.
    for first, last in times:
        others = sum(begun < last and first < ended for begun, ended in times) - 1
        assert others, "a stream began only after another had ended, and ended before the next"


def test_wrong_requests_are_explained(expected: Expectations, chat: openai.OpenAI) -> None:
    """A request that makes no sense gets a 4xx with an explanation, and the service goes on"""
    with pytest.raises(openai.APIStatusError) as refusal:
        chat.chat.completions.create(
            model=expected.chat_model,
            messages=[{"role": "user", "content": "hello"}],
            max_tokens=-5,
        )
    assert 400 <= refusal.value.status_code < 500, f"found {refusal.value.status_code}"
    assert _stream(chat, expected.chat_model, "Say hello.").text
