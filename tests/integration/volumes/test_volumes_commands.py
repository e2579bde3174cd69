"""split, verify and import of volumes, as people and scripts run them."""

from __future__ import annotations

import json
import os
import pty
import select
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from torture_bundles import Made, generated, make_bundle

from bastide.schema.chunks import CHUNK

pytestmark = pytest.mark.integration

COMMAND = [sys.executable, "-c", "from bastide.cli.main import main; main()"]


@pytest.fixture
def made(tmp_path: Path) -> Made:
    return make_bundle(tmp_path / "bundle", generated(7))


def environment(place: Path) -> dict[str, str]:
    return {**os.environ, "BASTIDE_HOME": str(place / "home")}


def run(place: Path, *arguments: object, expect: int = 0) -> dict[str, Any]:
    done = subprocess.run(
        [*COMMAND, *map(str, arguments), "--json"],
        capture_output=True,
        check=False,
        cwd=place,
        env=environment(place),
    )
    assert done.returncode == expect, done.stderr.decode()
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def test_the_whole_way_with_one_volume_destroyed_and_one_flipped_byte(
    tmp_path: Path, made: Made
) -> None:
    split = run(tmp_path, "bundle", "split", "bundle", "--size", f"{CHUNK * 2 // 2**20 + 1}MiB",
                "--parity", "10%", "--out", "out")["result"]  # fmt: skip
    assert split["parity"] == 2
    assert Path(split["sheet"]).read_text().count("volume-0") == len(split["volumes"])
    pin = ("--expect-digest", made.digest)
    checked = run(tmp_path, "bundle", "verify", "out", *pin)["result"]["volumes"]
    assert [each["volume"] for each in checked] == [each["name"] for each in split["volumes"]]
    first, second = sorted((tmp_path / "out").glob("volume-*"))[:2]
    shutil.rmtree(first)
    data = second / "data-001.bin"
    content = bytearray(data.read_bytes())
    content[77] ^= 1
    data.write_bytes(content)
    error = run(tmp_path, "bundle", "verify", second, *pin, expect=3)["error"]
    assert error["problems"][0]["where"] == "data-001.bin"
    result = run(tmp_path, "import", "out", *pin)["result"]
    assert [(each["volume"], each["how"]) for each in result["repairs"]] == [
        (first.name, "made again from parity"),
        (second.name, "made again from parity"),
    ]


def test_a_script_is_told_which_volumes_are_wanted(tmp_path: Path, made: Made) -> None:
    run(tmp_path, "bundle", "split", "bundle", "--size", "9MiB", "--out", "out")
    volumes = sorted((tmp_path / "out").glob("volume-*"))
    pin = ("--expect-digest", made.digest)
    error = run(tmp_path, "import", volumes[1], *pin, expect=3)["error"]
    assert error["code"] == "BAS-3120"
    assert volumes[0].name in error["message"]
    assert volumes[1].name not in error["message"]
    assert run(tmp_path, "import", volumes[0], *volumes[2:], *pin)["ok"]


@pytest.mark.parametrize(
    "arguments",
    [
        ["--out", "out"],
        ["--size", "4GiB", "--media", "3x32GB", "--out", "out"],
        ["--size", "much", "--out", "out"],
        ["--size", "4GiB", "--parity", "some", "--out", "out"],
    ],
)
def test_wrong_options(tmp_path: Path, made: Made, arguments: list[str]) -> None:
    error = run(tmp_path, "bundle", "split", made.folder, *arguments, expect=2)["error"]
    assert error["code"] == "BAS-2015"
    assert not (tmp_path / "out").exists()


def test_what_is_there_is_not_overwritten(tmp_path: Path, made: Made) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine").write_text("x")
    error = run(tmp_path, "bundle", "split", made.folder, "--size", "4GiB", "--out", "out",
                expect=3)["error"]  # fmt: skip
    assert error["code"] == "BAS-3053"
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["mine"]


def test_on_a_terminal_the_next_medium_is_asked_for(tmp_path: Path, made: Made) -> None:
    run(tmp_path, "bundle", "split", "bundle", "--size", "9MiB", "--out", "out")
    drive = tmp_path / "drive"  # one drive, into which one medium after the other is put
    volumes = sorted((tmp_path / "out").glob("volume-*"))
    shutil.copytree(volumes[0], drive / volumes[0].name)
    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(tmp_path)
        arguments = ["import", str(drive), "--expect-digest", made.digest]
        os.execve(COMMAND[0], [*COMMAND, *arguments], environment(tmp_path))  # noqa: S606 - no shell is wanted
    said = b""
    for volume in volumes[1:]:
        said = read_until(terminal, b"go on later)")
        assert volume.name.encode() in said
        shutil.rmtree(drive)
        shutil.copytree(volume, drive / volume.name)
        os.write(terminal, b"\n")
    said = read_until(terminal, b"Imported;")
    while True:
        try:
            if not os.read(terminal, 4096):
                break
        except OSError:  # the other end is closed
            break
    _, status = os.waitpid(pid, 0)
    assert os.waitstatus_to_exitcode(status) == 0


def read_until(terminal: int, words: bytes) -> bytes:
    """Return what the program says until it says ``words``."""
    said = b""
    end = time.monotonic() + 120
    while words not in said:
        ready, _, _ = select.select([terminal], [], [], max(end - time.monotonic(), 0))
        assert ready, said.decode()
        said += os.read(terminal, 4096)
    return said
