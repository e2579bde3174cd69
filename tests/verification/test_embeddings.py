"""Texts become vectors that mean something."""

from __future__ import annotations

import numpy as np
import openai
import pytest
from numpy.typing import NDArray

from bastide.schema.expectations import Expectations
from bastide.verify.suite import Saw

pytestmark = pytest.mark.area("Embeddings")

PUMP = "The pump stopped because its bearing was too hot."
MOTOR = "An overheated bearing made the motor shut down."
CAKE = "She baked a chocolate cake for her sister's birthday."


def _vectors(chat: openai.OpenAI, model: str, texts: list[str]) -> NDArray[np.float64]:
    answer = chat.embeddings.create(model=model, input=texts)
    ordered = sorted(answer.data, key=lambda each: each.index)
    return np.array([each.embedding for each in ordered])


def _cosine(one: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    return float(one @ other / np.linalg.norm(one) / np.linalg.norm(other))


def test_vectors_have_the_right_form(expected: Expectations, chat: openai.OpenAI, saw: Saw) -> None:
    """Vectors have the model's width and length one"""
    vectors = _vectors(chat, expected.embedding_model, [PUMP, MOTOR, CAKE])
    norms = np.linalg.norm(vectors, axis=1)
    saw(f"{vectors.shape[1]} dimensions, lengths {norms.min():.4f} to {norms.max():.4f}")
    assert vectors.shape == (3, expected.dimensions)
    assert np.allclose(norms, 1.0, atol=1e-3), f"expected length 1, found {norms.round(3)}"


def test_vectors_mean_something(expected: Expectations, chat: openai.OpenAI, saw: Saw) -> None:
    """Texts of like meaning are closer than texts of different meaning"""
    pump, motor, cake = _vectors(chat, expected.embedding_model, [PUMP, MOTOR, CAKE])
    like, unlike = _cosine(pump, motor), _cosine(pump, cake)
    saw(f"like meaning {like:.2f}, different meaning {unlike:.2f}")
    assert like > unlike + 0.2, f"expected a clear distance, found {like:.2f} and {unlike:.2f}"


def test_vectors_are_the_same_each_time(expected: Expectations, chat: openai.OpenAI) -> None:
    """A text has the same vector alone and among others"""
    alone = _vectors(chat, expected.embedding_model, [PUMP])[0]
    among = _vectors(chat, expected.embedding_model, [CAKE, PUMP, MOTOR])[1]
    assert _cosine(alone, among) > 0.999, f"cosine {_cosine(alone, among):.5f}"
