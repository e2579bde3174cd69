"""The agent as one program: installed by its own text, and quicker to start from then on."""

from __future__ import annotations

import json
import runpy
import subprocess
import sys
from pathlib import Path

import pytest
from bastide_host.host import Paths

FILES = Path(__file__).resolve().parents[3] / "playbooks/roles/base/files"
START = "import sys; program = sys.stdin.read(); exec(program)"


@pytest.fixture
def host(tmp_path: Path) -> Paths:
    (tmp_path / "etc/apt/sources.list.d").mkdir(parents=True)
    text: str = runpy.run_path(str(FILES / "join_agent.py"))["join"]()
    argv = [sys.executable, "-c", START, "prepare", f"--root={tmp_path}"]
    done = subprocess.run(argv, input=text, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout)["agent"]
    return Paths(tmp_path)


def call(host: Paths) -> subprocess.CompletedProcess[str]:
    agent = host.opt / "bin/bastide_host.py"
    argv = [sys.executable, str(agent), "describe", f"--root={host.root}"]
    return subprocess.run(argv, capture_output=True, text=True, check=False)


def test_an_installed_agent_does_not_compile_itself_again(host: Paths) -> None:
    agent = host.opt / "bin/bastide_host.py"
    before = call(host)
    agent.write_text(agent.read_text().replace("def describe(", "def describe[("))
    assert call(host).stdout == before.stdout != ""
    agent.with_suffix(".code").unlink()
    assert "SyntaxError" in call(host).stderr  # it would have to


@pytest.mark.parametrize("keep", [0, 10, 100, -1000])
def test_damaged_code_is_not_used(host: Paths, keep: int) -> None:
    code = host.opt / "bin/bastide_host.code"
    before, content = call(host), code.read_bytes()
    code.write_bytes(content[:keep])
    assert call(host).stdout == before.stdout != ""
    code.write_bytes(content[:-50] + bytes([content[-50] ^ 1]) + content[-49:])
    assert call(host).stdout == before.stdout
    code.write_bytes(bytes([content[0] ^ 1]) + content[1:])  # another Python's
    assert call(host).stdout == before.stdout
