"""Constant load on a gateway, with an account of every request.

    python tests/load/load.py --url https://10.0.0.11:8443 --key-file KEY --ca ca.pem \
        --chats 2 --queries 2 --writes 1 --seconds 60 --log load.jsonl --summary load.json

Every client sends its next request when the last one is answered, on a connection that stays open,
and never retries; only writes that were refused with 503 and Retry-After are sent again, as the
documentation asks clients to. Ids of acknowledged writes go to ``--acknowledged``; ``--check FILE``
asks for them afterwards. Exit code 0: every request got a complete good answer; 1: some did not.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from pathlib import Path

from load_clients import Wish, check, run


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="load.py", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--url", required=True, help="https://ADDRESS:PORT of the gateway")
    parser.add_argument("--key-file", required=True, type=Path, help="a file with the API key")
    parser.add_argument("--ca", type=Path, help="the site CA's certificate")
    for kind in ("chats", "queries", "embeddings", "writes"):
        parser.add_argument(f"--{kind}", type=int, default=0, help=f"clients that send {kind}")
    parser.add_argument("--seconds", type=float, default=60.0, help="for how long; the bound")
    parser.add_argument("--pause", type=float, default=0.05, help="between a client's requests")
    parser.add_argument("--tokens", type=int, default=24, help="of an answer, at most")
    parser.add_argument("--stop-file", type=Path, help="ends the load when it appears")
    parser.add_argument("--acknowledged", type=Path, help="gets the ids of acknowledged writes")
    parser.add_argument("--log", type=Path, help="gets a JSON line a request")
    parser.add_argument("--summary", type=Path, help="gets the summary, which is printed too")
    parser.add_argument("--check", type=Path, help="only ask for the ids in this file")
    return parser.parse_args(arguments)


def _wish(options: argparse.Namespace) -> Wish:
    return Wish(
        url=options.url.rstrip("/"),
        key=options.key_file.read_text().strip(),
        authority=options.ca,
        clients={
            "chat": options.chats,
            "query": options.queries,
            "embedding": options.embeddings,
            "write": options.writes,
        },
        seconds=options.seconds,
        pause=options.pause,
        tokens=options.tokens,
        stop=options.stop_file,
        acknowledged=options.acknowledged,
    )


def main(arguments: list[str] | None = None) -> int:
    """Make the load that the command line asks for."""
    options = _parse(arguments)
    wish = _wish(options)
    if options.check:
        numbers = [int(line) for line in options.check.read_text().split()]
        missing = asyncio.run(check(wish, numbers))
        print(json.dumps({"acknowledged": len(numbers), "missing": missing}))
        return 1 if missing else 0
    log = options.log or Path("/dev/null")
    with log.open("w", buffering=1) as stream:
        summary = asyncio.run(run(wish, stream))
    text = json.dumps(summary, indent=2)
    if options.summary:
        options.summary.write_text(text + "\n")
    print(text)
    return 1 if summary["failed"] else 0


if __name__ == "__main__":
    sys.exit(main())
