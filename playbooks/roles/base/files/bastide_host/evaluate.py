"""Ask this host's own models golden questions. Reads only; answers are judged elsewhere.

The services are asked at their own addresses, past the gateway: what is measured is this host.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from bastide_host.client import connect
from bastide_host.host import AgentError, JsonObject, Paths, read_json

SEED = 1  # answers are the most likely tokens; the seed is for engines that still ask for one
SILENCE = 60.0  # s without a byte after which a service is taken to be stuck
BATCH = 16  # texts in one request
DIGITS = 6  # of a vector's numbers


class _FailedError(Exception):
    """A service gave no good answer; the text says what it did instead."""


@dataclass(frozen=True)
class Service:
    """A model server of this host."""

    paths: Paths
    url: str
    alias: str


def service_of(paths: Paths, group: str) -> Service | None:
    """Return this host's server of the live generation, or None if it has none."""
    services = (read_json(paths.current / "etc/host.json") or {}).get("services", {})
    url = services.get(f"bastide-{group}.service")
    if not url:
        return None
    model = (read_json(paths.current / f"etc/{group}.json") or {}).get("model", {})
    return Service(paths, url, str(model.get("alias", group)))


def evaluate(paths: Paths, given: JsonObject) -> JsonObject:
    """Return what this host's models answer, and how fast; raw, for the control node to judge.

    Args:
        paths: The host's paths.
        given: ``questions`` and ``speed`` (id, messages, max_tokens), ``texts`` (id, text),
            ``compared`` (ids of questions whose answers are made vectors, too), ``rounds`` (how
            often each question is asked, every other time in reverse order), ``parallel``
            (requests at once; those of ``speed`` go one by one) and ``seconds`` (for all).

    Raises:
        AgentError: There is no generation, or another became the live one meanwhile.
    """
    started = time.monotonic()
    deadline = started + float(given.get("seconds", 300))
    record = _generation(paths)
    llm, embeddings = service_of(paths, "llm"), service_of(paths, "embeddings")
    answers = _ask_in_rounds(llm, given, deadline) if llm else []
    speed = _ask_all(llm, _unseen(given.get("speed", [])), 1, deadline) if llm else []
    texts = [*given.get("texts", []), *_compared(given, answers)]
    vectors, errors = _embed_all(embeddings, texts, deadline) if embeddings else ({}, {})
    if _generation(paths) != record:
        raise AgentError(
            "BAS-7031",
            "another generation became the live one while the questions were asked",
            "wait until the run that did it has ended, then evaluate again",
        )
    return {
        "changed": False,
        "format": "bastide.answers/1",
        "host": (read_json(paths.current / "etc/host.json") or {}).get("host", ""),
        "generation": record["number"],
        "content": record["digest"],
        "release": record.get("release", ""),
        "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "seconds": round(time.monotonic() - started, 2),
        "models": {
            "llm": llm.alias if llm else "",
            "embeddings": embeddings.alias if embeddings else "",
        },
        "answers": answers,
        "speed": speed,
        "vectors": vectors,
        "errors": errors,
    }


def _generation(paths: Paths) -> JsonObject:
    record = read_json(paths.current / "generation.json")
    if record is None:
        raise AgentError(
            "BAS-7030",
            "this host runs no generation, so there is nothing to evaluate",
            "bastide apply",
        )
    return record


def _unseen(questions: list[JsonObject]) -> list[JsonObject]:
    """Return questions that begin with a number nobody has used before.

    A server keeps the state of beginnings that it has read: asked a second time, it would answer
    sooner, and the generation that is asked first would lose.
    """
    number = int.from_bytes(os.urandom(4), "big") % 10**8
    found = []
    for place, question in enumerate(questions):
        first, *rest = question["messages"]
        mark = f"{(number + place) % 10**8:08}"
        marked = {**first, "content": f"No. {mark}\n\n{first['content']}"}
        found.append({**question, "messages": [marked, *rest]})
    return found


def _compared(given: JsonObject, answers: list[JsonObject]) -> list[JsonObject]:
    wanted = set(given.get("compared", []))
    return [
        {"id": f"answer:{each['id']}:{each['round']}", "text": each["text"]}
        for each in answers
        if each["id"] in wanted and each["text"].strip()
    ]


# --- chat --------------------------------------------------------------------------------------
def _ask_in_rounds(service: Service, given: JsonObject, deadline: float) -> list[JsonObject]:
    """Return all answers of all rounds; every other round goes from the last question to the first.

    A server works on what it remembers and on what others ask meanwhile, both of which round
    differently: answers on the edge tip over in another order, and so can be told.
    """
    answers = []
    for turn in range(max(1, int(given.get("rounds", 1)))):
        asked = given.get("questions", [])[:: 1 if turn % 2 == 0 else -1]
        found = _ask_all(service, asked, max(1, int(given.get("parallel", 1))), deadline)
        answers += [{**each, "round": turn} for each in found]
    return answers


def _ask_all(
    service: Service, questions: list[JsonObject], parallel: int, deadline: float
) -> list[JsonObject]:
    with ThreadPoolExecutor(parallel) as pool:
        return list(pool.map(lambda question: _ask(service, question, deadline), questions))


def _ask(service: Service, question: JsonObject, deadline: float) -> JsonObject:
    """Return one answer with its times, or the error in its place."""
    body = {
        "model": service.alias,
        "messages": question["messages"],
        "max_tokens": question["max_tokens"],
        "temperature": 0,
        "seed": SEED,
        "stream": True,
    }
    started = time.monotonic()
    first, pieces, error = None, [], ""
    try:
        for piece in _pieces(service, body, deadline):
            first = time.monotonic() - started if first is None else first
            pieces.append(piece)
    except _FailedError as failed:
        error = str(failed)
    return {
        "id": question["id"],
        "text": "".join(pieces),
        "tokens": len(pieces),
        "first_seconds": None if first is None else round(first, 4),
        "seconds": round(time.monotonic() - started, 4),
        "error": error,
    }


def _pieces(service: Service, body: JsonObject, deadline: float) -> Iterator[str]:
    """Yield the pieces of a streamed answer; the server sends one a token."""
    with _post(service, "/v1/chat/completions", body, deadline) as response:
        for line in response:
            if time.monotonic() > deadline:
                raise _FailedError("no time was left")
            if not line.startswith(b"data:"):
                continue
            data = line[5:].strip()
            if data == b"[DONE]":
                return
            piece = _piece(json.loads(data))
            if piece:
                yield piece
    raise _FailedError("the answer broke off")


def _piece(event: JsonObject) -> str:
    if "error" in event:
        raise _FailedError(_words(event))
    choices = event.get("choices") or [{}]
    return (choices[0].get("delta") or {}).get("content") or ""


# --- vectors -----------------------------------------------------------------------------------
def _embed_all(
    service: Service, texts: list[JsonObject], deadline: float
) -> tuple[dict[str, list[float]], dict[str, str]]:
    """Return vectors and errors, by id of the text."""
    vectors: dict[str, list[float]] = {}
    errors: dict[str, str] = {}
    for start in range(0, len(texts), BATCH):
        batch = texts[start : start + BATCH]
        try:
            vectors.update(_embed(service, batch, deadline))
        except _FailedError:  # one text may have spoilt it for the others
            for text in batch:
                try:
                    vectors.update(_embed(service, [text], deadline))
                except _FailedError as failed:
                    errors[text["id"]] = str(failed)
    return vectors, errors


def _embed(service: Service, texts: list[JsonObject], deadline: float) -> dict[str, list[float]]:
    body = {"model": service.alias, "input": [text["text"] for text in texts]}
    with _post(service, "/v1/embeddings", body, deadline) as response:
        data = json.loads(response.read()).get("data", [])
    found = {int(item["index"]): item["embedding"] for item in data}
    if sorted(found) != list(range(len(texts))):
        raise _FailedError(f"{len(data)} vectors came for {len(texts)} texts")
    return {
        text["id"]: [round(float(number), DIGITS) for number in found[place]]
        for place, text in enumerate(texts)
    }


# --- the wire ----------------------------------------------------------------------------------
@contextlib.contextmanager
def _post(
    service: Service, path: str, body: JsonObject, deadline: float
) -> Iterator[http.client.HTTPResponse]:
    """Send a request; every way in which it can fail becomes ``_FailedError``."""
    left = deadline - time.monotonic()
    if left <= 0:
        raise _FailedError("no time was left")
    try:
        seconds = max(1.0, min(left, SILENCE))
        with contextlib.closing(connect(service.paths, service.url, seconds)) as connection:
            text = json.dumps(body).encode()
            connection.request("POST", path, text, {"Content-Type": "application/json"})
            response = connection.getresponse()
            if response.status != http.client.OK:
                said = response.read(2000)
                raise _FailedError(f"answered {response.status} {_words(_json(said))}".strip())
            yield response
    except (OSError, http.client.HTTPException, ValueError, LookupError, TypeError) as error:
        raise _FailedError(f"gave no answer: {type(error).__name__} {error}".strip()) from error


def _json(text: bytes) -> object:
    try:
        return json.loads(text)
    except ValueError:
        return text.decode("utf-8", "replace")[:200]


def _words(said: object) -> str:
    error = said.get("error", said) if isinstance(said, dict) else said
    return str(error.get("message", error) if isinstance(error, dict) else error)[:300]
