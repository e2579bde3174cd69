"""Questions to this host's vector DB service."""

from __future__ import annotations

import contextlib
import http.client
import json
import re
import urllib.parse
from typing import Any

from bastide_host.client import connect
from bastide_host.host import AgentError, JsonObject, Paths, read_json, text_of

UNIT = "bastide-vectordb.service"
PROBES = 5  # points of each collection whose neighbours are remembered
NEIGHBOURS = 10
TOLERANCE = 1e-4
_SECONDS = 120.0  # a flush of much data takes its time


class RefusedError(Exception):
    """The service answered something else than 200.

    Args:
        status: HTTP status.
        text: What it said.
    """

    def __init__(self, status: int, text: str) -> None:
        super().__init__(f"answered {status}: {text}")
        self.status = status


class VectorDb:
    """The service on this host.

    Args:
        paths: The host's paths: its live generation says where the service listens.
        pass_: What lets writes through a fence; empty: nothing.

    Raises:
        AgentError: This host's generation has no vector DB.
    """

    def __init__(self, paths: Paths, pass_: str = "") -> None:
        services = (read_json(paths.current / "etc/host.json") or {}).get("services", {})
        self._paths, self._url = paths, services.get(UNIT, "")
        if not self._url:
            raise AgentError("BAS-6078", f"{UNIT} is not a service of this host's generation")
        self._key = text_of(paths.secrets / "api_key").strip()
        self._pass = {"x-bastide-pass": pass_} if pass_ else {}

    def ask(self, method: str, path: str, body: JsonObject | None = None) -> Any:  # noqa: ANN401 - JSON
        """Return the result of one request.

        Raises:
            OSError: No answer.
            RefusedError: Another answer than 200.
        """
        headers = {"api-key": self._key, "content-type": "application/json", **self._pass}
        with contextlib.closing(connect(self._paths, self._url, _SECONDS)) as connection:
            try:
                connection.request(method, path, json.dumps(body) if body else None, headers)
                response = connection.getresponse()
                text = response.read().decode("utf-8", "replace")
            except http.client.HTTPException as error:
                raise ConnectionError(f"broke off: {error!r}") from error
        if response.status != http.client.OK:
            raise RefusedError(response.status, text[:400])
        answer = json.loads(text)
        return answer.get("result", answer)

    def versions(self) -> dict[str, str]:
        """Return the versions of the service and of its engine, empty where unknown."""
        title = str(self.ask("GET", "/").get("title", ""))
        found = re.match(r"Bastide vectordb (\S+): .*Edge (\S+)$", title)
        return {"creator": found.group(1) if found else "", "edge": found.group(2) if found else ""}

    def counts(self) -> dict[str, int]:
        """Return the number of points of every collection."""
        names = sorted(each["name"] for each in self.ask("GET", "/collections")["collections"])
        return {
            name: int(self.ask("POST", f"{_path(name)}/points/count", {"exact": True})["count"])
            for name in names
        }

    def probes(self, collection: str) -> list[JsonObject]:
        """Return the nearest neighbours of a few points of a collection, by exact search."""
        path = _path(collection)
        using = self._using(self.ask("GET", path)["config"]["params"])
        asked = {"limit": PROBES, "with_payload": False, "with_vector": False}
        points = self.ask("POST", f"{path}/points/scroll", asked)["points"]
        found = []
        for point in (each["id"] for each in points):
            with contextlib.suppress(RefusedError):  # a point without that vector
                found.append({**using, "point": point, "hits": self._nearest(path, point, using)})
        return found

    def hits(self, collection: str, probe: JsonObject) -> list[list[Any]]:
        """Return the neighbours that a probe's point has now."""
        using = {"using": probe["using"]} if "using" in probe else {}
        return self._nearest(_path(collection), probe["point"], using)

    def _nearest(self, path: str, point: int | str, using: dict[str, str]) -> list[list[Any]]:
        body = {"query": point, "limit": NEIGHBOURS, "params": {"exact": True}, **using}
        hits = self.ask("POST", f"{path}/points/query", body)["points"]
        return [[hit["id"], hit["score"]] for hit in hits]

    @staticmethod
    def _using(params: JsonObject) -> dict[str, str]:
        vectors = params.get("vectors") or {}
        if "size" in vectors:
            return {}
        names = sorted(vectors) or sorted(params.get("sparse_vectors") or {})
        return {"using": names[0]} if names else {}


def _path(collection: str) -> str:
    return f"/collections/{urllib.parse.quote(collection, safe='')}"


def same_hits(wanted: list[list[Any]], found: list[list[Any]]) -> bool:
    """Return whether two lists of neighbours are equal, ids and scores within ``TOLERANCE``.

    Neighbours as far away as the last one may be others: which of them are cut off is chance.
    """

    def near(one: float, other: float) -> bool:
        return abs(one - other) <= TOLERANCE * max(1.0, abs(one))

    if len(wanted) != len(found):
        return False
    if not all(near(one[1], other[1]) for one, other in zip(wanted, found)):  # noqa: B905 - new in 3.10
        return False
    scores = {str(point): score for point, score in found}
    return all(
        near(score, scores.get(str(point), float("inf")))
        for point, score in wanted
        if not near(score, wanted[-1][1])
    )
