"""Facts of a host, from files laid out as on a host."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import join_agent
import pytest
from bastide_host import facts
from bastide_host.host import AgentError, Paths

from bastide.schema.facts import HostFacts

STATUS = """\
Package: haproxy
Status: install ok installed
Version: 2.6.12-1+deb12u4

Package: gone
Status: deinstall ok config-files
Version: 1.0

Package: held
Status: hold ok installed
Version: 3:2.0~rc1-1
"""
TCP = """\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:1F91 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 111 1
   1: 0BE8D50A:20FB 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 112 1
   2: 0100007F:1F91 0100007F:C350 01 00000000:00000000 00:00000000 00000000     0        0 113 1
"""
TCP6 = """\
  sl  local_address                         remote_address st tx_queue rx_queue tr tm->when
   0: 00000000000000000000000001000000:0016 00000000000000000000000000000000:0000 0A 0:0 0:0 0 0 0 9
"""


@pytest.fixture
def host(tmp_path: Path) -> Paths:
    for folder in ("opt", "var/lib/dpkg", "etc", "proc/net"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "etc/os-release").write_text('ID=debian\nVERSION_ID="12"\nNAME="Debian"\n')
    (tmp_path / "var/lib/dpkg/status").write_text(STATUS)
    (tmp_path / "proc/net/tcp").write_text(TCP)
    (tmp_path / "proc/net/tcp6").write_text(TCP6)
    return Paths(tmp_path)


def hold(host: Paths, inode: int, *, process: str, unit: str) -> None:
    """Lay out a process that holds a socket."""
    folder = host.root / "proc" / str(1000 + inode)
    (folder / "fd").mkdir(parents=True)
    (folder / "fd/3").symlink_to(f"socket:[{inode}]")
    (folder / "comm").write_text(process + "\n")
    (folder / "cgroup").write_text(f"0::/system.slice/{unit}\n" if unit else "0::/\n")


def test_only_installed_packages_count(host: Paths) -> None:
    assert facts.installed_packages(host) == {"haproxy": "2.6.12-1+deb12u4", "held": "3:2.0~rc1-1"}


def test_listeners_name_their_unit_and_process(host: Paths) -> None:
    hold(host, 111, process="python", unit="bastide-llm.service")
    found = facts.listeners(host)
    assert found == [
        {"port": 22, "address": "::1", "unit": "", "process": ""},
        {
            "port": 8081,
            "address": "127.0.0.1",
            "unit": "bastide-llm.service",
            "process": "python",
        },
        {"port": 8443, "address": "10.213.232.11", "unit": "", "process": ""},
    ]


def test_ports_of_our_own_units_are_free_for_us(host: Paths) -> None:
    hold(host, 111, process="python", unit="bastide-llm.service")
    assert facts.check_ports(host, {"llm": 8081, "embeddings": 8082}) == {"changed": False}


@pytest.mark.parametrize(
    ("unit", "process", "named"),
    [
        ("nginx.service", "nginx", "nginx.service"),
        ("", "nc", "nc"),
        ("", "", "an unknown process"),
    ],
)
def test_a_taken_port_is_refused_with_its_holder(
    host: Paths, unit: str, process: str, named: str
) -> None:
    if process:
        hold(host, 111, process=process, unit=unit)
    with pytest.raises(AgentError) as caught:
        facts.check_ports(host, {"llm": 8081})
    assert caught.value.code == "BAS-5070"
    assert f"port 8081, needed by llm, is held by {named} on 127.0.0.1" in str(caught.value)


def test_a_bare_host_gives_facts_of_the_schema(host: Paths) -> None:
    found = HostFacts.model_validate(facts.facts(host))
    assert (found.distribution, found.distribution_version) == ("debian", "12")
    assert found.generation is None
    assert found.newest_generation == 0
    assert {each.path for each in found.file_systems} == {"/opt", "/var/lib", "/etc"}
    assert found.models == {}


def test_generation_artifacts_and_drift_are_seen(host: Paths) -> None:
    model, blob = "a" * 64, "b" * 64
    generation = host.generations / "7"
    for folder in (generation / "etc", host.state / "models", host.state / "artifacts/sha256/bb"):
        folder.mkdir(parents=True)
    record = {"digest": "c" * 64, "contents": {"model/m": model}, "files": {"etc/llm.json": "0"}}
    (generation / "generation.json").write_text(json.dumps(record))
    (generation / "etc/llm.json").write_text("{}")
    (generation / "etc/extra").write_text("by hand")
    host.current.symlink_to("generations/7")
    (host.state / f"models/{model}.gguf").write_bytes(b"12345")
    (host.state / f"models/{blob}.gguf.partial").write_bytes(b"1")
    (host.state / f"artifacts/sha256/bb/{blob}").write_bytes(b"123")
    (host.state / f"artifacts/sha256/bb/{blob}.partial").write_bytes(b"1")
    found = HostFacts.model_validate(facts.facts(host))
    assert (found.generation, found.newest_generation) == (7, 7)
    assert found.generation_digest == "c" * 64
    assert found.contents == {"model/m": model}
    assert found.models == {model: 5}
    assert found.artifacts == {blob: 3}
    assert set(found.files) == {"etc/llm.json", "etc/extra"}


def test_the_joined_program_runs_from_standard_input(host: Paths) -> None:
    program = join_agent.join()
    assert program == join_agent.join()
    done = subprocess.run(
        [sys.executable, "-I", "-", "facts", "--root", str(host.root)],
        input=program,
        capture_output=True,
        text=True,
        check=True,
    )
    assert HostFacts.model_validate_json(done.stdout).distribution == "debian"
    before = {"opt", "var", "etc", "proc"}
    assert {path.name for path in host.root.iterdir()} == before, "facts must leave nothing behind"


def test_a_failure_is_one_json_object_and_exit_code_1(host: Paths) -> None:
    done = subprocess.run(
        [sys.executable, "-I", "-", "health", "--root", str(host.root), "--unit=bastide-x.service"],
        input=join_agent.join(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert json.loads(done.stdout)["error"]["code"] == "BAS-6060"


def test_units_that_want_a_certificate_are_told_from_those_that_do_not(host: Paths) -> None:
    assert facts.tls_units(host) == []
    place = host.current / "etc/host.json"
    place.parent.mkdir(parents=True)
    services = {
        "bastide-llm.service": "https://10.0.0.12:8081/healthz",
        "bastide-gateway.service": "https://10.0.0.12:8443/healthz",
        "bastide-vectordb.service": "http://127.0.0.1:6333/healthz",
        "bastide-host-metrics.service": "",
    }
    place.write_text(json.dumps({"services": services, "mutual_tls": {"ports": [8081]}}))
    assert facts.tls_units(host) == ["bastide-llm.service"]
    place.write_text(json.dumps({"services": services, "mutual_tls": None}))
    assert facts.tls_units(host) == []
