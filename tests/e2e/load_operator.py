"""An operator whose site is asked all the while, by clients of every kind."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from site_operator import ON_CONTROL, ROOT, Operator

LOAD_SECONDS = 1800  # a load ends with its stop file; this is its bound


def until(done: Callable[[], bool], seconds: float = 60) -> float:
    """Return after how many seconds it came about."""
    began = time.monotonic()
    while not done():
        assert time.monotonic() - began < seconds, "it did not come about"
        time.sleep(0.3)
    return time.monotonic() - began


def is_flowing(log: Path, answers: int = 20) -> bool:
    """Return whether a load has had so many answers."""
    return log.exists() and log.read_text().count("\n") >= answers


class Loader(Operator):
    """An operator with a load; an administrator's key lies in the file ``key``."""

    clients = "--chats 1 --queries 2 --embeddings 1 --writes 1"

    @property
    def entry(self) -> str:
        """The address that clients ask."""
        return self.address("host1")

    def takes_key(self) -> None:
        """Put the administrator's key where the load looks for it."""
        (self.folder / "key").touch(mode=0o600)
        (self.folder / "key").write_text(self.asks("keys show")["result"]["key"])

    @contextlib.contextmanager
    def load(self, name: str, clients: str = "") -> Iterator[dict[str, Any]]:
        """Ask all the while; what was seen is in the dict afterwards, and told."""
        log, stop = self.folder / f"{name}.log", self.folder / f"{name}.stop"
        line = (
            f"{ON_CONTROL} python {ROOT}/tests/load/load.py --key-file key --ca site/ca.pem "
            f"--url https://{self.entry}:8443 {clients or self.clients} --seconds {LOAD_SECONDS} "
            f"--log {log} --stop-file {stop} --summary {name}.json >{name}.out 2>&1"
        )
        seen: dict[str, Any] = {}
        with subprocess.Popen(["bash", "-c", line], cwd=self.folder, env=self.env) as asking:
            try:
                until(lambda: asking.poll() is not None or is_flowing(log))
                assert asking.poll() is None, (self.folder / f"{name}.out").read_text()
                yield seen
            finally:
                stop.touch()
                asking.wait(300)
        said = (self.folder / f"{name}.out").read_text()
        assert (self.folder / f"{name}.json").exists(), said
        seen.update(json.loads((self.folder / f"{name}.json").read_text()))
        kinds = {kind: (each["requests"], each["failed"], each["longest_gap"], each["errors"])
                 for kind, each in seen["kinds"].items()}  # fmt: skip
        sys.stdout.write(f"{name}: {seen['requests']} requests, {seen['failed']} failed, {kinds}\n")
