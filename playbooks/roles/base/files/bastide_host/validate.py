"""Checks of a built generation, before anything is switched to it."""

from __future__ import annotations

import contextlib
from pathlib import Path, PurePosixPath

from bastide_host.firewall import check_firewall
from bastide_host.host import AgentError, JsonObject, Paths, read_json, run, tail


def validate(paths: Paths, description: JsonObject) -> JsonObject:
    """Check the built generation before anything is switched to it.

    Raises:
        AgentError: A configuration is wrong, or a model file is not one.
    """
    target = paths.generations / str(description["generation"])
    checked = []
    checks = (
        ("haproxy.cfg", _check_gateway),
        ("vectordb.yaml", _check_vectordb),
        ("prometheus.yml", _check_prometheus),
        ("prometheus-*.yml", _check_rules),
        ("alertmanager.yml", _check_alertmanager),
        ("*.json", _check_model),
        ("nftables.nft", lambda _paths, target, _config: check_firewall(target)),
    )
    for name, check in checks:
        for config in sorted((target / "etc").glob(name)):
            check(paths, target, config)
            checked.append(config.name)
    return {"changed": False, "checked": checked}


def _check_gateway(paths: Paths, _target: Path, config: Path) -> None:
    _ask(paths, config, ["/usr/sbin/haproxy", "-c", "-q", "-f", str(config)])


def _check_vectordb(paths: Paths, target: Path, config: Path) -> None:
    program = str(target / "venv/bin/bastide-vectordb")
    _ask(paths, config, [program, "--config", str(config), "--check"])


def _check_prometheus(paths: Paths, _target: Path, config: Path) -> None:
    # The key's file is there only once the unit runs: only the syntax can be looked at.
    _ask(paths, config, ["/usr/bin/promtool", "check", "config", "--syntax-only", str(config)])


def _check_rules(paths: Paths, _target: Path, config: Path) -> None:
    _ask(paths, config, ["/usr/bin/promtool", "check", "rules", str(config)])


def _check_alertmanager(paths: Paths, _target: Path, config: Path) -> None:
    _ask(paths, config, ["/usr/bin/amtool", "check-config", str(config)])


def _ask(paths: Paths, config: Path, argv: list[str]) -> None:
    """Let a service's own program look at its configuration, with the secrets that it will have."""
    env = {
        "CREDENTIALS_DIRECTORY": str(paths.secrets),
        "RUNTIME_DIRECTORY": str(paths.secrets),  # whence its keys come when it starts
        "BASTIDE_TOKENS_LUA": str(config.with_name("gateway-tokens.lua")),
    }
    done = run(argv, env=env, timeout=60)
    if done.returncode != 0:
        raise AgentError(
            "BAS-6059",
            f"{config} is refused by its own program:\n{tail(done)}",
            "nothing was switched; report this: the configuration is rendered by the release",
        )


def _check_model(_paths: Paths, target: Path, config: Path) -> None:
    model = (read_json(config) or {}).get("model")
    if not isinstance(model, dict):
        return  # not a model server's configuration
    path = target / PurePosixPath(model["path"]).relative_to("/opt/bastide/current")
    magic = b""
    with contextlib.suppress(OSError), path.open("rb") as stream:
        magic = stream.read(4)
    if magic != b"GGUF":
        raise AgentError(
            "BAS-6059",
            f"{config.name} names {path.name}, which is not a GGUF model file on this host",
            "nothing was switched; run bastide bundle verify on the control node",
        )
