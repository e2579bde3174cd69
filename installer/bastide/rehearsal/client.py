"""A client of the lab's gateway, as a program: loads data, takes its digest, or keeps asking.

``python -m bastide.rehearsal.client`` reads one JSON object from standard input, because it holds
an API key, and does one ``task``. It runs in the network of the lab's control node.
"""

from __future__ import annotations

import hashlib
import json
import os
import ssl
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, TextIO

import httpx

from bastide.rehearsal.measure import NO_ANSWER, Sample

POINTS = 64
EVERY = 0.25  # s between two questions to one service
PATIENCE = 60.0
_BATCH = 16
_PAGE = 256


def _client(order: Mapping[str, Any]) -> httpx.Client:
    # No kept connections: each question is a new client's, as far as the gateway can see.
    return httpx.Client(
        base_url=order["url"],
        verify=ssl.create_default_context(cafile=order["authority"]),
        headers={"Authorization": f"Bearer {order['key']}"},
        trust_env=False,
        timeout=httpx.Timeout(PATIENCE, connect=10.0),
        limits=httpx.Limits(max_keepalive_connections=0),
    )


def fill(client: httpx.Client, order: Mapping[str, Any]) -> dict[str, Any]:
    """Store points made from texts in every collection; return how many there are."""
    texts = [
        f"Passage {n}: pump {n % 7} of line {n % 5} is serviced every {n % 11 + 1} weeks."
        for n in range(POINTS)
    ]
    vectors: list[list[float]] = []
    for start in range(0, POINTS, _BATCH):
        asked = {"model": order["embeddings"], "input": texts[start : start + _BATCH]}
        answer = client.post("/v1/embeddings", json=asked).raise_for_status().json()
        vectors += [each["embedding"] for each in answer["data"]]
    for name, field in order["collections"].items():
        shape = {"vectors": {"size": len(vectors[0]), "distance": "Cosine"}}
        client.put(f"/vectordb/collections/{name}", json=shape).raise_for_status()
        points = [
            {"id": n, "vector": vectors[n], "payload": {field: texts[n], "asked": 1}}
            for n in range(POINTS)
        ]
        path = f"/vectordb/collections/{name}/points?wait=true"
        client.put(path, json={"points": points}).raise_for_status()
    return {"points": POINTS * len(order["collections"])}


def digest(client: httpx.Client, order: Mapping[str, Any]) -> dict[str, Any]:
    """Return the digest of every point of every collection: ids, payloads and vectors."""
    found: dict[str, Any] = {}
    for name in sorted(order["collections"]):
        points: list[Any] = []
        offset: Any = None
        while True:
            asked = {"limit": _PAGE, "with_payload": True, "with_vector": True}
            if offset is not None:
                asked["offset"] = offset
            path = f"/vectordb/collections/{name}/points/scroll"
            page = client.post(path, json=asked).raise_for_status().json()["result"]
            points += page["points"]
            offset = page.get("next_page_offset")
            if offset is None:
                break
        kept = [{key: each.get(key) for key in ("id", "payload", "vector")} for each in points]
        text = json.dumps(sorted(kept, key=lambda each: str(each["id"])), sort_keys=True)
        found[name] = hashlib.sha256(text.encode()).hexdigest()
    return {"digests": found}


def questions(order: Mapping[str, Any]) -> dict[str, Callable[[httpx.Client], httpx.Response]]:
    """Return what is asked of each service; none of it depends on a vector's width."""
    collection = next(iter(order["collections"]))
    chat = {
        "model": order["llm"],
        "messages": [{"role": "user", "content": "Say yes."}],
        "max_tokens": 1,
    }
    texts = {"model": order["embeddings"], "input": "pump"}
    points = f"/vectordb/collections/{collection}/points"
    same = {"payload": {"asked": 1}, "points": [0]}  # what it is already: writing changes nothing
    return {
        "chat": lambda client: client.post("/v1/chat/completions", json=chat),
        "embeddings": lambda client: client.post("/v1/embeddings", json=texts),
        "vector search": lambda client: client.post(f"{points}/query", json={"query": 0}),
        "vector write": lambda client: client.post(f"{points}/payload?wait=true", json=same),
        "health": lambda client: client.get("/healthz"),
    }


def keep_asking(order: Mapping[str, Any], parent: int) -> None:
    """Ask every service again and again and write each answer down, until the parent ends."""
    lock = threading.Lock()
    with Path(order["samples"]).open("a", encoding="utf-8") as out:
        for name, ask in questions(order).items():
            worker = threading.Thread(
                target=_ask_for_ever, args=(order, name, ask, out, lock), daemon=True
            )
            worker.start()
        while os.getppid() == parent:  # an orphan would ask for ever
            time.sleep(0.5)


def _ask_for_ever(
    order: Mapping[str, Any],
    name: str,
    ask: Callable[[httpx.Client], httpx.Response],
    out: TextIO,
    lock: threading.Lock,
) -> None:
    with _client(order) as client:
        while True:
            sent = time.monotonic()
            try:
                status = ask(client).status_code
            except httpx.HTTPError:
                status = NO_ANSWER
            took = time.monotonic() - sent
            with lock:
                out.write(json.dumps(asdict(Sample(name, sent, took, status))) + "\n")
                out.flush()
            time.sleep(max(EVERY - took, 0.02))


def main() -> None:
    """Do the task that standard input asks for; print its answer as JSON."""
    parent = os.getppid()
    order = json.loads(sys.stdin.read())
    if order["task"] == "ask":
        keep_asking(order, parent)
        return
    with _client(order) as client:
        task = fill if order["task"] == "fill" else digest
        print(json.dumps(task(client, order)))  # noqa: T201 - a program of its own


if __name__ == "__main__":
    main()
