"""The agent's condition of real folders below a root of its own, and of this machine."""

from __future__ import annotations

import fcntl
import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from bastide_host.condition import condition
from bastide_host.condition_bastide import environment_fault, own_state
from bastide_host.condition_network import network_state
from bastide_host.condition_packages import lock_holder, package_state
from bastide_host.condition_places import PLACES, places
from bastide_host.condition_units import unit_state
from bastide_host.host import Paths

from bastide.plan.preflight.places import MODES
from bastide.run.control import Listener
from bastide.schema.condition import HostCondition

pytestmark = pytest.mark.integration

STATUS = "Package: {}\nStatus: {}\nVersion: 1\n"


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    for name in PLACES:
        if "bastide" not in name:
            (tmp_path / name.lstrip("/")).mkdir(parents=True, exist_ok=True)
    return Paths(tmp_path)


def write(paths: Paths, name: str, text: str = "") -> Path:
    path = paths.at(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def test_this_machines_condition_is_what_the_schema_says() -> None:
    asked: dict[str, Any] = {"address": "127.0.0.1", "depot": None, "peers": []}
    found = HostCondition.model_validate(json.loads(json.dumps(condition(Paths(), asked))))
    assert found.has_address is True
    assert found.tls_fault == ""
    assert {place.path for place in found.places} == set(PLACES)
    assert "unknown" not in {place.file_system for place in found.places}


def test_the_checks_know_the_modes_that_the_agent_gives() -> None:
    from bastide_host.prepare import FOLDERS  # noqa: PLC0415

    assert dict(FOLDERS) == MODES


def test_places_are_named_for_what_they_are(paths: Paths) -> None:
    paths.at("/srv").mkdir()
    paths.opt.symlink_to("/srv")
    write(paths, "/var/lib/bastide")
    found = {each["path"]: each for each in places(paths)}
    assert (found["/opt/bastide"]["kind"], found["/opt/bastide"]["target"]) == ("link", "/srv")
    assert found["/var/lib/bastide"]["kind"] == "file"
    assert found["/etc/bastide"]["kind"] == "missing"
    assert found["/etc/bastide"]["free_bytes"] > 0


def test_packages_that_are_not_whole(paths: Paths) -> None:
    stanzas = (
        STATUS.format("dpkg", "install ok installed"),
        STATUS.format("libc6", "hold ok installed"),
        STATUS.format("vim", "install ok half-configured"),
        STATUS.format("old", "install reinstreq unpacked"),
    )
    write(paths, "/var/lib/dpkg/status", "\n".join(stanzas))
    write(paths, "/etc/apt/preferences.d/no", "Package: hap* x\nPin: release *\nPin-Priority: -5\n")
    write(paths, "/var/lib/dpkg/updates/0001")
    found = package_state(paths)
    assert found["packages_broken"] == {"vim": "half-configured", "old": "reinstreq"}
    assert found["packages_held"] == ["libc6"]
    assert found["packages_interrupted"] is True
    assert found["packages_database"] == ""
    assert found["pins"] == {"hap*": -5, "x": -5}


@pytest.mark.parametrize(
    "text", ["", "Package: dpkg\n", "garbage\n\n" + STATUS.format("dpkg", "x")]
)
def test_a_damaged_database(paths: Paths, text: str) -> None:
    write(paths, "/var/lib/dpkg/status", text)
    assert package_state(paths)["packages_database"]


@pytest.mark.parametrize("how", ["lockf", "flock"])
def test_the_holder_of_a_lock_is_named_and_none_is_taken(tmp_path: Path, how: str) -> None:
    path = tmp_path / "lock"
    path.touch()
    assert lock_holder(Paths(), path) == ""
    program = (
        f"import fcntl, sys\nf = open({str(path)!r}, 'a')\nfcntl.{how}(f, fcntl.LOCK_EX)\n"
        "print('held', flush=True)\nsys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout
        process.stdout.readline()
        assert str(process.pid) in lock_holder(Paths(), path)
        process.terminate()
    with path.open("a") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_names_of_ours_that_others_have(paths: Paths) -> None:
    write(paths, "/etc/passwd", "root:x:0:0::/:/bin/sh\nbastide-llm:x:1500:7:Eve:/home/e:/bin/sh\n")
    write(paths, "/etc/group", "bastide-llm:x:7:eve,bob\n")
    write(paths, "/run/systemd/system/bastide-llm.service")
    write(paths, "/etc/systemd/system/bastide-llm.service.d/mine.conf")
    (paths.units / "bastide-x.service").symlink_to("/dev/null")
    (paths.units / "haproxy.service").symlink_to("/dev/null")
    found = unit_state(paths)
    assert found["users"]["bastide-llm"] == {"uid": 1500, "gid": 7, "shell": "/bin/sh"}
    assert found["groups"]["bastide-llm"] == {"gid": 7, "members": ["eve", "bob"]}
    assert found["unit_files"] == [
        {"path": "/etc/systemd/system/bastide-x.service", "target": "/dev/null"},
        {"path": "/run/systemd/system/bastide-llm.service", "target": ""},
    ]
    assert found["drop_ins"] == ["/etc/systemd/system/bastide-llm.service.d/mine.conf"]
    assert found["haproxy_unit"] == "masked"


def _cut(site: Path) -> None:
    (site / "a.py").write_text("")


def _remove(site: Path) -> None:
    (site / "a.py").unlink()


def _no_python(site: Path) -> None:
    (site.parents[2] / "bin/python").unlink()


@pytest.mark.parametrize(
    ("damage", "words"),
    [(lambda _: None, ""), (_cut, "has 0 bytes, not 4"), (_remove, "is missing"),
     (_no_python, "leads to no program")],
)  # fmt: skip
def test_damage_of_an_environment(
    tmp_path: Path, damage: Callable[[Path], None], words: str
) -> None:
    site = tmp_path / "venv/lib/python3.11/site-packages"
    (site / "a-1.dist-info").mkdir(parents=True)
    (tmp_path / "venv/bin").mkdir()
    (tmp_path / "venv/bin/python").symlink_to(sys.executable)
    (tmp_path / "generation.json").write_text('{"wheels": {"a": "1"}}')
    (site / "a.py").write_text("pass")
    (site / "a-1.dist-info/RECORD").write_text(
        "a.py,sha256=x,4\n../../bin/a,,\na-1.dist-info/RECORD,,\n"
    )
    damage(site)
    found = environment_fault(tmp_path)
    assert words in found
    assert bool(found) is bool(words)


def test_a_link_that_leads_nowhere_and_strangers(paths: Paths) -> None:
    paths.opt.mkdir()
    paths.current.symlink_to("generations/4")
    write(paths, "/opt/bastide/theirs")
    write(paths, "/var/lib/bastide/vectordb.fence", '{"since": "2026"}')
    found = own_state(paths)
    assert (found["current_kind"], found["current_target"]) == ("link", "generations/4")
    assert found["current_exists"] is False
    assert found["strangers"] == ["theirs"]
    assert found["fence_since"] == "2026"


def test_the_way_to_the_depot_and_to_peers() -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
        with Listener("127.0.0.1", port) as taken:
            assert taken.fault
            assert taken.address_is_here
    with Listener("127.0.0.1", port) as listener:
        peers = [["127.0.0.1", 1], ["127.0.0.1", port]]
        asked = {"address": "192.0.2.1", "depot": ["127.0.0.1", port], "peers": peers}
        found = network_state(asked)
    assert found["depot_greeting"] == listener.greeting
    assert found["has_address"] is False
    assert set(found["peers"].values()) == {""}
    closed = network_state({"depot": ["127.0.0.1", port]})
    assert closed["depot_greeting"].startswith("!")
    assert not Listener("192.0.2.1", port).address_is_here


def test_it_writes_nothing(paths: Paths) -> None:
    write(paths, "/var/lib/dpkg/status", STATUS.format("dpkg", "install ok installed"))

    def listing() -> dict[str, tuple[int, int, int]]:
        every = (Path(f) / n for f, d, n_ in os.walk(paths.root) for n in (*d, *n_))
        return {
            str(p): (p.lstat().st_size, p.lstat().st_mtime_ns, p.lstat().st_ctime_ns) for p in every
        }

    before = listing()
    condition(paths, {"address": "127.0.0.1", "depot": None, "peers": []})
    assert listing() == before
