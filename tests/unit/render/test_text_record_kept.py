"""The record of prompts and answers: nothing without it, and how long it is kept."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import types
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from text_server import CANARY, DONE, NOON, PLAIN, RECORD, SSE, Server, sse

Serve = Callable[..., Server]
PIECES = sse(*({"choices": [{"index": 0, "delta": {"content": "x"}}]} for _ in range(9)))


@pytest.fixture
def serve(tmp_path: Path) -> Serve:
    folder = tmp_path / "texts"
    folder.mkdir(mode=0o700)
    return lambda *pieces, kind=PLAIN: Server(folder, list(pieces), kind)


# --- what cannot be recorded is not answered -------------------------------------------------
def refused(answer: tuple[int, dict[bytes, bytes], bytes]) -> bool:
    status, headers, body = answer
    if status == 200:
        return False
    assert status == 503
    assert headers[b"retry-after"] == b"5"
    error = json.loads(body)["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert error["code"] == "record_unavailable"
    return True


def fails_to_write(_handle: int, _line: bytes) -> int:
    raise OSError(28, "No space left on device")


def writes_half(handle: int, line: bytes) -> int:
    return REAL_WRITE(handle, line[: len(line) // 2])


REAL_WRITE = os.write


@pytest.mark.parametrize("fault", [fails_to_write, writes_half])
def test_a_full_disk_lets_nobody_ask(
    serve: Serve,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    fault: Callable[[int, bytes], int],
) -> None:
    server = serve(b"{}")
    assert not refused(server.ask())
    before = server.lines()
    monkeypatch.setattr(os, "write", fault)
    question = json.dumps({"prompt": CANARY}).encode()
    assert [refused(server.ask(question)) for _ in range(3)] == [True] * 3
    assert len(server.asked) == 1
    assert refused(server.ask(b"", "/healthz", method="GET"))  # the gateway asks another server
    assert not refused(server.ask(b"", "/metrics", method="GET"))
    monkeypatch.undo()
    assert server.lines() == before  # and no half of a line
    assert not refused(server.ask(b"", "/healthz", method="GET"))
    assert not refused(server.ask(question))
    events = [each["event"] for each in server.lines()]
    assert events == [*(each["event"] for each in before), "opened", "asked", "answered"]
    told = capfd.readouterr().err
    assert told.count("No space left on device") == 1  # not a line for every question
    assert CANARY not in told


def test_nobody_asks_where_there_may_be_no_room_for_the_answer(
    serve: Serve, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    server, free = serve(b"{}"), 1 << 30

    def pretends(_handle: int) -> types.SimpleNamespace:
        return types.SimpleNamespace(f_bavail=free, f_frsize=1)

    monkeypatch.setattr(os, "fstatvfs", pretends)
    assert not refused(server.ask())
    free = RECORD.RESERVE - 1
    assert refused(server.ask())
    assert refused(server.ask(b"", "/healthz", method="GET"))
    assert len(server.lines("answered")) == len(server.asked) == 1
    assert "less than 64 MiB are free" in capfd.readouterr().err
    server.middleware._record.append({"event": "answered"})  # one that is under way is recorded


def test_an_answer_that_cannot_be_recorded_is_said_without_its_text(
    serve: Serve, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    server = serve(json.dumps({"choices": [{"text": CANARY}]}).encode())

    def fails_at_answers(handle: int, line: bytes) -> int:
        return fails_to_write(handle, line) if b'"answered"' in line else REAL_WRITE(handle, line)

    monkeypatch.setattr(os, "write", fails_at_answers)
    assert not refused(server.ask(headers={b"x-request-id": b"r-9"}))
    told = capfd.readouterr().err
    assert "the answer to r-9 is not recorded: No space left on device" in told
    assert CANARY not in told


def test_a_link_in_the_files_place_is_not_followed(serve: Serve, tmp_path: Path) -> None:
    server = serve(b"{}")
    (server.folder / "2026-11-26.jsonl").symlink_to(tmp_path / "elsewhere")
    assert refused(server.ask())
    assert not (tmp_path / "elsewhere").exists()


def test_a_folder_that_is_not_there_is_a_record_that_cannot_be_written(
    tmp_path: Path,
) -> None:
    server = Server(tmp_path / "gone", [b"{}"])
    assert refused(server.ask())
    assert server.asked == []


def test_a_piece_of_a_line_that_a_killed_server_left_harms_no_other(serve: Serve) -> None:
    server = serve(b"{}")
    file = server.folder / "2026-11-26.jsonl"
    file.write_text('{"event":"asked","body":"cut o')
    server.ask()
    cut, *whole = file.read_text().splitlines()
    assert cut.endswith("cut o")
    assert [json.loads(line)["event"] for line in whole] == ["opened", "asked", "answered"]


def test_lines_of_many_at_once_do_not_mix(serve: Serve) -> None:
    server = serve(*PIECES, DONE, kind=SSE)

    async def many() -> None:
        bodies = (json.dumps({"prompt": f"{n:04}" * 5000}).encode() for n in range(40))
        await asyncio.gather(*(server.asks(body) for body in bodies))

    asyncio.run(many())
    asked = server.lines("asked")
    assert sorted(each["body"]["prompt"][:4] for each in asked) == [f"{n:04}" for n in range(40)]
    assert all(set(each["body"]["prompt"]) == set(each["body"]["prompt"][:4]) for each in asked)
    assert {e["id"] for e in asked} == {e["id"] for e in server.lines("answered")}


def test_one_write_makes_a_line(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[bytes] = []

    def note(handle: int, line: bytes) -> int:
        written.append(line)
        return REAL_WRITE(handle, line)

    monkeypatch.setattr(os, "write", note)
    serve(b"{}").ask()
    assert [line.count(b"\n") for line in written] == [1, 1, 1]


# --- how long it is kept ---------------------------------------------------------------------
def days(folder: Path) -> list[str]:
    return sorted(path.stem for path in folder.glob("*.jsonl"))


def fill(folder: Path, last: date, count: int) -> list[str]:
    """Write a file for each of so many days up to ``last``; return their names."""
    names = [f"{last - timedelta(days=back)}" for back in range(count)]
    for name in names:
        (folder / f"{name}.jsonl").write_text("{}\n")
    return sorted(names)


def start(server: Server) -> None:
    async def nothing(*_: Any) -> None:
        """Neither is used."""

    asyncio.run(server.middleware({"type": "lifespan"}, nothing, nothing))
    server.settle()


def look(server: Server) -> None:
    """Ask as the gateway does all the time."""
    server.ask(b"", "/healthz", method="GET")


def test_days_that_are_over_go_when_the_server_starts(serve: Serve) -> None:
    server = serve()
    fill(server.folder, date(2026, 11, 25), 60)
    (server.folder / "notes.txt").write_text("not ours")
    for name in ("2026-10-01.jsonl.bak", "2026-13-99.jsonl"):
        (server.folder / name).write_text("nor this")
    start(server)
    kept = [day for day in days(server.folder) if day != "2026-13-99"]
    assert (kept[0], kept[-1], len(kept)) == ("2026-10-27", "2026-11-26", 31)
    others = {path.name for path in server.folder.iterdir()} - {f"{day}.jsonl" for day in kept}
    assert others == {"notes.txt", "2026-10-01.jsonl.bak", "2026-13-99.jsonl"}


def test_days_go_when_the_day_changes_also_if_nobody_asks(serve: Serve) -> None:
    server = serve()
    start(server)
    for _ in range(40):
        server.clock.goes(days=1)
        look(server)
        look(server)
    kept = days(server.folder)
    assert (kept[0], kept[-1], len(kept)) == ("2026-12-06", "2027-01-05", 31)
    assert len(server.lines("opened")) == 31  # a line a day, whoever asks


@pytest.mark.parametrize("restarts", [False, True])
def test_a_clock_that_jumps_ahead_deletes_a_day_a_day_for_three_days(
    serve: Serve, restarts: bool
) -> None:
    server = serve()
    names = fill(server.folder, date(2026, 11, 26), 31)
    start(server)
    now = NOON + timedelta(days=4000)
    for wrong in (1, 2, 3):
        server = serve() if restarts else server
        server.clock.now = now
        start(server)
        look(server)
        assert set(days(server.folder)) & set(names) == set(names[wrong:])
        now += timedelta(days=1)
    server.clock.now = NOON + timedelta(days=3)  # set right: goes on as if nothing had been
    look(server)
    assert set(days(server.folder)) & set(names) == set(names[3:])


def test_a_clock_that_is_behind_deletes_nothing(serve: Serve) -> None:
    server = serve()
    names = fill(server.folder, date(2026, 11, 26), 31)
    server.clock.now = datetime(1970, 1, 2, tzinfo=UTC)
    start(server)
    assert days(server.folder) == ["1970-01-02", *names]


def test_after_a_long_stop_days_go_once_three_days_agree(serve: Serve) -> None:
    server = serve()
    names = fill(server.folder, date(2026, 10, 1), 31)
    start(server)
    for _ in range(3):
        assert set(names) & set(days(server.folder))
        server.clock.goes(days=1)
        look(server)
    assert days(server.folder) == ["2026-11-26", "2026-11-27", "2026-11-28", "2026-11-29"]


def test_a_day_that_cannot_be_removed_stops_nothing(
    serve: Serve, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    server = serve(b"{}")
    fill(server.folder, date(2026, 11, 25), 60)

    def fails(_path: Path, **_: bool) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(Path, "unlink", fails)
    assert not refused(server.ask())
    assert "a day that is over cannot be removed: Operation not permitted" in capfd.readouterr().err


def test_the_unit_says_where_and_how_long(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STATE_DIRECTORY", str(tmp_path))
    monkeypatch.setenv("BASTIDE_TEXTS_DAYS", "7")
    found = RECORD.from_environment()
    assert (found._folder, found.days) == (tmp_path, 7)
    assert abs(found.today() - datetime.now(UTC).date()) <= timedelta(days=1)


def test_it_needs_nothing_but_the_standard_library() -> None:
    found = {
        value.__name__.partition(".")[0]
        for value in vars(RECORD).values()
        if isinstance(value, types.ModuleType)
    }
    assert found <= sys.stdlib_module_names
