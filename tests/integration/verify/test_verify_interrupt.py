"""Ctrl-C and SIGTERM while the suite runs: real processes, with a child of their own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from bastide import resources

pytestmark = pytest.mark.integration

SECONDS = 60.0  # until an end that should come at once; the suite itself would take ten minutes
DRIVER = """
import sys
from pathlib import Path
sys.path.insert(0, {factories!r})
import verify_factories as make
from bastide import resources
from bastide.errors import BastideError
from bastide.progress import SilentProgress
from bastide.render.report import html
from bastide.run.interrupt import cancellable
from bastide.verify.access import Access
from bastide.verify.runner import run
resources.verification_suite = lambda: Path("suite").absolute()
access = Access((), "", sudo=False, api_key="k" * 20, read_only_api_key="r" * 20)
with cancellable() as cancelled:
    try:
        run(make.make_expectations(), access, folder=Path("out").absolute(), page=html,
            progress=SilentProgress(), cancelled=cancelled)
    except BastideError as error:
        Path("said").write_text(f"{{error.code}} {{error}}")
        sys.exit(error.exit_code)
"""
SUITE = """
import signal
import subprocess
from pathlib import Path

import pytest

PLACE = Path({place!r})


@pytest.fixture
def made():
    yield
    (PLACE / "cleared").touch()


def test_slow(made):
    '''Takes for ever'''
    {stubborn}
    child = subprocess.Popen(["sleep", "600"])
    (PLACE / "child.new").write_text(str(child.pid))
    (PLACE / "child.new").rename(PLACE / "child")
    child.wait()
"""
DEAF = "signal.signal(signal.SIGINT, signal.SIG_IGN)"


@dataclass(frozen=True)
class Verifier:
    """A process that runs the suite, in a process group of its own like a shell's job."""

    place: Path
    process: subprocess.Popen[bytes]

    def wait_for_child(self) -> int:
        """Return the id of the process that the check has started."""
        wait_until((self.place / "child").exists)
        return int((self.place / "child").read_text())

    def ends(self) -> int:
        """Return its exit code."""
        return self.process.wait(SECONDS)


def wait_until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + SECONDS
    while not holds():
        assert time.monotonic() < deadline, "it never came true"
        time.sleep(0.05)


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return "Z" not in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2]


def begin(place: Path, stubborn: str = "pass") -> Verifier:
    suite = place / "suite"
    suite.mkdir()
    (suite / "pytest.ini").write_bytes((resources.verification_suite() / "pytest.ini").read_bytes())
    (suite / "conftest.py").write_text(
        "def pytest_addoption(parser):\n    parser.addoption('--bastide-expectations')\n"
    )
    (suite / "test_slow.py").write_text(SUITE.format(place=str(place), stubborn=stubborn))
    factories = Path(__file__).resolve().parents[2] / "unit/verify"
    driver = DRIVER.format(factories=str(factories))
    with (place / "stderr").open("wb") as words:
        process = subprocess.Popen(
            [sys.executable, "-c", driver], cwd=place, stderr=words, start_new_session=True
        )
    return Verifier(place, process)


@pytest.fixture
def verifier(tmp_path: Path) -> Iterator[Verifier]:
    found = begin(tmp_path)
    yield found
    found.process.kill()
    found.process.wait()


@pytest.fixture
def deaf_verifier(tmp_path: Path) -> Iterator[Verifier]:
    found = begin(tmp_path, DEAF)
    yield found
    found.process.kill()
    found.process.wait()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("whole_group", [True, False], ids=["terminal", "process"])
def test_the_first_signal_ends_it_in_order(
    verifier: Verifier,
    number: signal.Signals,
    whole_group: bool,
) -> None:
    child = verifier.wait_for_child()
    send = os.killpg if whole_group else os.kill
    send(verifier.process.pid, number)
    assert verifier.ends() == 7
    assert (verifier.place / "said").read_text().startswith("BAS-7004 ")
    assert (verifier.place / "cleared").exists(), "the check could not clear away what it had made"
    assert not is_alive(child)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_second_signal_ends_it_at_once(deaf_verifier: Verifier, number: signal.Signals) -> None:
    child = deaf_verifier.wait_for_child()
    deaf_verifier.process.send_signal(signal.SIGINT)
    wait_until(lambda: "once more" in (deaf_verifier.place / "stderr").read_text())
    deaf_verifier.process.send_signal(number)
    assert deaf_verifier.ends() != 0
    assert not (deaf_verifier.place / "said").exists()
    wait_until(lambda: not is_alive(child))


def test_nothing_outlives_a_verifier_that_is_killed(verifier: Verifier) -> None:
    child = verifier.wait_for_child()
    verifier.process.kill()
    wait_until(lambda: not is_alive(child))
