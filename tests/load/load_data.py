"""Fills a collection through the gateway, and tells by one digest what all its points are.

python tests/load/load_data.py --url URL --key-file KEY --ca ca.pem --fill 2000
python tests/load/load_data.py --url URL --key-file KEY --ca ca.pem --digest
"""

from __future__ import annotations

import argparse
import hashlib
import json
import random
import ssl
import sys
from pathlib import Path
from urllib.parse import urlsplit

from qdrant_client import QdrantClient, models

COLLECTION = "proof"
WIDTH = 64
BATCH = 200


def main(arguments: list[str] | None = None) -> int:
    """Do what was asked; print the digest."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--url", required=True)
    parser.add_argument("--key-file", required=True, type=Path)
    parser.add_argument("--ca", required=True, type=Path)
    parser.add_argument("--fill", type=int, default=0, help="so many points")
    parser.add_argument("--digest", action="store_true", help="print the digest of all points")
    given = parser.parse_args(arguments)
    client = connect(given.url, given.key_file, given.ca)
    if given.fill:
        fill(client, given.fill)
    if given.digest:
        print(digest(client))
    return 0


def connect(url: str, key_file: Path, authority: Path) -> QdrantClient:
    """Return a client that goes through the gateway."""
    port = urlsplit(url).port or 443
    return QdrantClient(
        url=url,
        port=port,
        prefix="vectordb",
        api_key=key_file.read_text("utf-8").strip(),
        timeout=60,
        check_compatibility=False,
        verify=ssl.create_default_context(cafile=str(authority)),
        trust_env=False,
    )


def fill(client: QdrantClient, number: int) -> None:
    """Make the collection and store so many points; equal for equal numbers."""
    source = random.Random(number)  # noqa: S311 - test data
    client.create_collection(
        COLLECTION,
        vectors_config=models.VectorParams(size=WIDTH, distance=models.Distance.COSINE),
    )
    for start in range(0, number, BATCH):
        points = [
            models.PointStruct(
                id=each,
                vector=[source.uniform(-1, 1) for _ in range(WIDTH)],
                payload={"text": f"passage {each}", "tenant": f"t{each % 7}"},
            )
            for each in range(start, min(start + BATCH, number))
        ]
        client.upsert(COLLECTION, points=points, wait=True)


def digest(client: QdrantClient) -> str:
    """Return one SHA-256 over ids, vectors and payloads of all points."""
    found, after = hashlib.sha256(), None
    while True:
        points, after = client.scroll(
            COLLECTION, limit=500, offset=after, with_payload=True, with_vectors=True
        )
        for point in points:
            line = [point.id, point.vector, point.payload]
            found.update(json.dumps(line, sort_keys=True).encode())
        if after is None:
            return found.hexdigest()


if __name__ == "__main__":
    sys.exit(main())
