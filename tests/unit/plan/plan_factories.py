"""Small, whole values for tests of plans: a site, a bundle, hosts, and what an apply does."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Mapping
from typing import Any

from a_site import a_site

from bastide.plan.inputs import Fingerprints, PlanInputs, TreeDigest
from bastide.plan.needs import HostNeeds, host_needs
from bastide.plan.path import Road
from bastide.plan.places import wanted_places
from bastide.plan.ports import bind_address, service_ports
from bastide.schema.artifact import Artifact, ArtifactKind, Component, Manifest
from bastide.schema.facts import FileSystem, HostFacts, Listener, SiteFacts
from bastide.schema.model_card import ModelCard
from bastide.schema.plan import HostPlan, Plan
from bastide.schema.release import ComponentPins, Gate, Release, Upgrade
from bastide.schema.site import METRICS_PORT, SERVING, Group, Site
from bastide.schema.target import Target

GIB = 1024**3
LLM_HOSTS = (Component.LLM, Component.EMBEDDINGS)

SHARED_SECRETS = (
    "ca_pem",
    "api_key",
    "read_only_api_key",
    "gateway_pem",
    "gateway_keys_map",
    "vectordb_keys_map",
)


def sha(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def make_site(hosts: Mapping[str, tuple[Group, ...]] | None = None, **network: Any) -> Site:
    groups = hosts or {"host1": SERVING}
    placed = {n: (f"10.0.0.{11 + number}", g) for number, (n, g) in enumerate(groups.items())}
    return a_site(placed, network)


def artifact(
    name: str,
    kind: ArtifactKind = ArtifactKind.WHEEL,
    components: tuple[Component, ...] = LLM_HOSTS,
    version: str = "1.0",
    size: int = 1000,
) -> Artifact:
    suffix = {"model": "gguf", "wheel": "whl", "os-package": "deb", "source": "py"}.get(kind, "bin")
    return Artifact(
        name=name,
        kind=kind,
        version=version,
        filename=f"{name}-{version.replace(':', '%3a')}.{suffix}",
        size=size,
        sha256=sha(f"{kind}/{name}/{version}"),
        platform="any",
        licence="MIT",
        components=components,
        source="test",
    )


def make_artifacts() -> tuple[Artifact, ...]:
    model, package = ArtifactKind.MODEL, ArtifactKind.OS_PACKAGE
    return (
        artifact("chat", model, (Component.LLM,), size=100_000_000),
        artifact("other-chat", model, (Component.LLM,), size=200_000_000),
        artifact("embed", model, (Component.EMBEDDINGS,), size=25_000_000),
        artifact("haproxy", package, (Component.GATEWAY,), "2.6.12-1+deb12u3", 2_000_000),
        artifact("libgomp1", package, LLM_HOSTS, "12.2.0-14", 100_000),
        artifact("nftables", package, (Component.BASE,), "1.0.6-2", 70_000),
        artifact("llama_server", ArtifactKind.SOURCE, LLM_HOSTS),
        artifact("bastide", components=(Component.CONTROL,)),
        artifact("llama-cpp-python", size=28_000_000),
        artifact("qdrant-edge-py", components=(Component.VECTORDB,), size=20_000_000),
        artifact("uv", components=(Component.CONTROL, Component.BASE), size=20_000_000),
    )


def make_manifest(artifacts: tuple[Artifact, ...] | None = None) -> Manifest:
    return Manifest(
        release="starter-2026.11.0",
        target="debian12-x86_64",
        lock=sha("lock"),
        artifacts=artifacts if artifacts is not None else make_artifacts(),
    )


def make_tree(groups: tuple[Group, ...], salt: str = "") -> TreeDigest:
    files = {"etc/host.json": sha(f"host{salt}"), "etc/release.json": sha(f"release{salt}")}
    for group in groups:
        config = "haproxy.cfg" if group is Group.GATEWAY else f"{group}.json"
        files[f"etc/{config}"] = sha(f"{config}{salt}")
        files[f"units/bastide-{group}.service"] = sha(f"unit {group}")
    return TreeDigest(sha(str(sorted(files.items()))), 10_240, files)


def make_facts(**changes: Any) -> HostFacts:
    values: dict[str, Any] = {
        "hostname": "host1",
        "distribution": "debian",
        "distribution_version": "12",
        "architecture": "x86_64",
        "python": "3.11.2",
        "systemd": 252,
        "cpus": 2,
        "memory_bytes": 8 * GIB,
        "file_systems": [
            FileSystem(path=path, device="vda1", free_bytes=20 * GIB)
            for path in ("/opt", "/var/lib", "/etc")
        ],
        "packages": {"base-files": "12.4", "nftables": "1.0.6-2+deb12u2"},
        "models": {},
        "artifacts": {},
        "generation": None,
        "generation_digest": None,
        "files": {},
        "units": {},
        "listeners": [Listener(port=22, address="0.0.0.0", unit="ssh.service", process="sshd")],
        "users": ["root"],
        "unix_time": 1_800_000_000,
    }
    return HostFacts.model_validate({**values, **changes})


def make_release() -> Release:
    pins = ComponentPins(summary="x", engine="x", version="1")
    return Release(
        name="starter",
        version="2026.11.0",
        summary="x",
        targets=("debian12-x86_64",),
        components=dict.fromkeys(Component, pins),
        upgrade=Upgrade(
            reachable_from=(),
            gates=(Gate.HEALTH,),
            expected_interruption={
                Component.LLM: 30,
                Component.EMBEDDINGS: 20,
                Component.VECTORDB: 10,
                Component.GATEWAY: 5,
            },
        ),
    )


def make_inputs(
    site: Site | None = None,
    facts: Mapping[str, HostFacts] | None = None,
    artifacts: tuple[Artifact, ...] | None = None,
    salt: str = "",
) -> PlanInputs:
    site = site or make_site()
    known = {name: make_facts(hostname=name) for name in site.hosts}
    return PlanInputs(
        site=site,
        site_digest=site.digest(),
        release="starter-2026.11.0",
        bundle=sha("bundle"),
        manifest=make_manifest(artifacts),
        facts=SiteFacts(hosts={**known, **(facts or {})}),
        trees={name: make_tree(host.groups, salt) for name, host in site.hosts.items()},
        created="2026-11-22T12:00:00+00:00",
        secrets=Fingerprints("salt", {name: sha(name)[:16] for name in SHARED_SECRETS}),
        agent=sha("agent"),
        road=Road({"starter-2026.11.0": make_release()}),
    )


def make_target() -> Target:
    return Target.model_validate(
        {
            "name": "debian12-x86_64",
            "distribution": "debian",
            "version": "12",
            "codename": "bookworm",
            "architecture": "x86_64",
            "os_architecture": "amd64",
            "python": "3.11",
            "glibc": "2.36",
            "mirrors": [
                {
                    "url": "http://deb.debian.org/debian",
                    "suites": ["bookworm"],
                    "components": ["main"],
                    "keyring": "/usr/share/keyrings/debian-archive-keyring.gpg",
                }
            ],
            "base_packages": [],
        }
    )


def make_card(name: str, weights: int, kv_cache_per_token: int, window: int = 8192) -> ModelCard:
    return ModelCard.model_validate(
        {
            "name": name,
            "title": name,
            "version": "1",
            "task": "chat" if kv_cache_per_token else "embedding",
            "family": "Test",
            "architecture": "llama",
            "parameters": 1000,
            "quantisation": "Q8_0",
            "context_window": window,
            "embedding_length": 384,
            "languages": ["en"],
            "licence": {"spdx": "MIT"},
            "memory": {"weights": weights, "kv_cache_per_token": kv_cache_per_token},
            "file": {"name": f"{name}.gguf", "size": weights, "sha256": sha(name)},
            "sources": [{"kind": "local", "path": f"/m/{name}.gguf", "sha256": sha(name)}],
        }
    )


def make_cards() -> dict[str, ModelCard]:
    return {"chat": make_card("chat", 100_000_000, 23_040), "embed": make_card("embed", 25_000_000, 0)}  # fmt: skip  # noqa: E501


def with_facts(inputs: PlanInputs, host: str = "host1", **changes: Any) -> PlanInputs:
    hosts = dict(inputs.facts.hosts)
    hosts[host] = hosts[host].replace(**changes)
    return dataclasses.replace(inputs, facts=SiteFacts(hosts=hosts))


def applied(inputs: PlanInputs, plan: Plan) -> PlanInputs:
    """Return the inputs as they are after the host agent did exactly what ``plan`` says."""
    needs = {each.host: each for each in host_needs(inputs.site, inputs.manifest, inputs.trees)}
    hosts = {host.host: _applied(host, inputs, needs[host.host]) for host in plan.hosts}
    return dataclasses.replace(inputs, facts=SiteFacts(hosts=hosts))


def listeners(inputs: PlanInputs, host: str) -> list[Listener]:
    """Return what listens on a host whose services all run."""
    found = [Listener(port=22, address="0.0.0.0", unit="ssh.service", process="sshd")]
    for group in inputs.site.hosts[host].groups:
        unit, address = f"bastide-{group}.service", bind_address(inputs.site, group, host)
        port = service_ports(inputs.site)[group]
        found.append(Listener(port=port, address=address, unit=unit))
        if group is Group.GATEWAY:
            found.append(Listener(port=METRICS_PORT, address="127.0.0.1", unit=unit))
    return found


def places(inputs: PlanInputs, needs: HostNeeds, number: int) -> dict[str, str]:
    """Return Bastide's places as they are after an apply."""
    found = {
        path: state or "file 1" for path, (state, _) in wanted_places(needs, inputs.agent).items()
    }
    return {**found, "/opt/bastide/current": f"link generations/{number}"}


def _applied(plan: HostPlan, inputs: PlanInputs, needs: HostNeeds) -> HostFacts:
    facts = inputs.facts.hosts[plan.host]
    models, artifacts = dict(facts.models), dict(facts.artifacts)
    for pull in plan.pulls:
        (models if pull.filename.endswith(".gguf") else artifacts)[pull.sha256] = pull.size
    files = dict(facts.files)
    for change in plan.files:
        if change.action == "remove":
            del files[change.path]
        else:
            assert change.sha256
            files[change.path] = change.sha256
    units = dict(facts.units)
    for unit in plan.units:
        units[unit.name] = "inactive" if unit.action == "stop" else "active"
    return facts.replace(
        models=models,
        artifacts=artifacts,
        files=files,
        units=units,
        packages={**facts.packages, **{each.name: each.after for each in plan.packages}},
        generation=plan.generation_after,
        generation_digest=plan.generation_digest,
        newest_generation=max(facts.newest_generation, plan.generation_after),
        contents=needs.contents,
        outdated=(),
        users=(*facts.users, *(user.name for user in plan.users)),
        listeners=listeners(inputs, plan.host),
        secrets={**facts.secrets, **{each.path: each.fingerprint for each in plan.secrets}},
        places=places(inputs, needs, plan.generation_after),
    )
