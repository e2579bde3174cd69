"""The dashboard through the real gateway: who gets what, and from where."""

from __future__ import annotations

import contextlib
import http.client
import json
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from gateway_stand import KEY, Stand, digest_of, free_port, short_folder
from haproxy_program import haproxy

from bastide import resources

pytestmark = pytest.mark.integration
KEYS = {"admin": KEY, "monitor": "key-of-a-screen", "user": "key-of-a-user", "reader": "reader-key"}
PAGES = ("/monitoring/", "/monitoring/dashboard.css", "/monitoring/dashboard.js")
QUERY = "/monitoring/api/v1/query?query=vector(7)"


class Answer:
    """What came back."""

    def __init__(self, response: http.client.HTTPResponse) -> None:
        self.status = response.status
        self.headers = {name.lower(): value for name, value in response.getheaders()}
        self.body = response.read()


@contextlib.contextmanager
def prometheus(programs: Path, folder: Path) -> Iterator[int]:
    """Run Prometheus as the unit does, on another port; yield the port."""
    port = free_port()
    (folder / "prometheus.yml").write_text("scrape_configs: []\n")
    argv = [
        str(programs / "prometheus"),
        f"--config.file={folder}/prometheus.yml",
        f"--storage.tsdb.path={folder}/data",
        f"--web.listen-address=127.0.0.1:{port}",
        "--web.external-url=https://bastide.internal:8443/monitoring/",
        "--web.route-prefix=/",
        f"--web.user-assets={resources.templates() / 'dashboard'}",
        "--log.level=error",
    ]
    with subprocess.Popen(argv) as process:
        try:
            deadline = time.monotonic() + 30
            while True:
                with contextlib.suppress(OSError):
                    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
                    connection.request("GET", "/-/ready")
                    if connection.getresponse().status == http.client.OK:
                        break
                assert time.monotonic() < deadline
                time.sleep(0.1)
            yield port
        finally:
            process.terminate()


@pytest.fixture(scope="module")
def stand(programs: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stand]:
    if not haproxy():
        pytest.skip("no HAProxy can be had here")
    folder = tmp_path_factory.mktemp("prometheus")
    with prometheus(programs, folder) as port, short_folder() as short:
        made = Stand(short, prometheus=port)
        made.keys = "".join(f"{digest_of(key)} {r}:{r}:0:0:0:0:0\n" for r, key in KEYS.items())
        with made.running():
            yield made


def ask(stand: Stand, path: str, key: str = "", method: str = "GET") -> Answer:
    connection = http.client.HTTPConnection("127.0.0.1", stand.port, timeout=20)
    with contextlib.closing(connection):
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        connection.request(method, path, headers=headers)
        return Answer(connection.getresponse())


@pytest.mark.parametrize("path", PAGES)
def test_the_page_needs_no_key_and_loads_nothing_from_elsewhere(stand: Stand, path: str) -> None:
    answer = ask(stand, path)
    name = path.rpartition("/")[2] or "dashboard.html"
    assert answer.status == 200
    assert answer.body == (resources.templates() / "dashboard" / name).read_bytes()
    policy = answer.headers["content-security-policy"]
    assert policy.startswith("default-src 'none';")
    assert "unsafe" not in policy
    assert "frame-ancestors 'none'" in policy


def test_a_script_or_a_style_in_the_page_would_be_refused_by_its_own_policy() -> None:
    page = (resources.templates() / "dashboard/dashboard.html").read_text()
    assert "<style" not in page
    assert " style=" not in page
    assert " onclick=" not in page
    assert page.count("<script") == page.count('<script src="dashboard.js"') == 1


@pytest.mark.parametrize(
    ("role", "status"),
    [("", 401), ("admin", 200), ("monitor", 200), ("user", 403), ("reader", 403)],
)
def test_who_may_ask(stand: Stand, role: str, status: int) -> None:
    answer = ask(stand, QUERY, KEYS.get(role, ""))
    assert answer.status == status
    if status == 200:
        assert json.loads(answer.body)["data"]["result"][0]["value"][1] == "7"


@pytest.mark.parametrize("what", ["query?query=up", "alerts", "rules", "targets"])
def test_what_the_page_asks_is_answered(stand: Stand, what: str) -> None:
    answer = ask(stand, f"/monitoring/api/v1/{what}", KEYS["monitor"])
    assert answer.status == 200
    assert json.loads(answer.body)["status"] == "success"


@pytest.mark.parametrize(
    "path",
    [
        "/monitoring/metrics", "/monitoring/graph", "/monitoring/-/quit", "/monitoring/-/reload",
        "/monitoring/api/v1/status/config", "/monitoring/api/v1/admin/tsdb/snapshot",
        "/monitoring/api/v1/series", "/monitoring/user/dashboard.html",
        "/monitoring/api/v1/query/../status/config", "/monitoring/api/v1/query%2f..%2fstatus",
    ],
)  # fmt: skip
def test_nothing_else_is_reached(stand: Stand, path: str) -> None:
    assert ask(stand, path, KEY).status == 404


def test_nothing_can_be_changed(stand: Stand) -> None:
    for path in (QUERY, "/monitoring/", "/monitoring/-/quit"):
        assert ask(stand, path, KEY, "POST").status == 405
    assert ask(stand, QUERY, KEY).status == 200


def test_without_the_slash_the_page_is_found(stand: Stand) -> None:
    answer = ask(stand, "/monitoring")
    assert (answer.status, answer.headers["location"]) == (308, "/monitoring/")
