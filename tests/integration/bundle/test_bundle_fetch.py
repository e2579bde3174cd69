"""The fetcher against a web server on loopback that misbehaves."""

from __future__ import annotations

import errno
import hashlib
import random
import threading
from pathlib import Path

import pytest
from bundle_loopback import Script, serve

from bastide.progress import SilentProgress
from bastide.sources.cache import Cache
from bastide.sources.fetch import Fetcher, FetchError, Patience, Pin, _Download

pytestmark = pytest.mark.integration

CONTENT = random.Random(1).randbytes(3_000_000)  # noqa: S311 - test data
DIGEST = hashlib.sha256(CONTENT).hexdigest()


class Counter:
    """Counts what a fetch reports."""

    def __init__(self) -> None:
        self.bytes = 0
        self.texts: list[str] = []

    def advance(self, amount: int) -> None:
        self.bytes += amount

    def describe(self, text: str) -> None:
        self.texts.append(text)


def fetch(url: str, cache: Path, *, sha256: str = DIGEST, size: int | None = len(CONTENT),
          attempts: int = 3, naps: list[float] | None = None,
          headers: dict[str, str] | None = None) -> tuple[Path, Counter]:  # fmt: skip
    waits: list[float] = naps if naps is not None else []
    patience = Patience(attempts=attempts, backoff=1, timeout=20, sleep=waits.append)
    counter = Counter()
    pin = Pin(url, sha256, size, headers=headers or {})
    return Fetcher(Cache(cache), patience).fetch(pin, counter), counter


def leftovers(cache: Path) -> list[str]:
    return sorted(p.name for p in (cache / "partial").iterdir() if not p.name.endswith(".lock"))


def test_a_file_arrives_and_stays(tmp_path: Path) -> None:
    script = Script(CONTENT)
    with serve(script) as url:
        path, counter = fetch(f"{url}/model.gguf", tmp_path)
        assert path.read_bytes() == CONTENT
        assert counter.bytes == len(CONTENT)
        again, counter = fetch(f"{url}/model.gguf", tmp_path)
    assert again == path
    assert counter.bytes == len(CONTENT)
    assert len(script.requests) == 1
    assert leftovers(tmp_path) == []


def test_errors_that_pass_are_retried_with_growing_pauses(tmp_path: Path) -> None:
    naps: list[float] = []
    script = Script(CONTENT, failures=[503, 429])
    with serve(script) as url:
        path, _ = fetch(url, tmp_path, naps=naps)
    assert path.read_bytes() == CONTENT
    assert naps == [1, 2]


def test_a_cut_connection_is_resumed_by_range(tmp_path: Path) -> None:
    script = Script(CONTENT, cut=[1_200_000, 900_000])
    with serve(script) as url:
        path, _ = fetch(url, tmp_path)
    assert path.read_bytes() == CONTENT
    ranges = [request.get("Range") for request in script.requests]
    assert ranges == [None, "bytes=1200000-", "bytes=2100000-"]


def test_a_new_run_goes_on_where_the_last_one_ended(tmp_path: Path) -> None:
    script = Script(CONTENT, cut=[1_000_000])
    with serve(script) as url:
        with pytest.raises(FetchError, match="1000000 of 3000000 bytes"):
            fetch(url, tmp_path, attempts=1)
        assert leftovers(tmp_path) == [DIGEST]
        path, counter = fetch(url, tmp_path, attempts=1)
    assert path.read_bytes() == CONTENT
    assert script.requests[1]["Range"] == "bytes=1000000-"
    assert counter.bytes == len(CONTENT), "what was there counts as well"


def test_a_server_without_ranges_starts_over(tmp_path: Path) -> None:
    script = Script(CONTENT, cut=[1_000_000], ranges=False)
    with serve(script) as url:
        path, _ = fetch(url, tmp_path, attempts=2)
    assert path.read_bytes() == CONTENT


def test_a_whole_but_unchecked_partial_file_is_used(tmp_path: Path) -> None:
    (tmp_path / "partial").mkdir()
    (tmp_path / "partial" / DIGEST).write_bytes(CONTENT)
    script = Script(b"")
    with serve(script) as url:
        path, _ = fetch(url, tmp_path)
    assert path.read_bytes() == CONTENT
    assert script.requests == []


@pytest.mark.parametrize(
    "left",
    [b"x" * 1_000_000, CONTENT + b"more", b"x" * len(CONTENT)],
    ids=["wrong", "long", "full"],
)
def test_wrong_leftovers_are_dropped(left: bytes, tmp_path: Path) -> None:
    (tmp_path / "partial").mkdir()
    (tmp_path / "partial" / DIGEST).write_bytes(left)
    with serve(Script(CONTENT)) as url:
        path, _ = fetch(url, tmp_path, size=len(CONTENT))
    assert path.read_bytes() == CONTENT


def test_leftovers_longer_than_an_unsized_file(tmp_path: Path) -> None:
    (tmp_path / "partial").mkdir()
    (tmp_path / "partial" / DIGEST).write_bytes(CONTENT + b"more")
    with serve(Script(CONTENT)) as url:
        path, _ = fetch(url, tmp_path, size=None)
    assert path.read_bytes() == CONTENT


@pytest.mark.parametrize("size", [len(CONTENT), None])
def test_other_content_is_refused_and_not_kept(size: int | None, tmp_path: Path) -> None:
    script = Script(CONTENT[:-1] + b"!")
    with serve(script) as url, pytest.raises(FetchError, match="not the pinned file") as caught:
        fetch(url, tmp_path, size=size)
    assert caught.value.code == "BAS-3011"
    assert DIGEST in str(caught.value)
    assert len(script.requests) == 1, "it would be wrong again"
    assert leftovers(tmp_path) == []


def test_more_than_the_pinned_size_is_not_read_to_its_end(tmp_path: Path) -> None:
    with serve(Script(CONTENT * 4)) as url, pytest.raises(FetchError) as caught:
        fetch(url, tmp_path, size=1000)
    assert caught.value.code == "BAS-3011"
    assert leftovers(tmp_path) == []


@pytest.mark.parametrize(
    ("content", "content_type"),
    [
        (b"<!DOCTYPE html><html>login</html>", "application/octet-stream"),
        (b"\n <HTML><body>captive portal", "application/octet-stream"),
        (b"please log in", "text/html; charset=utf-8"),
    ],
)
def test_a_web_page_is_called_one(content: bytes, content_type: str, tmp_path: Path) -> None:
    script = Script(content, content_type=content_type)
    with serve(script) as url, pytest.raises(FetchError, match="web page") as caught:
        fetch(url, tmp_path)
    assert caught.value.code == "BAS-3012"
    assert len(script.requests) == 1


@pytest.mark.parametrize("status", [401, 403, 404, 410])
def test_refusals_are_not_retried(status: int, tmp_path: Path) -> None:
    script = Script(CONTENT, failures=[status] * 3)
    with serve(script) as url, pytest.raises(FetchError, match=str(status)) as caught:
        fetch(url, tmp_path)
    assert caught.value.code == "BAS-3013"
    assert len(script.requests) == 1


def test_giving_up_says_how_often_it_tried(tmp_path: Path) -> None:
    failed = pytest.raises(FetchError, match="in 3 tries: the server answered 500")
    with serve(Script(CONTENT, failures=[500] * 9)) as url, failed as caught:
        fetch(url, tmp_path)
    assert caught.value.code == "BAS-3010"
    assert "resumes" in caught.value.hint


def test_nothing_listens(tmp_path: Path) -> None:
    with serve(Script()) as url:
        pass
    with pytest.raises(FetchError, match="refused"):
        fetch(url, tmp_path)


def test_a_token_does_not_follow_a_redirect(tmp_path: Path) -> None:
    other = Script(CONTENT)
    with serve(other) as there:
        first = Script(redirect=f"{there}/moved")
        with serve(first) as url:
            fetch(url, tmp_path, headers={"Authorization": "Bearer secret"})
    assert first.requests[0]["Authorization"] == "Bearer secret"
    assert "Authorization" not in other.requests[0]


def test_local_files_and_other_schemes(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_bytes(CONTENT)
    path, _ = fetch(source.as_uri(), tmp_path / "cache")
    assert path.read_bytes() == CONTENT
    with pytest.raises(FetchError, match="cannot be read"):
        fetch((tmp_path / "absent").as_uri(), tmp_path / "cache", sha256="a" * 64)
    with pytest.raises(FetchError, match="cannot fetch by ftp"):
        fetch("ftp://127.0.0.1/x", tmp_path / "cache", sha256="b" * 64)


def test_two_builders_at_once_fetch_a_file_once(tmp_path: Path) -> None:
    script = Script(CONTENT)
    with serve(script) as url:
        threads = [threading.Thread(target=fetch, args=(url, tmp_path)) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(script.requests) == 1


def test_an_empty_file(tmp_path: Path) -> None:
    with serve(Script(b"")) as url:
        path, _ = fetch(url, tmp_path, sha256=hashlib.sha256(b"").hexdigest(), size=0)
    assert path.read_bytes() == b""


def test_silent_progress_will_do(tmp_path: Path) -> None:
    with serve(Script(CONTENT)) as url, SilentProgress().task("x") as task:
        Fetcher(Cache(tmp_path)).fetch(Pin(url, DIGEST), task)


def test_a_full_disk_is_not_the_networks_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(_Download, "_append", full)
    script = Script(CONTENT)
    with serve(script) as url, pytest.raises(FetchError, match="no room") as caught:
        fetch(url, tmp_path)
    assert caught.value.code == "BAS-3014"
    assert len(script.requests) == 1
