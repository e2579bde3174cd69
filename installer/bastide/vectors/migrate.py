"""Moves all collections from one vector DB to another: copy, compare, repair, prove.

The source is only ever read. A collection is copied page by page; then both sides are walked in
the order of ids, and what differs is written again or deleted, until a walk finds nothing. While
clients write to the source there may always be a difference: the last walk wants them to be quiet.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field

from bastide.errors import ApplyError
from bastide.progress import Progress
from bastide.vectors import shape
from bastide.vectors.codes import NOT_EQUAL, OTHER_SHAPE
from bastide.vectors.compare import Json, Tally, merged, same
from bastide.vectors.endpoint import Endpoint, RefusedError, path_of
from bastide.vectors.probe import probe
from bastide.vectors.progress_file import Moves

PAGE = 256  # points
WALKS = 4  # that may repair before the source counts as busy
_TOO_LARGE = 413
_MISSING = 404


@dataclass(frozen=True)
class Moved:
    """A collection that both sides hold now.

    Args:
        name: Its name.
        points: How many points both have.
        sha256: Digest of all ids and payloads, equal on both sides.
        copied: Points copied by this run.
        repaired: Points that had changed meanwhile.
        queries: Searches that gave the same on both sides.
    """

    name: str
    points: int
    sha256: str
    copied: int
    repaired: int
    queries: int


@dataclass
class Move:
    """A move between two vector DBs.

    Args:
        source: Where points come from.
        target: Where they go.
        moves: How far it has come.
        progress: Tells a person.
        page: Points asked for at once.
    """

    source: Endpoint
    target: Endpoint
    moves: Moves
    progress: Progress
    page: int = PAGE
    copied: int = field(default=0, init=False)

    def collection(self, name: str) -> Moved:
        """Move one collection; what was done before is not done again.

        Raises:
            ApplyError: The target has another collection of that name, one side does not answer,
                or the source does not stand still.
        """
        info = self.source.info(name)
        self._prepare(name, info)
        size = _page_of(info, self.page)
        self.copied = 0
        self._copy(name, size)
        repaired, tally = self._repair(name, size)
        queries = probe(self.source, self.target, name, info)
        limits = shape.strict_mode(info)
        if limits:
            self.target.ask("PATCH", path_of(name), {"strict_mode_config": limits})
        return Moved(name, tally.points, tally.sha256, self.copied, repaired, queries)

    def _prepare(self, name: str, info: Json) -> None:
        try:
            there = self.target.info(name)
        except RefusedError as error:
            if error.status != _MISSING:
                raise
            self.target.ask("PUT", path_of(name), shape.creation(info))
            there = self.target.info(name)
        why = shape.difference(info, there)
        if why:
            raise ApplyError(
                f"{self.target.url} has a collection {name!r} already, and {why}",
                code=OTHER_SHAPE,
                hint="delete or rename it there; the source is as it was",
            )
        present = shape.indexes(there)
        for field_name, schema in shape.indexes(info).items():
            if field_name not in present:
                body = {"field_name": field_name, "field_schema": schema}
                self.target.ask("PUT", f"{path_of(name)}/index?wait=true", body)

    def _copy(self, name: str, size: int) -> None:
        if name in self.moves.offsets and self.moves.offsets[name] is None:
            return
        with self.progress.task(
            f"copy {name}", total=self.source.count(name), unit="steps"
        ) as task:
            for points, following in self.source.pages(name, size, self.moves.offsets.get(name)):
                self._put(name, points)
                self.copied += len(points)
                task.advance(len(points))
                self.moves.reached(name, following)

    def _put(self, name: str, points: list[Json]) -> None:
        """Store points, in as many requests as the target's limit asks for."""
        if not points:
            return
        rows = [_as_written(point) for point in points]
        try:
            self.target.ask("PUT", f"{path_of(name)}/points?wait=true", {"points": rows})
        except RefusedError as error:
            if error.status != _TOO_LARGE or len(points) == 1:
                raise
            middle = len(points) // 2
            self._put(name, points[:middle])
            self._put(name, points[middle:])

    def _repair(self, name: str, size: int) -> tuple[int, Tally]:
        """Walk both sides until nothing differs; return what was repaired, and the digest."""
        total = 0
        for _ in range(WALKS):
            ours, theirs = Tally(), Tally()
            repaired = self._walk(name, size, ours, theirs)
            if not repaired and ours.sha256 == theirs.sha256:
                return total, ours
            total += repaired
        raise ApplyError(
            f"{name!r} still differs after {WALKS} walks over both sides: "
            f"{self.source.url} is being written to",
            code=NOT_EQUAL,
            hint="keep clients from writing and run the command again: it goes on from here",
        )

    def _walk(self, name: str, size: int, ours: Tally, theirs: Tally) -> int:
        changed: list[Json] = []
        gone: list[object] = []
        repaired = 0
        sides = (_tallied(self.source, name, size, ours), _tallied(self.target, name, size, theirs))
        for one, other in merged(*sides):
            if one is None and other is not None:
                gone.append(other["id"])
            elif one is not None and (other is None or not same(one, other)):
                changed.append(one)
            if len(changed) + len(gone) >= size:
                repaired += self._mend(name, changed, gone)
        return repaired + self._mend(name, changed, gone)

    def _mend(self, name: str, changed: list[Json], gone: list[object]) -> int:
        count = len(changed) + len(gone)
        self._put(name, changed)
        if gone:
            path = f"{path_of(name)}/points/delete?wait=true"
            self.target.ask("POST", path, {"points": list(gone)})
        changed.clear()
        gone.clear()
        return count

    def aliases(self) -> tuple[str, ...]:
        """Give the target the source's aliases; return their names."""
        wanted, present = self.source.aliases(), self.target.aliases()
        actions = [
            {"create_alias": {"alias_name": alias, "collection_name": collection}}
            for alias, collection in sorted(wanted.items())
            if present.get(alias) != collection
        ]
        if actions:
            self.target.ask("POST", "/collections/aliases", {"actions": actions})
        return tuple(sorted(wanted))


def _tallied(side: Endpoint, name: str, size: int, tally: Tally) -> Iterator[Json]:
    pages = (points for points, _ in side.pages(name, size))
    for point in itertools.chain.from_iterable(pages):
        tally.add(point)
        yield point


def _as_written(point: Json) -> Json:
    """Return a point as it was read in the form in which it is stored."""
    return {"id": point["id"], "vector": point.get("vector") or {},
            "payload": point.get("payload")}  # fmt: skip


def _page_of(info: Json, page: int) -> int:
    """Return how many points may be asked for at once: the source's own limit holds for us, too."""
    limits = shape.strict_mode(info)
    if limits.get("enabled") and limits.get("max_query_limit"):
        return min(page, int(limits["max_query_limit"]))
    return page
