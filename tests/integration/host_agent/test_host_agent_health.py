"""When a service counts as well, asked over real HTTP."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from bastide_host.host import Paths
from bastide_host.units import answers

pytestmark = pytest.mark.integration


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(int(self.path.strip("/")))
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


@pytest.mark.parametrize(
    ("status", "partial", "well"),
    [(200, False, True), (200, True, True), (503, False, False), (503, True, True),
     (500, True, False)],
)  # fmt: skip
def test_a_gateway_with_nothing_behind_it_is_well_only_while_that_is_to_come(
    tmp_path: Path,
    url: str,
    status: int,
    partial: bool,
    well: bool,
) -> None:
    fault = answers(Paths(tmp_path), f"{url}/{status}", partial=partial)
    assert (fault == "") is well


def test_who_gives_no_answer_is_never_well(tmp_path: Path) -> None:
    assert answers(Paths(tmp_path), "http://127.0.0.1:1/200", partial=True)
