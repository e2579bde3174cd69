"""Generations: built beside the live one, complete or not there, switched in one rename."""

from __future__ import annotations

import hashlib
import io
import json
import subprocess
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from bastide_host import (
    depot,
    facts,
    generation,
    packages,
    prepare,
    settled,
    switch,
    transition,
    units,
    validate,
)
from bastide_host.host import AgentError, Paths
from bastide_host.stage import blobs_of

UNIT = """\
[Service]
LoadCredential=api_key:/etc/bastide/secrets/api_key
ExecStart=/opt/bastide/current/venv/bin/python -m llama_server -C /opt/bastide/current/etc/llm.json
Environment=PYTHONPATH=/opt/bastide/current/lib
"""
CONFIG = {"model": {"path": "/opt/bastide/current/models/small.gguf"}, "server": {}}
MODEL = b"GGUF" + b"\0" * 60


def tar_of(files: dict[str, str]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, text in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(text)
            archive.addfile(member, io.BytesIO(text.encode()))
    return buffer.getvalue()


def put(host: Paths, content: bytes) -> dict[str, Any]:
    digest = hashlib.sha256(content).hexdigest()
    place = f"/var/lib/bastide/artifacts/sha256/{digest[:2]}/{digest}"
    path = host.at(place)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return {"name": "x", "sha256": digest, "size": len(content), "destination": place}


def describe(host: Paths, number: int = 1, changes: dict[str, str] | None = None) -> dict[str, Any]:
    """Return a stage description whose blobs are on the host already."""
    files = {
        "etc/llm.json": json.dumps(CONFIG),
        "units/bastide-llm.service": UNIT,
        **(changes or {}),
    }
    tree, source = put(host, tar_of(files)), put(host, b"print('server')")
    model = hashlib.sha256(MODEL).hexdigest()
    (host.state / "models").mkdir(exist_ok=True)
    (host.state / f"models/{model}.gguf").write_bytes(MODEL)
    return {
        "format": "bastide.stage/1",
        "generation": number,
        "digest": hashlib.sha256(json.dumps(files).encode()).hexdigest(),
        "release": "starter-2026.11.0",
        "bundle": "1" * 64,
        "contents": {"model/small": model},
        "blobs": [tree, source],
        "wheels": [],
        "requirements": [],
        "os_packages": [],
        "tree": {"sha256": tree["sha256"], "size": tree["size"]},
        "models": [{"name": "small", "sha256": model}],
        "sources": [{"filename": "llama_server.py", "sha256": source["sha256"]}],
        "units": ["bastide-llm.service"],
        "transition": {"run": "r1", "pass_sha256": "", "snapshot": False, "restore": ""},
        "collect": [],
    }


def switched(host: Paths, stage: dict[str, Any]) -> dict[str, Any]:
    """Switch as a run does: begin the transition, make it live, mark it good."""
    transition.begin(host, stage)
    answer = transition.switch(host, stage)
    transition.promote(host, stage)
    return answer


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Paths:
    host = Paths(tmp_path)
    for folder in (host.generations, host.units, host.started, host.secrets):
        folder.mkdir(parents=True)
    (host.secrets / "api_key").write_text("key")
    ran: list[list[str]] = []

    def run(argv: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        ran.append(argv)
        active = "Id=bastide-llm.service\nActiveState=active\n"
        return subprocess.CompletedProcess(argv, 0, active if "show" in argv else "", "")

    for module in (facts, generation, switch, transition, units):
        monkeypatch.setattr(module, "run", run)
    return host


def test_a_generation_is_built_once(host: Paths) -> None:
    stage = describe(host)
    assert generation.generation(host, stage)["changed"]
    target = host.generations / "1"
    assert (target / "lib/llama_server.py").read_text() == "print('server')"
    assert (target / "models/small.gguf").read_bytes() == MODEL
    record = json.loads((target / "generation.json").read_text())
    assert record["digest"] == stage["digest"]
    assert record["contents"] == stage["contents"]
    assert set(record["files"]) == {"etc/llm.json", "units/bastide-llm.service"}
    assert not generation.generation(host, stage)["changed"]


def test_programs_are_put_into_bin_and_run(host: Paths) -> None:
    stage = describe(host)
    program = put(host, b"#!/bin/sh\necho served\n")
    stage["blobs"].append(program)
    stage["programs"] = [{"filename": "qdrant", "sha256": program["sha256"]}]
    generation.generation(host, stage)
    place = host.generations / "1/bin/qdrant"
    assert subprocess.run([place], capture_output=True, check=True).stdout == b"served\n"
    record = json.loads((host.generations / "1/generation.json").read_text())
    assert record["programs"] == {"qdrant": program["sha256"]}
    (host.root / program["destination"].lstrip("/")).write_bytes(b"#!/bin/sh\necho planted\n")
    stage["generation"] = 2
    with pytest.raises(AgentError, match="damaged since it came"):
        generation.generation(host, stage)


def test_what_a_cut_off_run_left_is_built_anew(host: Paths) -> None:
    leftover = host.generations / "1/etc"
    leftover.mkdir(parents=True)
    (leftover / "half").write_text("half")
    assert generation.generation(host, describe(host))["changed"]
    assert not (leftover / "half").exists()


def test_files_changed_by_hand_are_put_back(host: Paths) -> None:
    stage = describe(host)
    generation.generation(host, stage)
    target = host.generations / "1"
    (target / "etc/llm.json").write_text("{}")
    (target / "units/bastide-llm.service").unlink()
    (target / "etc/extra").write_text("x")
    assert generation.generation(host, stage)["changed"]
    assert json.loads((target / "etc/llm.json").read_text()) == CONFIG
    assert (target / "units/bastide-llm.service").read_text() == UNIT
    assert not (target / "etc/extra").exists()


def test_another_content_never_replaces_the_live_generation(host: Paths) -> None:
    generation.generation(host, describe(host))
    switched(host, describe(host))
    with pytest.raises(AgentError, match="generation 1 is live") as caught:
        generation.generation(host, describe(host, 1, {"etc/llm.json": "{}"}))
    assert caught.value.code == "BAS-6064"


def test_a_damaged_tree_is_refused(host: Paths) -> None:
    stage = describe(host)
    host.at(stage["blobs"][0]["destination"]).write_bytes(tar_of({"etc/llm.json": "evil"}))
    with pytest.raises(AgentError, match="damaged"):
        generation.generation(host, stage)
    assert not (host.generations / "1/generation.json").exists()


@pytest.mark.parametrize("name", ["../etc/passwd", "/etc/passwd", "etc/../../x"])
def test_a_tree_cannot_write_elsewhere(tmp_path: Path, name: str) -> None:
    archive = tmp_path / "tree.tar"
    archive.write_bytes(tar_of({name: "evil"}))
    with pytest.raises(AgentError, match="may not"):
        generation.extract_tree(archive, tmp_path / "target")
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE])
def test_a_tree_has_no_links_and_no_devices(tmp_path: Path, kind: bytes) -> None:
    archive = tmp_path / "tree.tar"
    with tarfile.open(archive, "w") as tar:
        member = tarfile.TarInfo("etc/link")
        member.type, member.linkname = kind, "/etc/passwd"
        tar.addfile(member)
    with pytest.raises(AgentError, match="may not"):
        generation.extract_tree(archive, tmp_path / "target")


def test_a_switch_is_one_link_and_names_what_must_restart(host: Paths) -> None:
    stage = describe(host)
    generation.generation(host, stage)
    assert switched(host, stage)["restart"] == ["bastide-llm.service"]
    assert str(host.current.readlink()) == "generations/1"
    assert (host.units / "bastide-llm.service").is_symlink()
    assert (host.units / "multi-user.target.wants/bastide-llm.service").is_symlink()
    mark_started(host)
    assert switched(host, stage) == {
        "changed": False, "restart": [], "stopped": [], "ports": {},
        "reembed": False,
        "secures": [],
    }  # fmt: skip


def mark_started(host: Paths) -> None:
    """Note that the unit runs with what it would be started with now, as ``health`` does."""
    unit = "bastide-llm.service"
    (host.started / unit).write_text(switch.fingerprint(host, unit) + "\n")


def test_an_incomplete_generation_is_never_switched_to(host: Paths) -> None:
    (host.generations / "1").mkdir()
    with pytest.raises(AgentError, match="not complete"):
        switched(host, describe(host))
    assert not host.current.is_symlink()


@pytest.mark.parametrize(
    ("changes", "restarts"),
    [
        ({"etc/other.json": "{}"}, False),
        ({"lib/script.py": "pass"}, True),
        ({"etc/llm.json": json.dumps({**CONFIG, "server": {"port": 1}})}, True),
        ({"units/bastide-llm.service": UNIT + "# other\n"}, True),
    ],
)
def test_only_what_a_unit_uses_restarts_it(
    host: Paths, changes: dict[str, str], *, restarts: bool
) -> None:
    generation.generation(host, describe(host))
    switched(host, describe(host))
    mark_started(host)
    second = describe(host, 2, changes)
    generation.generation(host, second)
    assert bool(switched(host, second)["restart"]) is restarts


def test_a_new_key_restarts_the_unit_that_has_it(host: Paths) -> None:
    generation.generation(host, describe(host))
    switched(host, describe(host))
    mark_started(host)
    (host.secrets / "api_key").write_text("another")
    assert switched(host, describe(host))["restart"] == ["bastide-llm.service"]


def test_units_of_an_earlier_generation_are_stopped(host: Paths) -> None:
    generation.generation(host, describe(host))
    switched(host, describe(host))
    second = {**describe(host, 2, {"etc/new": "x"}), "units": []}
    generation.generation(host, second)
    assert switched(host, second)["stopped"] == ["bastide-llm.service"]
    assert not list(host.units.glob("bastide-*"))


def test_a_file_that_is_no_model_is_found_before_the_switch(host: Paths) -> None:
    stage = describe(host)
    generation.generation(host, stage)
    assert validate.validate(host, stage)["checked"] == ["llm.json"]
    model = stage["models"][0]["sha256"]
    (host.state / f"models/{model}.gguf").write_bytes(b"<html>404 Not Found</html>")
    with pytest.raises(AgentError, match="not a GGUF model") as caught:
        validate.validate(host, stage)
    assert caught.value.code == "BAS-6059"
    (host.state / f"models/{model}.gguf").unlink()
    with pytest.raises(AgentError, match="not a GGUF model"):
        validate.validate(host, stage)


def settle(host: Paths) -> dict[str, Any]:
    """Bring the host to where nothing is to be done; return what ``settled`` is given."""
    stage = {**describe(host), "repository": []}
    prepare.prepare(host, prepare.Program("program"))
    prepare.write_secrets(host, {"ca_pem": "CA"}, [])
    host.at(packages.SOURCE).parent.mkdir(parents=True)
    packages.build_repository(host, stage)
    generation.generation(host, stage)
    switched(host, stage)
    mark_started(host)
    digests = {"ca_pem": hashlib.sha256(b"CA").hexdigest()}
    return {"program": "program", "stage": stage, "secrets": digests, "groups": []}


def test_a_settled_host_is_known_at_one_look(host: Paths) -> None:
    assert settled.settled(host, settle(host)) == {
        "changed": False,
        "settled": True,
        "why_not": "",
        "prepares": False,
        "fetches": False,
        "installs": False,
    }


@pytest.mark.parametrize(
    ("harm", "needs"),
    [
        (lambda h: (h.current / "etc/llm.json").write_text("{}"), set()),
        (lambda h: (h.opt / "bin/bastide_host.py").write_text("x"), {"prepares"}),
        (lambda h: h.secrets.chmod(0o755), {"prepares"}),
        (lambda h: h.run.rmdir(), {"prepares"}),  # as after a boot
        (lambda h: (h.etc / "retired.json").touch(), {"prepares"}),
        (lambda h: next(h.state.glob("artifacts/sha256/*/*")).unlink(), {"fetches"}),
        (lambda h: next(h.state.glob("artifacts/sha256/*/*")).touch(), {"fetches"}),  # not sealed
        (lambda h: (h.repository / "odd.deb").touch(), {"installs"}),
        (lambda h: h.at(packages.SOURCE).unlink(), {"installs"}),
    ],
)
def test_one_look_says_what_an_unsettled_host_needs(
    host: Paths, harm: Callable[[Paths], object], needs: set[str]
) -> None:
    given = settle(host)
    for blob in blobs_of(host, given["stage"]):
        depot.seal(blob.destination)
    for path in host.run.iterdir():
        path.unlink()
    (host.current / "etc/odd").touch()
    harm(host)
    found = settled.settled(host, given)
    assert not found["settled"]
    assert {name for name in ("prepares", "fetches", "installs") if found[name]} == needs


def test_a_port_that_another_holds_is_refused_only_if_there_is_something_to_do(
    host: Paths, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = {**settle(host), "ports": {"llm": 8081}}
    held = {"port": 8081, "unit": "", "process": "sleep", "address": "127.0.0.1"}
    monkeypatch.setattr(facts, "listeners", lambda _paths: [held])
    assert settled.settled(host, given)["settled"]
    (host.current / "etc/odd").touch()
    with pytest.raises(AgentError, match="8081, needed by llm, is held by sleep") as caught:
        settled.settled(host, given)
    assert caught.value.code == "BAS-5070"


@pytest.mark.parametrize(
    ("harm", "reason"),
    [
        (lambda h: (h.current / "etc/llm.json").write_text("{}"), "etc/llm.json differs"),
        (lambda h: (h.opt / "bin/bastide_host.py").write_text("x"), "agent is another version"),
        (lambda h: (h.etc / "ca.pem").write_text("other"), "ca.pem is not up to date"),
        (lambda h: (h.etc / "ca.pem").chmod(0o600), "ca.pem is not up to date"),
        (lambda h: (h.secrets / "api_key").write_text("new"), "bastide-llm.service"),
        (lambda h: next(h.state.glob("artifacts/sha256/*/*")).unlink(), "x is missing"),
        (lambda h: (h.repository / "odd.deb").touch(), "OS packages are missing"),
        (
            lambda h: (h.units / "multi-user.target.wants/bastide-llm.service").unlink(),
            "would not start at boot",
        ),
        (lambda h: h.current.unlink(), "generation 1 is not the live one"),
    ],
)
def test_whatever_is_amiss_unsettles(
    host: Paths, harm: Callable[[Paths], object], reason: str
) -> None:
    given = settle(host)
    harm(host)
    found = settled.settled(host, given)
    assert not found["settled"]
    assert reason in found["why_not"]


def test_an_internet_source_unsettles(host: Paths) -> None:
    given = settle(host)
    (host.root / "etc/apt/sources.list").write_text("deb http://deb.debian.org/debian x main\n")
    assert "sources.list names packages on the internet" in settled.settled(host, given)["why_not"]


def test_a_damaged_model_is_never_switched_to_and_a_new_copy_restarts_its_unit(
    host: Paths,
) -> None:
    first, second = describe(host), describe(host, 2, {"etc/more": "x"})
    generation.generation(host, first)
    switched(host, first)
    model = host.state / f"models/{first['models'][0]['sha256']}.gguf"
    before = switch.fingerprint(host, "bastide-llm.service")
    generation.generation(host, second)
    transition.begin(host, second)
    model.write_bytes(MODEL[:-1] + b"x")
    with pytest.raises(AgentError, match="damaged since it came") as caught:
        transition.switch(host, second)
    assert caught.value.code == "BAS-6053"
    assert facts.current_number(host) == 1
    fresh = model.with_suffix(".new")
    fresh.write_bytes(MODEL)
    fresh.replace(model)
    transition.switch(host, second)
    assert switch.fingerprint(host, "bastide-llm.service", host.generations / "1") != before
