"""Take pieces from whom the control node says: from the depot, or from a peer that has them.

The control node knows who has what. A few workers ask it what to fetch next and say what came of
it; a peer that does not deliver costs time only. Whatever is left when they end, for whatever
reason, is fetched from the depot afterwards.
"""

from __future__ import annotations

import http.client
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, nullcontext
from dataclasses import dataclass, field

from bastide_host.depot import Depot
from bastide_host.host import AgentError, JsonObject, Paths
from bastide_host.peers import Lines, PeerError, WrongPieceError, context_for, serving
from bastide_host.pieces import Piece, PieceFile

WORKERS = 3  # more would share the host's link, so that each piece is whole later
LINGER_SECONDS = 120.0  # at most: how long a host that has everything goes on giving
LINGER_PAUSE = 0.3
WHY_LENGTH = 200
_BROKEN = (OSError, http.client.HTTPException, ValueError)  # of a question to the control node


@dataclass
class Haul:
    """What the workers of one host share.

    Args:
        host: The host's name.
        files: The files that come in pieces, those that are here already among them.
        depot: Opens a connection to the depot.
        moved: Told how many bytes have arrived, each time some have.
        context: TLS towards peers; None if this host takes nothing from them.
        from_peers: Bytes that came from peers.
        failure: The first failure that ends all; None if there was none.
    """

    host: str
    files: list[PieceFile]
    depot: Callable[[], Depot]
    moved: Callable[[int], None]
    context: ssl.SSLContext | None = None
    from_peers: int = 0
    failure: AgentError | None = None
    lock: threading.Lock = field(default_factory=threading.Lock)

    def of(self, number: int) -> PieceFile:
        """Return the file that a piece is part of.

        Raises:
            ValueError: There is no such piece.
        """
        for file in self.files:
            if number in file.pieces:
                return file
        raise ValueError(f"the control node names piece {number}, which is not one of ours")

    def keep(self, file: PieceFile, piece: Piece, content: bytearray, source: str) -> None:
        """Put a verified piece into its file."""
        if file.write(piece, content):
            self.moved(piece.size)
            with self.lock:
                self.from_peers += piece.size if source else 0


@contextmanager
def sharing(paths: Paths, description: JsonObject, haul: Haul) -> Iterator[None]:
    """Fetch what the haul lacks, and go on giving what it has until the end of the block.

    Args:
        paths: The host's paths.
        description: ``stage.json``; its ``swarm`` says as whom the host takes part.
        haul: What to fetch.

    Raises:
        AgentError: No space, a depot that is not this site's, wrong bytes from it.
    """
    role = description["swarm"]
    with serving(paths, (role["address"], int(role["port"])), haul.files) as serves:
        haul.context = context_for(paths, server=False)
        if _join(haul, serves=serves):
            _work(haul)
        yield
        if serves:
            _linger(haul)


def fetch_rest(depot: Depot, file: PieceFile, moved: Callable[[int], None]) -> None:
    """Fetch the pieces that a file still lacks from the depot, one after the other.

    Raises:
        AgentError: The depot refuses, keeps failing, or gives other bytes than promised.
    """
    for piece in file.missing:
        if file.write(piece, from_depot(depot, piece)):
            moved(piece.size)
    if not file.finished:  # every piece was left by an earlier run
        file.finish()


def from_depot(depot: Depot, piece: Piece) -> bytearray:
    """Return a piece from the depot, verified; tries again if the connection breaks.

    Raises:
        AgentError: It keeps failing, or gives other bytes than promised.
    """
    wrong = 0
    for attempt in range(depot.ATTEMPTS):
        try:
            content = depot.part(piece.blob, piece.offset, piece.size)
        except (OSError, http.client.HTTPException) as error:
            depot.close()
            depot.stop_if_untrusted(error)
            last = str(error) or type(error).__name__
            time.sleep(min(depot.pause * 2**attempt, 8))
            continue
        if piece.is_right(content):
            return content
        wrong += 1
        last = "wrong bytes"
        if wrong == 2:
            break
    if wrong:
        raise AgentError(
            "BAS-6053",
            f"the depot's copy of {piece.blob} has wrong bytes from {piece.offset} on",
            "the store on the control node is damaged: run bastide bundle verify and import again",
        )
    raise AgentError(
        "BAS-6052",
        f"could not fetch {piece.blob} from {depot.url}: {last}",
        "check the network between this host and the control node; apply again continues where"
        " this one stopped",
    )


# --- inside ----------------------------------------------------------------------------------
def _join(haul: Haul, *, serves: bool) -> bool:
    has = [number for file in haul.files for number in file.right]
    lacks = [piece.number for file in haul.files for piece in file.missing]
    with closing(haul.depot()) as depot:
        try:
            told = {"host": haul.host, "serves": serves, "has": has, "lacks": lacks}
            depot.ask("/swarm/join", told)
        except _BROKEN as error:
            depot.stop_if_untrusted(error)
            return False
    return True


def _work(haul: Haul) -> None:
    """Let the workers fetch until nothing is lacking or one has failed for good."""
    threads = [
        threading.Thread(target=_worker, args=(haul, number), daemon=True)
        for number in range(WORKERS)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if haul.failure is not None:
        raise haul.failure


def _worker(haul: Haul, worker: int) -> None:
    report: JsonObject | None = None
    context = haul.context
    lines = Lines(context) if context else None
    with closing(haul.depot()) as depot, closing(lines) if lines else nullcontext():
        while haul.failure is None:
            try:
                order = depot.ask(
                    "/swarm/next", {"host": haul.host, "worker": worker, "report": report}
                )
                if order.get("full"):
                    return
                report = None if order.get("wait") else _carry_out(haul, depot, lines, order)
            except AgentError as error:
                haul.failure = haul.failure or error
            except (*_BROKEN, KeyError):  # the rest comes from the depot, or fails there in words
                return


def _carry_out(haul: Haul, depot: Depot, lines: Lines | None, order: JsonObject) -> JsonObject:
    """Fetch one piece; return what to report."""
    number, source = int(order["piece"]), str(order["source"])
    file = haul.of(number)
    piece = file.pieces[number]
    report: JsonObject = {"piece": number, "source": source, "outcome": "got"}
    if file.has(number):
        return report
    try:
        content = _take(haul, lines, piece, order) if source else from_depot(depot, piece)
    except PeerError as error:
        outcome = "wrong" if isinstance(error, WrongPieceError) else "failed"
        return {**report, "outcome": outcome, "why": str(error)[:WHY_LENGTH]}
    if content is None:
        why = "it was slower than the depot"
        return {**report, "outcome": "failed", "why": why}
    haul.keep(file, piece, content, source)
    return report


def _take(haul: Haul, lines: Lines | None, piece: Piece, order: JsonObject) -> bytearray | None:
    if lines is None:
        raise PeerError("this host has no certificate of this run")
    file, where = haul.of(piece.number), (str(order["where"][0]), int(order["where"][1]))

    def enough() -> bool:
        return haul.failure is not None or file.has(piece.number)

    return lines.take(where, piece, float(order["seconds"]), enough)


def _linger(haul: Haul) -> None:
    """Stay until no other host counts on this one; all hosts go on together anyway."""
    deadline = time.monotonic() + LINGER_SECONDS
    with closing(haul.depot()) as depot:
        while time.monotonic() < deadline:
            try:
                if not depot.ask("/swarm/needed", {"host": haul.host})["needed"]:
                    return
            except (*_BROKEN, KeyError):
                return
            time.sleep(LINGER_PAUSE)
