"""The runner and the plugin on small suites: real pytest processes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import verify_factories as make

from bastide import resources
from bastide.errors import BastideError, ConfigError, VerifyError
from bastide.progress import SilentProgress
from bastide.render.report import html
from bastide.verify.access import Access
from bastide.verify.runner import VerificationResult, point_latest, run

pytestmark = pytest.mark.integration

KEY = "bst_canary-3141592653589793"
SUITE = f'''
import os
from pathlib import Path

import pytest

pytestmark = pytest.mark.area("Small")


@pytest.fixture
def breaks_at_the_end():
    yield
    raise RuntimeError("clean-up failed")


def test_good(record_property):
    """Good things hold

    More words.
    """
    record_property("detail", "seen")


def test_bad():
    """Bad things hold"""
    assert 1 == 2, "expected 2, found 1"


def test_skipped():
    """Some things don't apply"""
    pytest.skip("not here")


def test_breaks(breaks_at_the_end):
    """Clean-up works"""


def test_leaks():
    """Secrets stay secret"""
    assert Path(os.environ["BASTIDE_API_KEY_FILE"]).stat().st_mode & 0o077 == 0
    pytest.fail("the key is {KEY}")
'''


@pytest.fixture
def suite(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "suite"
    folder.mkdir()
    own = resources.verification_suite()
    (folder / "pytest.ini").write_bytes((own / "pytest.ini").read_bytes())
    (folder / "conftest.py").write_text(
        "def pytest_addoption(parser):\n    parser.addoption('--bastide-expectations')\n"
    )
    (folder / "test_small.py").write_text(SUITE)
    monkeypatch.setattr(resources, "verification_suite", lambda: folder)
    return folder


def verify(folder: Path, select: str = "") -> VerificationResult:
    nobody = "Host host1\n  HostName 127.0.0.1\n  Port 1\n  BatchMode yes\n"
    access = Access(
        ("host1",), nobody, sudo=False, api_key=KEY, read_only_api_key="bst_ro-2718281828"
    )
    expected = make.make_expectations()
    nowhere = {"url": "https://127.0.0.1:1", "address": "127.0.0.1", "port": 1}
    return run(
        expected.replace(gateway=expected.gateway.replace(**nowhere)),
        access,
        folder=folder,
        page=html,
        progress=SilentProgress(),
        select=select,
    )


@pytest.mark.usefixtures("suite")
def test_outcomes_are_told_as_they_are(tmp_path: Path) -> None:
    result = verify(tmp_path / "out")
    found = {check.title: check for check in result.report.checks}
    assert found["Good things hold"].outcome == "passed"
    assert found["Good things hold"].details == ("seen",)
    assert found["Bad things hold"].message == "expected 2, found 1"
    assert found["Some things don't apply"].message == "not here"
    assert found["Clean-up works"].outcome == "failed"
    assert "clean-up failed" in found["Clean-up works"].message
    assert {check.area for check in result.report.checks} == {"Small"}
    assert result.error is not None
    assert (result.error.code, result.error.exit_code) == ("BAS-7001", 7)
    assert "Bad things hold: expected 2, found 1" in [each.what for each in result.error.problems]


@pytest.mark.usefixtures("suite")
def test_no_report_holds_a_key(tmp_path: Path) -> None:
    result = verify(tmp_path / "out")
    for path in result.folder.iterdir():
        assert KEY not in path.read_text(), path.name
    assert "[API key]" in result.html.read_text()
    assert {"report.html", "report.json", "junit.xml"} <= {p.name for p in result.folder.iterdir()}
    assert json.loads(result.json.read_text())["format"] == "bastide.verification/1"


@pytest.mark.usefixtures("suite")
def test_only_matching_checks_run(tmp_path: Path) -> None:
    result = verify(tmp_path / "out", "good")
    assert [check.title for check in result.report.checks] == ["Good things hold"]
    assert result.error is None


@pytest.mark.usefixtures("suite")
def test_no_match_is_a_usage_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no check matches -k 'nothing'") as failure:
        verify(tmp_path / "out", "nothing")
    assert failure.value.code == "BAS-2071"


@pytest.mark.parametrize(
    "damage",
    ["import no_such_module_at_all\n", "def test_x(:\n", "import pytest\npytest.exit('x')\n"],
)
def test_a_broken_suite_is_no_verdict(suite: Path, tmp_path: Path, damage: str) -> None:
    (suite / "test_broken.py").write_text(damage)
    with pytest.raises(VerifyError) as failure:
        verify(tmp_path / "out")
    assert failure.value.code == "BAS-7002"
    assert (tmp_path / "out" / "pytest.log").exists()


def test_the_real_suite_says_why_it_cannot_look(tmp_path: Path) -> None:
    """The host refuses and the CA's file is not there: every check says so, and none hangs."""
    result = verify(tmp_path / "out", "identity or tls")
    assert len(result.report.failed) == len(result.report.checks) > 5
    on_host = [check for check in result.report.checks if check.host]
    assert {check.host for check in on_host} == {"host1"}
    assert all("host1 cannot be asked" in check.message for check in on_host)
    assert all("Connection refused" in check.message for check in on_host)
    assert {check.area for check in result.report.checks} == {"Identity", "TLS"}


def test_latest_leads_to_the_newest(tmp_path: Path) -> None:
    for name in ("1", "2"):
        (tmp_path / name).mkdir()
        point_latest(tmp_path / name)
    assert (tmp_path / "latest").resolve() == tmp_path / "2"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["1", "2", "latest"]


def test_its_error_is_ours() -> None:
    assert issubclass(VerifyError, BastideError)
