"""Questions to hosts: the real host agent, behind an ``ssh`` that runs its command right here."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

import pytest
from plan_factories import make_site

from bastide.errors import PreflightError
from bastide.layout import SiteFolder
from bastide.progress import SilentProgress
from bastide.run.ask import Line, Reply, ask
from bastide.run.facts import gather, gather_over, not_settled
from bastide.schema.facts import HostFacts
from bastide.schema.site import SERVING, Group

pytestmark = pytest.mark.integration

HERE = """#!/bin/sh
# Takes ssh's place: notes its arguments, runs the remote command of the last one.
for last; do :; done
printf '%s\\n' "$@" >> "$NOTES"
echo "Welcome to this machine"
exec sh -c "$last"
"""


@pytest.fixture
def line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Line:
    return make_line(tmp_path, monkeypatch, HERE)


def make_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ssh: str) -> Line:
    program = tmp_path / "bin" / "ssh"
    program.parent.mkdir()
    program.write_text(ssh)
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("NOTES", str(tmp_path / "notes"))
    return Line(make_site(), tmp_path)


def test_every_host_says_what_it_is(line: Line, tmp_path: Path) -> None:
    facts = gather_over(line, SilentProgress())
    assert set(facts.hosts) == set(line.site.hosts)
    assert not facts.unreachable
    assert all(isinstance(found, HostFacts) for found in facts.hosts.values())
    asked = (tmp_path / "notes").read_text()
    assert "StrictHostKeyChecking=yes" in asked
    assert "BatchMode=yes" in asked


def test_a_host_that_refuses_the_key_is_told_from_one_that_is_down(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    refuses = "#!/bin/sh\ncat > /dev/null\necho 'Permission denied (publickey).' >&2\nexit 255\n"
    line = make_line(tmp_path, monkeypatch, refuses)
    facts = gather(line.site, SiteFolder(tmp_path), SilentProgress())
    assert not facts.hosts
    assert {found.kind for found in facts.unreachable.values()} == {"denied"}


def test_a_host_whose_python_is_too_old_or_missing_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lacks = "#!/bin/sh\ncat > /dev/null\necho 'sh: 1: /usr/bin/python3: not found' >&2\nexit 127\n"
    line = make_line(tmp_path, monkeypatch, lacks)
    facts = gather_over(line, SilentProgress())
    assert all("python3 is missing" in found.reason for found in facts.unreachable.values())


def test_a_host_that_is_no_host_of_ours_has_something_to_do(line: Line) -> None:
    empty: dict[str, list[str]] = {"blobs": [], "units": [], "repository": [], "os_packages": []}
    stage = {"generation": 1, "digest": "0" * 64, **empty}
    host = next(iter(line.site.hosts))
    given = {host: {"stage": stage, "groups": ["llm"], "secrets": {}}}
    reasons = not_settled(line, given, threading.Event())
    assert reasons == {host: "generation 1 is not the live one"}


def test_an_answer_that_is_cut_off_settles_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    silent = "#!/bin/sh\ncat > /dev/null\necho '{\"settled\": tr'\n"
    line = make_line(tmp_path, monkeypatch, silent)
    assert len(not_settled(line, {next(iter(line.site.hosts)): {}}, threading.Event())) == 1


def test_asking_ends_soon_when_somebody_wants_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    line = make_line(tmp_path, monkeypatch, "#!/bin/sh\nexec sleep 600\n")
    cancelled = threading.Event()
    threading.Timer(0.3, cancelled.set).start()
    started = time.monotonic()
    with pytest.raises(PreflightError, match="stopped while the hosts were asked"):
        gather_over(line, SilentProgress(), cancelled)
    assert time.monotonic() - started < 60  # the host would take ten minutes


def test_asking_ends_soon_when_it_is_interrupted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = make_site({"host1": SERVING, "host2": (Group.LLM,)})
    slow = f'case "$*" in *" {site.hosts["host2"].address} "*) exec sleep 600;; esac\n'
    line = Line(site, make_line(tmp_path, monkeypatch, HERE.replace("for last", slow + "for last"))
                .site_root)  # fmt: skip

    def interrupted(host: str, reply: Reply) -> None:  # noqa: ARG001
        raise KeyboardInterrupt

    started = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        ask(line, "facts", {name: {} for name in site.hosts}, interrupted)
    assert time.monotonic() - started < 60  # host2 would take ten minutes


def test_a_line_that_takes_its_time_still_gets_the_whole_question(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    late = HERE.replace("exec sh", "sleep 1; exec sh")  # longer than the asker's own look
    line = make_line(tmp_path, monkeypatch, late)
    assert set(gather_over(line, SilentProgress()).hosts) == set(line.site.hosts)


def test_only_root_goes_without_sudo(line: Line, tmp_path: Path) -> None:
    asked = line.site.model_copy(update={"ssh": line.site.ssh.model_copy(update={"user": "ops"})})
    ask(Line(asked, tmp_path), "facts", {next(iter(asked.hosts)): {}})
    assert "sudo --non-interactive" in (tmp_path / "notes").read_text()
