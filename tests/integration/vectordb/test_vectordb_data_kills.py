"""The host agent is killed while it takes snapshots and restores; the service is the real one."""

from __future__ import annotations

import random
import time
from typing import Any

import pytest
from bastide_host.data import (
    check_data,
    drop_snapshot,
    exchange,
    exchanged,
    lift_fence,
    list_snapshots,
    other_folders,
    restore,
    snapshot_damage,
    take_snapshot,
)
from vectordb_agent import agent_killed

pytestmark = [
    pytest.mark.integration,
    pytest.mark.filterwarnings("ignore:Api key is used with an insecure connection"),
]
SNAPSHOT = """
from bastide_host.data import take_snapshot as work
"""
RESTORE = """
from bastide_host.data import restore, exchange, exchanged
def work(paths, name, forth):
    if exchanged(paths, name) != bool(forth):
        exchange(paths, name)
"""
RUN = """
import sys
from pathlib import Path
from bastide_host.host import Paths
paths = Paths(Path(sys.argv[1]))
print("ready", flush=True)
work(paths, sys.argv[2], int(sys.argv[3]))
print("done", flush=True)
"""


def killed_after(host: Any, program: str, number: int, seconds: float) -> bool:
    """Kill the agent at its work; return whether it had not ended before."""
    return agent_killed(program + RUN, seconds, str(host.paths.root), "one", str(number))


def test_whenever_the_agent_is_killed_a_second_run_takes_the_snapshot(host: Any) -> None:
    host.raise_fence()
    started = time.monotonic()
    take_snapshot(host.paths, "one", 1)
    seconds = time.monotonic() - started
    drop_snapshot(host.paths, "one")
    rng = random.Random(11)  # noqa: S311
    cut = 0
    while cut < 30:
        cut += killed_after(host, SNAPSHOT, 1, rng.uniform(0, seconds))
        if rng.random() < 0.3:  # else the next one finds what is left of it
            stamp = take_snapshot(host.paths, "one", 1)
            assert snapshot_damage(host.paths, "one") == []
            assert other_folders(host.paths) == {}
            assert check_data(host.paths, stamp) == []
            drop_snapshot(host.paths, "one")
        elif list_snapshots(host.paths):
            assert snapshot_damage(host.paths, "one") == []
            drop_snapshot(host.paths, "one")


def test_whenever_the_agent_is_killed_the_disk_tells_what_lies_where(host: Any) -> None:
    paths = host.paths
    host.raise_fence()
    before = take_snapshot(paths, "one", 1)
    lift_fence(paths)
    host.more()
    host.raise_fence()
    after = take_snapshot(paths, "two", 2)
    host.server.stop()
    copy = paths.snapshots / "one/storage"
    rng = random.Random(12)  # noqa: S311
    cut = 0
    for turn in range(60):
        forth = (turn + 1) % 2
        cut += killed_after(host, RESTORE, forth, rng.uniform(0, 0.003))
        assert (paths.storage / "collections/empty").exists() == exchanged(paths, "one")
        assert (copy / "collections/empty").exists() != exchanged(paths, "one")
        if exchanged(paths, "one") != bool(forth):  # a plain second run
            exchange(paths, "one")
        assert exchanged(paths, "one") == bool(forth)
    assert cut > 5
    host.start()
    assert check_data(paths, after) == []
    host.server.stop()
    restore(paths, "one")
    host.start()
    assert check_data(paths, before) == []
