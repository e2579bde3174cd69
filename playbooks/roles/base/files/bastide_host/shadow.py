"""A collection and its shadow: the same points, with vectors of another model."""

from __future__ import annotations

import http.client
import math
import urllib.parse
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from bastide_host.embedder import Embedder
from bastide_host.host import AgentError, JsonObject
from bastide_host.vectors import RefusedError, VectorDb

SUFFIX = ".bastide-next"
MARK = "bastide_reembedding"  # in a collection's metadata: the migration that made it
BATCH = 64
SAMPLE = 20
_TIES = 10
_SAME = 0.999  # cosine of two vectors of one text: batches of other sizes round otherwise
UNFIT = "BAS-6096"
NOT_PROVED = "BAS-6098"


@dataclass
class Tally:
    """What a pass did.

    Args:
        embedded: Points that got a vector of the new model.
        kept: Points without a text that keep the vector that they have.
        removed: Points that are no longer there.
        lost: Points without a text, where the old vector does not fit the new width.
    """

    embedded: int = 0
    kept: int = 0
    removed: int = 0
    lost: int = 0


class Pair:
    """A collection that is embedded anew.

    Args:
        database: The vector DB.
        name: The collection.
        field: The field of the payload that has the text.
        mark: The migration.
        embedder: Makes the new vectors.
    """

    def __init__(
        self, database: VectorDb, name: str, field: str, mark: str, embedder: Embedder
    ) -> None:
        self._db = database
        self.name = name
        self._field = field
        self._mark = mark
        self._embedder = embedder
        self._old, self._new = path_of(name), path_of(name + SUFFIX)
        self._using, self._size = "", 0
        self._new_size = 0

    def ready(self) -> bool:
        """See that the shadow is there; return whether it had to be made, and so is empty.

        Raises:
            AgentError: The collection has more vectors than the one.
        """
        config = self._db.ask("GET", self._old)["config"]
        self._using, self._size = _one_vector(self.name, config["params"])
        found = config_of(self._db, self.name + SUFFIX)
        if found is not None and mark_of(found) == self._mark:
            self._new_size = _one_vector(self.name, found["params"])[1]
            return False
        if found is not None:
            self._db.ask("DELETE", self._new)
        self._make(config)
        return True

    def _make(self, config: JsonObject) -> None:
        self._new_size = len(self._embedder.embed([("none", "width")])[0])
        params = config["params"]
        vector = params["vectors"][self._using] if self._using else params["vectors"]
        resized = {**vector, "size": self._new_size}
        optimizers = dict(config["optimizer_config"])
        optimizers.pop("flush_interval_sec", None)  # shown, but not to be set
        body = {
            "vectors": {self._using: resized} if self._using else resized,
            "hnsw_config": config["hnsw_config"],
            "optimizers_config": optimizers,
            "quantization_config": config.get("quantization_config"),
            "on_disk_payload": params.get("on_disk_payload"),
            "metadata": {**config.get("metadata", {}), MARK: self._mark},
        }
        self._db.ask("PUT", self._new, body)
        # Before the points: an HNSW index built earlier would not know them.
        for field, schema in self._db.ask("GET", self._old)["payload_schema"].items():
            index = {"field_name": field, "field_schema": schema.get("params", schema["data_type"])}
            self._db.ask("PUT", f"{self._new}/index", index)

    def fill(
        self, offset: int | str | None, saw: Callable[[int | str | None], None], tally: Tally
    ) -> None:
        """Bring every point from an offset on into the shadow, unless it is there as it is.

        Args:
            offset: The id to begin with; None: the first.
            saw: Is told where to go on after each batch; None after the last.
            tally: What is counted.

        Raises:
            AgentError: Points without a text do not fit.
        """
        for points, following in self._scroll(self._old, offset, payload=True):
            self._bring(points, tally)
            saw(following)
        if tally.lost:
            raise AgentError(
                UNFIT,
                f"{tally.lost} points of collection {self.name!r} have no text in the field "
                f"{self._field!r}, and their vectors of {self._size} numbers do not fit the new "
                f"model's {self._new_size}",
                "give them a text or remove them, or leave the collection out of "
                "upgrades.collections; then apply again",
            )

    def prune(self, tally: Tally) -> None:
        """Remove the points of the shadow that are no longer in the collection."""
        for points, _ in self._scroll(self._new, None, payload=False):
            ids = [point["id"] for point in points]
            there = {point["id"] for point in self._points(self._old, ids)}
            if gone := [point for point in ids if point not in there]:
                self._db.ask("POST", f"{self._new}/points/delete?wait=true", {"points": gone})
                tally.removed += len(gone)

    def prove(self) -> int:
        """Return the number of points, the same in both; a sample has the vectors of its texts.

        Raises:
            AgentError: They differ.
        """
        counts = [
            self._db.ask("POST", f"{path}/points/count", {"exact": True})["count"]
            for path in (self._old, self._new)
        ]
        if counts[0] != counts[1]:
            raise self._unproved(f"it has {counts[1]} points, expected {counts[0]}")
        for point, vector in self._sample():
            if not self._finds(point, vector):
                raise self._unproved(f"point {point} is not nearest to the vector of its text")
        return int(counts[0])

    # --- inside ------------------------------------------------------------------------------
    def _unproved(self, what: str) -> AgentError:
        return AgentError(
            NOT_PROVED,
            f"the new vectors of collection {self.name!r} are not in order: {what}",
            "the old ones are served on; apply again, and report it if it stays",
        )

    def _sample(self) -> list[tuple[int | str, list[float]]]:
        """Return a few points, drawn at random, with vectors of their texts, made once more."""
        asked = {"query": {"sample": "random"}, "limit": SAMPLE, "with_payload": True}
        points = self._db.ask("POST", f"{self._new}/points/query", asked)["points"]
        texts = [(point["id"], text) for point in points if (text := self._text(point))]
        return [
            (point, vector)
            for (point, _), vector in zip(texts, self._embedder.embed(texts))  # noqa: B905 - new in 3.10
        ]

    def _finds(self, point: int | str, vector: list[float]) -> bool:
        """Return whether a point has a vector, and nothing is nearer to that; equals may be."""
        stored = self._points(self._new, [point], vectors=True)[0]["vector"]
        if _cosine(stored[self._using] if self._using else stored, vector) < _SAME:
            return False
        asked = {"query": vector, "limit": _TIES, "params": {"exact": True}, "with_payload": False}
        if self._using:
            asked["using"] = self._using
        hits = self._db.ask("POST", f"{self._new}/points/query", asked)["points"]
        scores = [hit["score"] for hit in hits]
        equals = [hit["id"] for hit in hits if abs(hit["score"] - scores[0]) <= 1 - _SAME]
        return point in equals or len(equals) == _TIES

    def _text(self, point: JsonObject) -> str:
        """Return the text of a point; empty if it has none."""
        text = (point["payload"] or {}).get(self._field)
        return text if isinstance(text, str) and text.strip() else ""

    def _bring(self, points: list[JsonObject], tally: Tally) -> None:
        there = {p["id"]: p for p in self._points(self._new, [p["id"] for p in points])}
        texts, bare = [], []
        for point in points:
            if not self._text(point):
                bare.append(point)
            elif (there.get(point["id"]) or {}).get("payload", None) != point["payload"]:
                texts.append(point)
        made = self._embedder.embed([(p["id"], self._text(p)) for p in texts])
        wanted = [self._point(p, vector) for p, vector in zip(texts, made)]  # noqa: B905 - new in 3.10
        tally.embedded += len(wanted)
        if bare and self._size != self._new_size:
            tally.lost += len(bare)
        elif bare:
            old = self._points(self._old, [point["id"] for point in bare], vectors=True)
            wanted += [{key: p[key] for key in ("id", "vector", "payload")} for p in old]
            tally.kept += len(old)
        if wanted:
            self._db.ask("PUT", f"{self._new}/points?wait=true", {"points": wanted})

    def _point(self, point: JsonObject, vector: list[float]) -> JsonObject:
        named = {self._using: vector} if self._using else vector
        return {"id": point["id"], "vector": named, "payload": point["payload"]}

    def _points(self, path: str, ids: list[Any], *, vectors: bool = False) -> list[JsonObject]:
        asked = {"ids": ids, "with_payload": True, "with_vector": vectors}
        return list(self._db.ask("POST", f"{path}/points", asked))

    def _scroll(
        self,
        path: str,
        offset: int | str | None,
        *,
        payload: bool,
    ) -> Iterator[tuple[list[JsonObject], Any]]:
        while True:
            asked: JsonObject = {"limit": BATCH, "with_payload": payload, "with_vector": False}
            if offset is not None:
                asked["offset"] = offset
            answer = self._db.ask("POST", f"{path}/points/scroll", asked)
            offset = answer.get("next_page_offset")
            yield answer["points"], offset
            if offset is None:
                return


def path_of(collection: str) -> str:
    """Return a collection's path in the API."""
    return f"/collections/{urllib.parse.quote(collection, safe='')}"


def config_of(database: VectorDb, collection: str) -> JsonObject | None:
    """Return a collection's settings; None if it is not there."""
    try:
        return dict(database.ask("GET", path_of(collection))["config"])
    except RefusedError as error:
        if error.status != http.client.NOT_FOUND:
            raise
        return None


def mark_of(config: JsonObject) -> str:
    """Return which migration made a collection; empty: none."""
    return str(config.get("metadata", {}).get(MARK, ""))


def _cosine(one: list[float], other: list[float]) -> float:
    length = math.sqrt(sum(x * x for x in one) * sum(x * x for x in other))
    return sum(x * y for x, y in zip(one, other)) / length if length else 0.0  # noqa: B905 - 3.10


def _one_vector(name: str, params: JsonObject) -> tuple[str, int]:
    """Return name (empty: it has none) and width of a collection's only vector."""
    vectors = params.get("vectors") or {}
    named = {"": vectors} if "size" in vectors else vectors
    only: JsonObject = next(iter(named.values()), {})
    if len(named) != 1 or params.get("sparse_vectors") or only.get("multivector_config"):
        raise AgentError(
            UNFIT,
            f"collection {name!r} has other vectors than one dense one a point",
            "leave it out of upgrades.collections and embed it anew yourself",
        )
    return next(iter(named)), int(only["size"])
