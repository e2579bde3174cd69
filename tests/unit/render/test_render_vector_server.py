"""Engine ``server``: what is rendered for Qdrant's own server, without its binary.

The configuration is compared with Qdrant's settings (tests/cases/qdrant-settings.yaml), because the
server ignores keys that it does not know: a misspelt "telemetry_disabled" would phone home.
"""

from __future__ import annotations

import re
import runpy
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from a_site import a_site
from bastide_host.fence import stopped
from bastide_host.host import Paths
from pydantic import ValidationError

from bastide.errors import ConfigError
from bastide.plan.engine import require_engine
from bastide.plan.flows import flows, host_rules
from bastide.plan.inputs import TreeDigest
from bastide.plan.needs import host_needs
from bastide.render.trees import HostTree, render_trees
from bastide.schema.artifact import Artifact, ArtifactKind, Component, Manifest
from bastide.schema.model_card import ModelCard
from bastide.schema.release import Release
from bastide.schema.site import Group, Site

CHECKOUT = Path(__file__).parents[3]
SETTINGS = yaml.safe_load((CHECKOUT / "tests/cases/qdrant-settings.yaml").read_text())
TYPES: dict[str, type | tuple[type, ...]] = {
    "str": str,
    "bool": bool,
    "int": int,
    "float": (int, float),
}
THREE = {f"v{n}": (f"10.0.0.{n}", ["vectordb"]) for n in (4, 5, 6)}
CHAT, EMBED = "smollm2-135m-instruct-q4_1-t2", "all-minilm-l6-v2-q8_0"
CARDS = {
    name: ModelCard.model_validate(
        yaml.safe_load((CHECKOUT / f"models_manifest/models/{name}.yaml").read_text())
    )
    for name in (CHAT, EMBED)
}
STRICT = {"enabled": True, "max_query_limit": 100, "search_max_oversampling": 2.5}


def artifact(name: str, kind: ArtifactKind, *components: Component) -> Artifact:
    return Artifact(
        name=name,
        kind=kind,
        version="1",
        filename=name,
        size=5,
        sha256=f"{len(name) % 10}" * 64,
        platform="any",
        licence="Apache-2.0",
        components=components,
        source="here",
    )


MODELS = (
    artifact(CHAT, ArtifactKind.MODEL, Component.LLM),
    artifact(EMBED, ArtifactKind.MODEL, Component.EMBEDDINGS),
)
QDRANT = artifact("qdrant", ArtifactKind.BINARY, Component.VECTORDB)


def manifest(*more: Artifact) -> Manifest:
    return Manifest(release="s-2026.12.0", target="t", lock="0" * 64, artifacts=(*MODELS, *more))


def site(hosts: dict[str, Any] | None = None, *, tls: bool = False, **vectordb: Any) -> Site:
    small = {"big": ("10.0.0.2", ["llm", "embeddings"]), "gate": ("10.0.0.3", ["gateway"])}
    return a_site(
        {**small, **(THREE if hosts is None else hosts)},
        name="try",
        models={"llm": CHAT, "embeddings": EMBED},
        vectordb={"engine": "server", **vectordb},
        certificates={"mutual_tls": tls},
    )


@pytest.fixture(scope="module")
def release() -> Release:
    path = CHECKOUT / "models_manifest/releases/starter-2026.12.0.yaml"
    return Release.model_validate(yaml.safe_load(path.read_text()))


def trees(release: Release, where: Site) -> dict[str, HostTree]:
    return render_trees(where, release, manifest(QDRANT), CARDS)


def text_of(tree: HostTree, path: str) -> str:
    return tree.files[path].content.decode()


def flat(data: Any, prefix: str = "") -> dict[str, Any]:
    out: dict[str, Any] = {}
    for key, value in data.items():
        path = f"{prefix}{key}"
        out.update(flat(value, f"{path}.") if isinstance(value, dict) else {path: value})
    return out


def mistakes(config: str) -> list[str]:
    """What Qdrant would silently ignore or refuse in a configuration."""
    out = []
    for path, value in flat(yaml.safe_load(config)).items():
        kind = SETTINGS.get(path)
        if kind is None:
            out.append(f"{path}: no such setting")
        elif value is None:
            out += [] if kind.endswith("?") else [f"{path}: null"]
        elif not isinstance(value, TYPES[kind.rstrip("?")]) or (
            isinstance(value, bool) != (kind.rstrip("?") == "bool")
        ):
            out.append(f"{path}: {value!r} is no {kind}")
    return out


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"replication_factor": 3, "write_consistency_factor": 2, "grpc_port": 6334},
        {"strict_mode": STRICT},
    ],
)
@pytest.mark.parametrize("hosts", [None, {"v4": THREE["v4"]}])
def test_every_key_is_a_setting_of_qdrants(
    release: Release, options: dict[str, Any], hosts: dict[str, Any] | None
) -> None:
    if hosts is not None and "replication_factor" in options:
        options = {"grpc_port": 6334}
    where = site(hosts, **options)
    config = text_of(trees(release, where)["v4"], "etc/vectordb.yaml")
    assert mistakes(config) == []
    data = yaml.safe_load(config)
    assert data["telemetry_disabled"] is True
    service = data["service"]
    for name in ("enable_cors", "enable_static_content", "enable_snapshot_url_recovery"):
        assert service[name] is False, name
    assert (service["jwt_rbac"], service["hide_jwt_dashboard"]) == (True, True)
    assert "metrics_port" not in service  # it would listen without a key
    assert service["grpc_port"] == options.get("grpc_port")
    assert data["cluster"]["enabled"] is (hosts is None)
    collection = data["storage"]["collection"]
    assert collection["replication_factor"] == options.get("replication_factor", 1)
    assert collection["write_consistency_factor"] == options.get("write_consistency_factor", 1)
    assert collection.get("strict_mode") == options.get("strict_mode")
    paths = [data["storage"][name] for name in ("storage_path", "snapshots_path", "temp_path")]
    assert len({str(Path(path).parent) for path in paths}) == 1  # one file system
    assert "api_key" not in config


def test_the_comparison_finds_what_it_should() -> None:
    """Or the test above could not fail."""
    assert mistakes("telemetry_disable: true") == ["telemetry_disable: no such setting"]
    assert mistakes("service: {http_port: '6333'}") == ["service.http_port: '6333' is no int"]
    assert mistakes("service: {http_port: true}") == ["service.http_port: True is no int"]
    assert mistakes("service: {host: null}") == ["service.host: null"]
    assert mistakes("service: {grpc_port: null}") == []


def start_of(tree: HostTree) -> str:
    (line,) = re.findall(
        r"^ExecStart=(.*)$", text_of(tree, "units/bastide-vectordb.service"), re.MULTILINE
    )
    return str(line)


def test_a_cluster_grows_from_its_first_host(release: Release) -> None:
    found = trees(release, site())
    first, second = start_of(found["v4"]), start_of(found["v5"])
    assert first.endswith(" --uri http://10.0.0.4:6335")
    assert "--bootstrap" not in first
    assert second.endswith(" --bootstrap http://10.0.0.4:6335 --uri http://10.0.0.5:6335")
    for line in (first, second):
        assert "--disable-telemetry" in line
        assert "--config-path /opt/bastide/current/etc/vectordb.yaml" in line
    alone = start_of(trees(release, site({"v4": THREE["v4"]}))["v4"])
    assert "--uri" not in alone
    six = {f"v{n}": (f"fd00::{n}", ["vectordb"]) for n in (4, 5, 6)}
    assert "http://[fd00::4]:6335" in start_of(trees(release, site(six))["v5"])


def test_with_mutual_tls_rest_grpc_and_peers_take_only_the_sites_own(release: Release) -> None:
    """REST and gRPC share ``service.enable_tls``; peers have a switch of their own."""
    found = trees(release, site(tls=True, grpc_port=6334))
    config = text_of(found["v5"], "etc/vectordb.yaml")
    assert mistakes(config) == []
    data = yaml.safe_load(config)
    assert data["service"]["enable_tls"] is True
    assert data["service"]["verify_https_client_certificate"] is True
    assert data["cluster"]["p2p"]["enable_tls"] is True
    unit = text_of(found["v5"], "units/bastide-vectordb.service")
    for name in ("cert", "key", "ca_cert"):
        credential = data["tls"][name].rpartition("/")[2]
        assert f"LoadCredential={credential}:/etc/bastide/secrets/" in unit
    assert "https://10.0.0.4:6335" in start_of(found["v5"])
    assert "http://" not in start_of(found["v5"])
    plain = yaml.safe_load(text_of(trees(release, site())["v5"], "etc/vectordb.yaml"))
    assert (plain["service"]["enable_tls"], "tls" in plain) == (False, False)


def test_peers_may_talk_and_nobody_else_to_their_port() -> None:
    where = site()
    peers = [f for f in flows(where) if f.port == 6335]
    assert [(f.source, f.destination) for f in peers] == [(Group.VECTORDB, Group.VECTORDB)]
    inward = [r for r in host_rules(where, "v4") if r.port == 6335 and r.direction == "in"]
    assert [str(n) for r in inward for n in r.networks] == ["10.0.0.5/32", "10.0.0.6/32"]
    alone = site({"v4": THREE["v4"]})
    assert not [f for f in flows(alone) if f.port == 6335]


def test_the_unit_is_as_hard_as_the_others(release: Release, tmp_path: Path) -> None:
    """By systemd's own measure; 2.0 is the most that a site allows."""
    unit = tmp_path / "bastide-vectordb.service"
    unit.write_text(text_of(trees(release, site())["v4"], "units/bastide-vectordb.service"))
    command = ["systemd-analyze", "security", "--offline=true", "--threshold=20", str(unit)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-600:]
    soft = tmp_path / "soft.service"
    soft.write_text("[Service]\nExecStart=/bin/true\n")
    command[-1] = str(soft)
    assert subprocess.run(command, capture_output=True, check=False).returncode != 0
    text = unit.read_text()
    assert "LimitNOFILE=1048576" in text
    assert "~@resources" not in text  # it lowers its optimisers' priority


def launcher_of(release: Release, folder: Path) -> Path:
    """The launcher as hosts have it, with its storage below ``folder``."""
    launcher = folder / "vectordb_server.py"
    text = text_of(trees(release, site())["v4"], "lib/vectordb_server.py")
    launcher.write_text(text.replace("/var/lib/bastide/vectordb", str(folder)))
    return launcher


def test_the_servers_storage_is_locked_while_it_lives(release: Release, tmp_path: Path) -> None:
    """The host agent copies what nobody has locked; the program itself locks nothing."""
    folder = tmp_path / "credentials"
    folder.mkdir()
    for name in ("api_key", "read_only_api_key"):
        (folder / name).write_text("k" * 40)
    program = tmp_path / "program"
    program.write_text("#!/bin/sh\necho started\nread line\n")
    program.chmod(0o755)
    command = [sys.executable, "-I", str(launcher_of(release, tmp_path)), str(program)]
    environ = {"CREDENTIALS_DIRECTORY": str(folder)}
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "env": environ}
    with subprocess.Popen(command, **pipes) as first:  # type: ignore[call-overload]
        assert first.stdout.readline() == b"started\n"
        second = subprocess.run(command, capture_output=True, env=environ, check=False, text=True)
        assert second.returncode == 1
        assert "in use by another server" in second.stderr
        host = Paths(tmp_path / "root")
        host.storage.parent.mkdir(parents=True)
        host.storage.symlink_to(tmp_path / "storage")
        with stopped(host) as at_rest:
            assert not at_rest
        first.communicate(b"\n")
    with stopped(host) as at_rest:
        assert at_rest
        third = subprocess.run(command, capture_output=True, env=environ, check=False, text=True)
        assert third.returncode == 1  # not while it is being copied


def test_the_server_starts_only_with_keys_that_protect(release: Release, tmp_path: Path) -> None:
    launcher = launcher_of(release, tmp_path)
    folder = tmp_path / "credentials"
    folder.mkdir()
    environment = runpy.run_path(str(launcher))["environment"]
    good, other = "k" * 32, "r" * 40
    unfit = (("", other), (good, ""), ("short", other), (good, "x" * 31), ("  ", good))
    for full, read_only in unfit:
        (folder / "api_key").write_text(full + "\n")
        (folder / "read_only_api_key").write_text(read_only)
        with pytest.raises(SystemExit, match="at least 32 bytes"):
            environment(folder, {})
    (folder / "api_key").write_text(good + "\n")
    (folder / "read_only_api_key").write_text(other)
    given = environment(folder, {"QDRANT__SERVICE__API_KEY": "planted", "LANG": "C"})
    assert given["QDRANT__SERVICE__API_KEY"] == good
    assert given["QDRANT__SERVICE__READ_ONLY_API_KEY"] == other
    assert "QDRANT__SERVICE__ALT_API_KEY" not in given
    (folder / "alt_api_key").write_text("a" * 32)
    assert environment(folder, {})["QDRANT__SERVICE__ALT_API_KEY"] == "a" * 32
    # As a whole, with a program that shows what it got: keys in the environment, none in argv.
    show = tmp_path / "show"
    show.write_text('#!/bin/sh\nenv\necho "argv: $@"\n')
    show.chmod(0o755)
    done = subprocess.run(
        [sys.executable, "-I", str(launcher), str(show), "--config-path", "x"],
        env={"CREDENTIALS_DIRECTORY": str(folder)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert f"QDRANT__SERVICE__API_KEY={good}" in done.stdout
    assert "RUN_MODE=bastide" in done.stdout
    (argv,) = re.findall("argv: (.*)", done.stdout)
    assert argv == "--config-path x"


@pytest.mark.parametrize(
    ("hosts", "options", "says"),
    [
        (None, {"engine": "edge"}, "the engine edge is one host's"),
        ({"v4": THREE["v4"], "v5": THREE["v5"]}, {}, "stops when either fails"),
        (None, {"replication_factor": 4}, "each copy needs one of its own"),
        (None, {"replication_factor": 2, "write_consistency_factor": 3}, "no write would ever"),
        ({"v4": THREE["v4"]}, {"engine": "edge", "replication_factor": 2}, "keeps one copy"),
        ({"v4": THREE["v4"]}, {"engine": "edge", "grpc_port": 6334}, "no gRPC"),
        (None, {"peer_port": 6333}, "network.vectordb_port uses already"),
        (None, {"grpc_port": 6335}, "vectordb.peer_port uses already"),
        (None, {"strict_mode": {"enabled": True, "max_timeout": 5}}, "max_timeout"),
    ],
)
def test_sites_that_no_cluster_could_serve(hosts: Any, options: dict[str, Any], says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        site(hosts, **options)


def test_the_release_must_carry_the_engine(release: Release) -> None:
    server, edge = site(), site({"v4": THREE["v4"]}, engine="edge")
    require_engine(server, manifest(QDRANT))
    require_engine(edge, manifest())
    for where, has in ((server, manifest()), (edge, manifest(QDRANT))):
        with pytest.raises(ConfigError) as caught:
            require_engine(where, has)
        assert caught.value.code == "BAS-2140"
    digests = {
        name: TreeDigest(tree.sha256, len(tree.tar), tree.digests)
        for name, tree in trees(release, server).items()
    }
    needs = {each.host: each for each in host_needs(server, manifest(QDRANT), digests)}
    assert [a.name for a in needs["v4"].of_kind(ArtifactKind.BINARY)] == ["qdrant"]
    assert not needs["gate"].of_kind(ArtifactKind.BINARY)
    assert needs["v4"].affected_by(QDRANT) == {"bastide-vectordb.service"}


def test_edge_takes_the_sites_strict_mode(release: Release) -> None:
    where = site({"v4": THREE["v4"]}, engine="edge", strict_mode=STRICT)
    tree = render_trees(where, release, manifest(), CARDS)["v4"]
    config = yaml.safe_load(text_of(tree, "etc/vectordb.yaml"))
    assert config["storage"]["collection"]["strict_mode"] == STRICT
    assert "lib/vectordb_server.py" not in tree.files
