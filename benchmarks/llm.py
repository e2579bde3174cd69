"""Load on a chat endpoint, and the engine's own limit beside it; runs on the host under test.

    python3 llm.py load --url http://127.0.0.1:8081 --clients 8     # needs nothing but Python
    python llm.py limit --model MODEL.gguf --batch 8                # needs llama-cpp-python

Prints one JSON object. ``load`` streams chat completions, all clients at once, and counts the
pieces that arrive; every prompt is different, so that no prompt cache helps. ``limit`` decodes
fixed tokens of as many sequences in one batch, without sampling, text or network: what remains
when a server costs nothing. ``gateway.py`` runs both on a site's host and compares.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import ssl
import statistics
import sys
import threading
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

PROMPT = "Case {case}. Write a long story about a lighthouse keeper and the sea. Tell every detail."


def connect(url: str, ca: str | None) -> http.client.HTTPConnection:
    """Return a connection to ``url``; https trusts only ``ca``."""
    parts = urlsplit(url)
    if parts.hostname is None:
        raise SystemExit(f"{url}: no host")
    if parts.scheme == "https":
        context = ssl.create_default_context(cafile=ca)
        return http.client.HTTPSConnection(parts.hostname, parts.port, timeout=300, context=context)
    return http.client.HTTPConnection(parts.hostname, parts.port, timeout=300)


def stream(connection: http.client.HTTPConnection, key: str, body: bytes) -> list[float]:
    """Send one request; return when each piece of its answer came, by the monotonic clock."""
    headers = {"Content-Type": "application/json"}
    if key:
        headers["Authorization"] = f"Bearer {key}"
    connection.request("POST", "/v1/chat/completions", body, headers)
    answer = connection.getresponse()
    if answer.status != 200:
        raise SystemExit(f"status {answer.status}: {answer.read(300)!r}")
    arrivals = []
    for line in answer:
        if line.startswith(b"data: {"):
            choices = json.loads(line[6:])["choices"]
            if choices and choices[0]["delta"].get("content"):
                arrivals.append(time.perf_counter())
    return arrivals


def load(options: argparse.Namespace) -> dict[str, float]:
    """Return tokens/s of all clients together and the median time to the first token, in s."""
    key = Path(options.api_key_file).read_text().strip() if options.api_key_file else ""
    barrier = threading.Barrier(options.clients + 1)
    firsts: list[float] = []
    lasts: list[float] = []
    counts: list[int] = []

    def client(number: int) -> None:
        connection = connect(options.url, options.ca)
        connection.connect()
        prompt = PROMPT.format(case=f"{options.case}-{number}")
        body = {
            "model": options.model_name,
            "messages": [{"role": "user", "content": prompt}],
            "max_tokens": options.tokens,
            "temperature": 0,
            "stream": True,
        }
        barrier.wait()
        sent = time.perf_counter()
        arrivals = stream(connection, key, json.dumps(body).encode())
        firsts.append(arrivals[0] - sent)
        lasts.append(arrivals[-1])
        counts.append(len(arrivals))

    threads = [threading.Thread(target=client, args=(n,)) for n in range(options.clients)]
    for thread in threads:
        thread.start()
    barrier.wait()
    start = time.perf_counter()
    for thread in threads:
        thread.join()
    if len(counts) != options.clients:
        raise SystemExit("a client failed: see above")
    rate = sum(counts) / (max(lasts) - start)
    return {"tokens_per_second": rate, "first_token": statistics.median(firsts)}


def limit(options: argparse.Namespace) -> dict[str, float]:
    """Return tokens/s of the engine when it decodes ``batch`` sequences together."""
    import llama_cpp as engine  # type: ignore[import-not-found]  # noqa: PLC0415 - host's own

    silence = engine.llama_log_callback(lambda *_: None)  # must live as long as the engine
    engine.llama_log_set(silence, None)
    engine.llama_backend_init()
    model = engine.llama_model_load_from_file(
        options.model.encode(), engine.llama_model_default_params()
    )
    parameters = engine.llama_context_default_params()
    parameters.n_ctx = options.batch * (options.prompt + options.tokens)
    parameters.n_batch = parameters.n_ubatch = 512
    parameters.n_seq_max = options.batch
    parameters.kv_unified = True
    parameters.n_threads = parameters.n_threads_batch = os.cpu_count() or 1
    context = engine.llama_init_from_model(model, parameters)
    if not context:
        raise SystemExit(f"{options.model} could not be loaded")
    batch = engine.llama_batch_init(512, 0, 1)
    sequences = range(options.batch)
    for sequence in sequences:
        _decode(engine, context, batch, [(sequence, at) for at in range(options.prompt)])
    start = time.perf_counter()
    for at in range(options.prompt, options.prompt + options.tokens):
        _decode(engine, context, batch, [(sequence, at) for sequence in sequences])
    seconds = time.perf_counter() - start
    return {"tokens_per_second": options.batch * options.tokens / seconds}


def _decode(engine: Any, context: Any, batch: Any, places: list[tuple[int, int]]) -> None:  # noqa: ANN401
    """Decode one token at each (sequence, position)."""
    batch.n_tokens = len(places)
    for slot, (sequence, position) in enumerate(places):
        batch.token[slot] = 1000 + (position * 37 + sequence * 101) % 20000
        batch.pos[slot] = position
        batch.n_seq_id[slot] = 1
        batch.seq_id[slot][0] = sequence
        batch.logits[slot] = 1
    if engine.llama_decode(context, batch) != 0:
        raise SystemExit("the engine refused a batch")


def arguments(argv: list[str]) -> argparse.Namespace:
    """Return the command line's options."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    verbs = parser.add_subparsers(dest="verb", required=True)
    each = verbs.add_parser("load", help="stream from an endpoint")
    each.add_argument("--url", required=True)
    each.add_argument("--ca", help="CA certificate of an https endpoint")
    each.add_argument("--api-key-file", help="file with the key; none is sent without it")
    each.add_argument("--model-name", default="model")
    each.add_argument("--clients", type=int, default=1)
    each.add_argument("--tokens", type=int, default=96)
    each.add_argument("--case", default="1", help="makes prompts differ between runs")
    each.set_defaults(action=load)
    each = verbs.add_parser("limit", help="decode without a server")
    each.add_argument("--model", required=True, help="GGUF file")
    each.add_argument("--batch", type=int, default=1, help="sequences in one batch")
    each.add_argument("--prompt", type=int, default=32, help="tokens there already")
    each.add_argument("--tokens", type=int, default=96)
    each.set_defaults(action=limit)
    return parser.parse_args(argv)


if __name__ == "__main__":
    chosen = arguments(sys.argv[1:])
    print(json.dumps(chosen.action(chosen)))
