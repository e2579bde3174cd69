"""Somebody who types commands in an empty folder: what the tests on real hosts have in common.

A test file takes an :class:`Operator`, or a class of its own made from it, and lets ``with_lab``
raise and remove what it needs::

    @pytest.fixture(scope="module")
    def operator(lab_tools: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Operator]:
        operator = Operator(tmp_path_factory.mktemp("mine"), "mine")
        with operator.with_lab(*brings("starter"), "bastide lab up --hosts 1", "…"):
            yield operator
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bastide.lab.spec import host_address

ROOT = Path(__file__).resolve().parents[2]
ON_CONTROL = "bastide lab exec --"  # before a command: on the control node, which has no route out
SECONDS = 3000.0


def brings(*releases: str) -> tuple[str, ...]:
    """Return the lines that build, sign and import releases, each in a folder of its own name."""
    build = "bastide bundle build --release {0} --target debian12-x86_64 --out {0}"
    return (
        "bastide trust init --development",
        *(build.format(release) for release in releases),
        f'bastide trust pin {releases[0]} --fingerprint "$(bastide trust fingerprint --plain)"',
        *(f"bastide import {release}" for release in releases),
    )


def proves(script: str, *options: str, seconds: float = SECONDS, **environment: str) -> str:
    """Run one of ``scripts/``; fail if it does; return what it printed."""
    done = subprocess.run(
        [f"scripts/{script}", *options],
        check=False,
        cwd=ROOT,
        env={**os.environ, **environment},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=seconds,
    )
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-6000:]
    return done.stdout


class Operator:
    """One who has a lab of their own, and the site in the folder ``site``.

    Args:
        folder: Where bundles, home and site are kept.
        lab: The lab's name.
    """

    def __init__(self, folder: Path, lab: str) -> None:
        self.folder = folder
        self.lab = lab
        self.site = folder / "site"
        self.env = {**os.environ, "BASTIDE_HOME": str(folder / "home"), "BASTIDE_LAB": lab}

    def address(self, host: str) -> str:
        """Return a lab host's address."""
        return host_address(self.lab, host)

    @contextlib.contextmanager
    def with_lab(self, *lines: str) -> Iterator[None]:
        """Type the lines of a set-up; the lab is removed at the end, whatever happened."""
        self.types("bastide lab down --abandoned")
        try:
            for line in lines:
                self.types(line)
            yield
        finally:
            self.types("bastide lab down")

    def types(
        self, line: str, *, expect: int | None = 0, stdin: str = "", timeout: float = SECONDS
    ) -> subprocess.CompletedProcess[str]:
        """Run a shell line; fail with all that it said if its exit code is not ``expect``."""
        done = subprocess.run(
            ["bash", "-c", line],
            check=False,
            cwd=self.folder,
            env=self.env,
            input=stdin,
            capture_output=True,
            text=True,
            timeout=timeout,
        )
        if expect is not None:
            assert done.returncode == expect, f"$ {line}\n{done.stdout}\n{done.stderr}"
        return done

    def asks(self, line: str, *, site: str = "site", expect: int = 0) -> dict[str, Any]:
        """Run ``bastide LINE --site SITE --json`` on the control node; return the envelope."""
        done = self.types(f"{ON_CONTROL} bastide {line} --site {site} --json", expect=expect)
        answer: dict[str, Any] = json.loads(done.stdout)
        return answer

    def applies(self, *, expect: int = 0) -> dict[str, Any]:
        """Carry out the plan file, or a new plan if there is none; return the envelope."""
        return self.asks("apply --yes", expect=expect)

    def plans_and_applies(self) -> dict[str, Any]:
        """Make a new plan and carry it out; return apply's result."""
        self.asks("plan")
        result: dict[str, Any] = self.applies()["result"]
        return result

    def on_host(
        self, command: str, *, host: str = "host1", expect: int | None = 0, stdin: str = ""
    ) -> str:
        """Run a shell command on a host; return what it printed."""
        line = f"bastide lab exec --host {host} -- {command}"
        return self.types(line, expect=expect, stdin=stdin).stdout

    def describes(self, was: str, becomes: str) -> None:
        """Change ``site.yaml`` at the first place where it says ``was``."""
        config = self.site / "site.yaml"
        before = config.read_text()
        assert was in before
        config.write_text(before.replace(was, becomes, 1))
