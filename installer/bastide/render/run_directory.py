"""Writes the folder that one run works in: fresh, private, complete, kept for audit."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bastide import resources
from bastide.errors import PreflightError
from bastide.host.files import fsync_directory, write_atomic
from bastide.layout import RunFolder
from bastide.plan.services import endpoints
from bastide.render.inventory import inventory
from bastide.render.trees import HostTree
from bastide.schema.plan import Plan
from bastide.schema.site import Site

NOT_FRESH = "BAS-5061"
_LEFT_OUT = shutil.ignore_patterns("__pycache__", "*.pyc", ".git*", "molecule")


@dataclass(frozen=True)
class RunContents:
    """What a run is made of.

    Args:
        site: The site.
        site_root: The folder of ``site.yaml``.
        plan: The plan to carry out.
        stages: Each host's stage description, plain JSON values.
        trees: Each host's rendered files.
        sealed_secrets: Ansible variables for the hosts only, already encrypted with Ansible Vault.
        ansible_config: Text of ``ansible.cfg``.
    """

    site: Site
    site_root: Path
    plan: Plan
    stages: Mapping[str, Mapping[str, Any]]
    trees: Mapping[str, HostTree]
    sealed_secrets: bytes
    ansible_config: str


def create(folder: RunFolder) -> None:
    """Create a run's folder, for its owner only.

    Raises:
        PreflightError: It exists: ansible-runner would silently read an earlier run's files.
    """
    folder.root.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    try:
        folder.root.mkdir(mode=0o700)
    except FileExistsError as error:
        raise PreflightError(
            f"the run folder {folder.root} exists already; nothing was changed",
            code=NOT_FRESH,
            hint="run the command again: each run takes a new folder",
        ) from error
    fsync_directory(folder.root.parent)


def write_plan(folder: RunFolder, plan: Plan) -> None:
    """Keep the plan that a run carries out, or proves to be carried out already."""
    _write(folder.plan, plan.model_dump_json(indent=2).encode() + b"\n")


def write(folder: RunFolder, contents: RunContents) -> None:
    """Write everything that a run needs into its folder.

    Args:
        folder: The run's folder.
        contents: What it is made of.
    """
    for host in contents.plan.hosts:
        stage = json.dumps(contents.stages[host.host], indent=1, sort_keys=True) + "\n"
        _write(folder.stage(host.host), stage.encode())
        _write(folder.tree(host.host), contents.trees[host.host].tar)
    write_plan(folder, contents.plan)
    _write(folder.site, contents.site.canonical())
    _write(folder.inventory, _inventory(folder, contents))
    _write(folder.ansible_config, contents.ansible_config.encode())
    _write(folder.secrets, contents.sealed_secrets)
    copy_playbooks(folder)
    _write(folder.provenance, _provenance(folder, contents))


def _inventory(folder: RunFolder, contents: RunContents) -> bytes:
    variables = {
        "bastide_run_id": folder.id,
        "bastide_release": contents.plan.release,
        "bastide_gateway_port": contents.site.network.gateway_port,
        "bastide_drain_seconds": contents.site.upgrades.drain_seconds,
        "bastide_order": [str(component) for component in contents.plan.order],
    }
    hosts = {}
    for host in contents.plan.hosts:
        stage = contents.stages[host.host]
        hosts[host.host] = {
            "bastide_stage_file": str(folder.stage(host.host)),
            "bastide_generation": host.generation_after,
            "bastide_generation_digest": host.generation_digest,
            "bastide_units": list(stage["units"]),
            "bastide_ports": {
                each.name: each.port
                for each in endpoints(contents.site, host.host)
                if each.unit in stage["units"]
            },
            "bastide_os_packages": list(stage["os_packages"]),
            "bastide_reembeds": bool(stage.get("reembed")),
        }
    leaving = {e.host: e.address for e in contents.plan.leaving if not e.forgotten}
    return inventory(contents.site, contents.site_root, variables, hosts, leaving)


def copy_playbooks(folder: RunFolder, source: Path | None = None) -> None:
    """Copy the playbooks and roles that this version ships into the run's folder."""
    shutil.copytree(source or resources.playbooks(), folder.project, ignore=_LEFT_OUT)


def tree_digest(root: Path) -> str:
    """Return one SHA-256 over the names and contents of all files below ``root``."""
    files = {
        str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(root.rglob("*"))
        if path.is_file()
    }
    return hashlib.sha256(json.dumps(files, sort_keys=True).encode()).hexdigest()


def _provenance(folder: RunFolder, contents: RunContents) -> bytes:
    record = {
        "format": "bastide.run/1",
        "run": folder.id,
        "plan": contents.plan.digest(),
        "bundle": contents.plan.bundle,
        "release": contents.plan.release,
        "playbooks": tree_digest(folder.project),
        "inventory": hashlib.sha256(folder.inventory.read_bytes()).hexdigest(),
        "trees": {name: tree.sha256 for name, tree in contents.trees.items()},
    }
    return json.dumps(record, indent=2, sort_keys=True).encode() + b"\n"


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    write_atomic(path, content, mode=0o600)
