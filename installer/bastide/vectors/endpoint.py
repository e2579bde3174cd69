"""One vector DB behind Qdrant's REST API, whatever engine serves it."""

from __future__ import annotations

import re
import ssl
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx

from bastide.errors import ApplyError, ConfigError
from bastide.schema.vectordb import VectorEngine
from bastide.vectors.codes import BAD_KEY_FILE, REFUSED, SILENT

Json = dict[str, Any]
TRIES = 20  # of a request that is answered "later" (429, 503)
LONGEST_WAIT = 30.0  # s, whatever Retry-After says
TIMEOUT = httpx.Timeout(120.0, connect=10.0)
_LATER = frozenset({429, 503})


class RefusedError(ApplyError):
    """The vector DB refused a request.

    Args:
        status: HTTP status.
        message: What it said.
    """

    default_code = REFUSED

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message, hint="see what the vector DB says; nothing of it is undone")
        self.status = status


@dataclass(frozen=True)
class Address:
    """Where a vector DB is, and what opens it.

    Args:
        url: Base address, such as ``https://10.0.0.3:8443/vectordb``.
        key: API key; empty: none is sent. ``repr`` never shows it.
        authority: CA certificate that vouches for an https address; None: the system's.
    """

    url: str
    key: str = field(default="", repr=False)
    authority: Path | None = None


def read_key(path: Path) -> str:
    """Return the API key in a file.

    Raises:
        ConfigError: The file cannot be read or holds none.
    """
    try:
        key = path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise _bad_key(path, str(error)) from error
    if not key or not key.isascii() or not key.isprintable():
        raise _bad_key(path, "it holds no key")
    return key


def _bad_key(path: Path, why: str) -> ConfigError:
    return ConfigError(
        f"{path}: cannot be used as a key file: {why}",
        code=BAD_KEY_FILE,
        hint="give a file with nothing but the vector DB's API key",
    )


class Endpoint:
    """Asks one vector DB; to be closed.

    Args:
        address: Where it is.
        sleep: Waits for so many seconds.
    """

    def __init__(self, address: Address, sleep: Callable[[float], None] = time.sleep) -> None:
        self.url = address.url.rstrip("/")
        key = address.key
        verify: ssl.SSLContext | bool = True
        if address.authority is not None:
            verify = ssl.create_default_context(cafile=str(address.authority))
        self._sleep = sleep
        self._client = httpx.Client(
            verify=verify,
            # Both, for a gateway asks for the one and a vector DB for the other.
            headers={"api-key": key, "authorization": f"Bearer {key}"} if key else {},
            trust_env=False,
            timeout=TIMEOUT,
        )

    def __enter__(self) -> Endpoint:
        """Return the endpoint itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the connections."""
        self._client.close()

    def ask(self, method: str, path: str, body: Json | None = None) -> Any:  # noqa: ANN401 - JSON
        """Return the ``result`` of an answer; waits where it is told to come back later.

        Raises:
            RefusedError: The vector DB said no.
            ApplyError: It did not answer, or not as Qdrant does.
        """
        for _ in range(TRIES):
            response = self._send(method, path, body)
            if response.status_code not in _LATER or "retry-after" not in response.headers:
                break
            wait = response.headers["retry-after"]
            self._sleep(min(LONGEST_WAIT, float(wait) if wait.isdigit() else 1.0))
        return self._result(method, path, response)

    def _send(self, method: str, path: str, body: Json | None) -> httpx.Response:
        try:
            return self._client.request(method, f"{self.url}{path}", json=body)
        except httpx.HTTPError as error:
            raise ApplyError(
                f"{self.url} does not answer: {error}",
                code=SILENT,
                hint="see that it runs and can be reached; run the command again: it goes on "
                "where it stopped",
            ) from error

    def _result(self, method: str, path: str, response: httpx.Response) -> Any:  # noqa: ANN401
        try:
            data = response.json()
            if response.status_code < 300:
                return data["result"] if path != "/" else data
            said = data["status"]["error"]
        except (ValueError, KeyError, TypeError):
            said = f"an answer that is not Qdrant's: {response.text[:200]!r}"
        where = f"{self.url}: {method} {path}: {response.status_code}"
        raise RefusedError(response.status_code, f"{where}: {said}")

    def engine(self) -> tuple[VectorEngine, str]:
        """Return which engine answers, and its version.

        Raises:
            ApplyError: Nobody answers, or it is no vector DB.
        """
        about = self.ask("GET", "/")
        title = str(about.get("title", ""))
        edge = re.search(r"Bastide vectordb .*Qdrant Edge (\S+)", title)
        if edge:
            return VectorEngine.EDGE, edge[1]
        if "qdrant" not in title.lower():
            raise RefusedError(200, f"{self.url}: this is no vector DB: it calls itself {title!r}")
        return VectorEngine.SERVER, str(about.get("version", ""))

    def collections(self) -> tuple[str, ...]:
        """Return the names of all collections, sorted."""
        listed = self.ask("GET", "/collections")["collections"]
        return tuple(sorted(each["name"] for each in listed))

    def info(self, name: str) -> Json:
        """Return what the vector DB says of a collection."""
        found: Json = self.ask("GET", path_of(name))
        return found

    def count(self, name: str) -> int:
        """Return how many points a collection has, exactly."""
        return int(self.ask("POST", f"{path_of(name)}/points/count", {"exact": True})["count"])

    def aliases(self) -> Mapping[str, str]:
        """Return the collection of every alias."""
        listed = self.ask("GET", "/aliases")["aliases"]
        return {each["alias_name"]: each["collection_name"] for each in listed}

    def pages(
        self, name: str, size: int, offset: object = None
    ) -> Iterator[tuple[list[Json], object]]:
        """Yield a collection's points page by page, by rising id, each with the next offset.

        Args:
            name: The collection.
            size: Points in a page.
            offset: Id of the first point; None: from the start.
        """
        while True:
            body = {"limit": size, "with_payload": True, "with_vector": True, "offset": offset}
            answer = self.ask("POST", f"{path_of(name)}/points/scroll", body)
            offset = answer.get("next_page_offset")
            yield answer["points"], offset
            if offset is None:
                return


def path_of(collection: str) -> str:
    """Return a collection's path; its name may have any character."""
    return f"/collections/{quote(collection, safe='')}"
