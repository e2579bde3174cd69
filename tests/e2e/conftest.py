"""Real systemd hosts for the tests here: a lab of their own, beside any that an operator has."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator

import pytest

from bastide import layout
from bastide.errors import BastideError
from bastide.lab import manager, requirements
from bastide.lab.spec import LabSpec
from bastide.lab.state import LabState
from bastide.progress import SilentProgress

LAB_NAME = "e2e"
HOSTS = 2

Runner = Callable[..., "subprocess.CompletedProcess[str]"]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leave the long tests out unless they are asked for: all together take an hour and more."""
    if os.environ.get("BASTIDE_LONG_TESTS"):
        return
    for item in items:
        if item.get_closest_marker("long"):
            item.add_marker(pytest.mark.skip(reason="set BASTIDE_LONG_TESTS=1 to run it"))


@pytest.fixture(scope="session")
def lab_tools() -> None:
    """Skip the tests that need a lab where this machine cannot raise one, and say why."""
    try:
        requirements.check()
    except BastideError as error:
        pytest.skip(f"no lab on this machine: {error} ({error.hint})")


@pytest.fixture(scope="session")
def lab(lab_tools: None) -> Iterator[LabState]:  # noqa: ARG001
    """Yield a fresh lab with two hosts up; it is removed at the end.

    What a killed test run left is removed here, whichever home it had.
    """
    home, progress = layout.Home.default(), SilentProgress()
    manager.down(home, LAB_NAME, progress, abandoned=True)
    spec = LabSpec(name=LAB_NAME, hosts=HOSTS)
    try:
        yield manager.up(spec, home, layout.cache_directory(), progress)
    finally:
        manager.down(home, LAB_NAME, progress)


@pytest.fixture(scope="session")
def in_lab(lab: LabState) -> Runner:
    """Return what runs a command on the lab's control node, or with ``host=`` on a host."""

    def run(
        *command: str, host: str | None = None, check: bool = True, stdin: str = ""
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            manager.exec_argv(lab, command, host),
            check=check,
            input=stdin,
            capture_output=True,
            text=True,
            timeout=600,
        )

    return run
