"""Every endpoint that is served, and those of Qdrant's that are not. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import unquote

from bastide_vectordb.errors import ApiError, NotFoundError, UnsupportedError


@dataclass(frozen=True)
class Route:
    """An endpoint.

    Args:
        method: HTTP method.
        path: Template, such as ``/collections/{collection}/points``.
        action: An engine operation, or the name of a service action.
        reading: Whether the read-only key suffices.
        form: Of an older endpoint that ``action`` now does: its name and form.
    """

    method: str
    path: str
    action: str
    reading: bool = False
    form: str = ""

    @property
    def writes(self) -> bool:
        """Whether a fence refuses it."""
        return not self.reading and self.method != "GET"

    @property
    def takes_room(self) -> bool:
        """Whether a full disk refuses it: deleting points is written down first, too."""
        return self.writes and self.action not in {"delete_collection", "delete_snapshot"}


_C = "/collections/{collection}"
_P = f"{_C}/points"
ROUTES = (
    Route("GET", "/", "root", reading=True),
    Route("GET", "/healthz", "health", reading=True),
    Route("GET", "/livez", "health", reading=True),
    Route("GET", "/readyz", "ready", reading=True),
    Route("GET", "/metrics", "metrics", reading=True),
    Route("GET", "/bastide/fence", "fence"),
    Route("POST", "/bastide/exchange", "exchange"),
    Route("GET", "/collections", "list", reading=True),
    Route("GET", "/aliases", "aliases", reading=True),
    Route("POST", "/collections/aliases", "change_aliases"),
    Route("GET", "/cluster", "cluster", reading=True),
    Route("GET", _C, "info_collection", reading=True),
    Route("PUT", _C, "create_collection"),
    Route("PATCH", _C, "update_collection"),
    Route("DELETE", _C, "delete_collection"),
    Route("GET", f"{_C}/exists", "exists", reading=True),
    Route("GET", f"{_C}/aliases", "aliases", reading=True),
    Route("GET", f"{_C}/cluster", "collection_cluster", reading=True),
    Route("PUT", f"{_C}/vectors/{{vector}}", "vector_create"),
    Route("DELETE", f"{_C}/vectors/{{vector}}", "vector_delete"),
    Route("PUT", f"{_C}/index", "index_create"),
    Route("DELETE", f"{_C}/index/{{field}}", "index_delete"),
    Route("POST", f"{_C}/facet", "facet", reading=True),
    Route("PUT", _P, "upsert"),
    Route("POST", _P, "retrieve", reading=True),
    Route("GET", f"{_P}/{{point}}", "get_point", reading=True),
    Route("POST", f"{_P}/delete", "delete"),
    Route("POST", f"{_P}/payload", "set_payload"),
    Route("PUT", f"{_P}/payload", "overwrite_payload"),
    Route("POST", f"{_P}/payload/delete", "delete_payload"),
    Route("POST", f"{_P}/payload/clear", "clear_payload"),
    Route("PUT", f"{_P}/vectors", "update_vectors"),
    Route("POST", f"{_P}/vectors/delete", "delete_vectors"),
    Route("POST", f"{_P}/batch", "batch"),
    Route("POST", f"{_P}/scroll", "scroll", reading=True),
    Route("POST", f"{_P}/count", "count", reading=True),
    Route("POST", f"{_P}/query", "query", reading=True),
    Route("POST", f"{_P}/query/batch", "query_batch", reading=True),
    Route("POST", f"{_P}/query/groups", "query_groups", reading=True),
    Route("POST", f"{_P}/search/matrix/pairs", "matrix_pairs", reading=True),
    Route("POST", f"{_P}/search/matrix/offsets", "matrix_offsets", reading=True),
    *(
        Route(
            "POST",
            f"{_P}/{name}" + ("" if form == "one" else f"/{form}"),
            {"one": "query", "batch": "query_batch", "groups": "query_groups"}[form],
            reading=True,
            form=f"{name} {form}",
        )
        for name, forms in (
            ("search", ("one", "batch", "groups")),
            ("recommend", ("one", "batch", "groups")),
            ("discover", ("one", "batch")),
        )
        for form in forms
    ),
    Route("GET", f"{_C}/snapshots", "list_snapshots", reading=True),
    Route("POST", f"{_C}/snapshots", "create_snapshot"),
    Route("GET", f"{_C}/snapshots/{{snapshot}}", "download_snapshot"),  # the whole collection
    Route("DELETE", f"{_C}/snapshots/{{snapshot}}", "delete_snapshot"),
    Route("POST", f"{_C}/snapshots/upload", "upload_snapshot"),
    Route("PUT", f"{_C}/snapshots/recover", "recover_snapshot"),
)
_UNSERVED = (  # Qdrant has these; the first parts of the path after the collection's name
    "cluster",
    "shards",
    "optimizations",
    "telemetry",
    "locks",
    "issues",
    "snapshots",
    "dashboard",
    "quotas",
)


def _table() -> dict[tuple[int, str], list[tuple[list[str], Route]]]:
    table: dict[tuple[int, str], list[tuple[list[str], Route]]] = {}
    for route in ROUTES:
        parts = route.path.strip("/").split("/")
        table.setdefault((len(parts), route.method), []).append((parts, route))
    for rows in table.values():  # "points/count" before "points/{point}"
        rows.sort(key=lambda row: sum(part.startswith("{") for part in row[0]))
    return table


_TABLE = _table()


def _matches(template: list[str], parts: list[str]) -> dict[str, str] | None:
    values = {}
    for wanted, part in zip(template, parts, strict=True):
        if wanted.startswith("{"):
            if not part:
                return None
            values[wanted[1:-1]] = unquote(part)
        elif wanted != part:
            return None
    return values


def find(method: str, raw_path: str) -> tuple[Route, dict[str, str]]:
    """The route of a request and the values in its path.

    Args:
        method: HTTP method; HEAD counts as GET.
        raw_path: The URL's path, still percent-encoded, so that an encoded slash in a name
            stays in the name.

    Raises:
        ApiError: 400 an endpoint of Qdrant's that is not served, 404 an unknown one,
            405 another method.
    """
    parts = raw_path.strip("/").split("/")
    wanted = "GET" if method == "HEAD" else method
    for template, route in _TABLE.get((len(parts), wanted), ()):
        values = _matches(template, parts)
        if values is not None:
            return route, values
    methods = sorted(
        {
            other
            for (length, other), rows in _TABLE.items()
            if length == len(parts)
            for template, _ in rows
            if _matches(template, parts) is not None
        }
    )
    raise _refusal(method, raw_path, parts, methods)


def _refusal(method: str, path: str, parts: list[str], methods: list[str]) -> ApiError:
    rest = parts[2:] if parts[0] == "collections" else parts
    tail = rest[1:] if rest[:1] == ["points"] else rest
    if set(_UNSERVED) & set(tail[:1]):
        return UnsupportedError(f"{method} {path}")
    if methods:
        return ApiError(405, f"Method not allowed: {path} takes {', '.join(methods)}")
    served = ", ".join(f"{route.method} {route.path}" for route in ROUTES)
    return NotFoundError(f"no endpoint {method} {path}; served are {served}")
