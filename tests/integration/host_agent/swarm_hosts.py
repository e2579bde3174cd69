"""Several real host agents on this machine's own loopback addresses, and the real depot."""

from __future__ import annotations

import hashlib
import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bastide.plan.pieces import FanOut, PieceTable
from bastide.run.ask import agent_program
from bastide.run.credentials import peer_files
from bastide.run.depot import Depot, Identity
from bastide.run.swarm import Swarm
from bastide.run.swarm_desk import SwarmDesk
from bastide.schema.chunks import CHUNK
from bastide.schema.site import Site
from bastide.site import pki

TOKEN = "this-run's-token"
NOW = datetime.now(UTC)


def free_port() -> int:
    """Return a port that is free on every loopback address."""
    with socket.create_server(("", 0)) as found:
        return int(found.getsockname()[1])


def site_of(hosts: int) -> Site:
    """Return a site of so many hosts: 127.0.0.2 and on."""
    described = {
        f"host{i}": {
            "address": f"127.0.0.{i + 2}",
            "groups": ["llm", "embeddings", *([] if i else ["vectordb", "gateway"])],
        }
        for i in range(hosts)
    }
    return Site.model_validate(
        {
            "format": "bastide.site/1",
            "name": "test",
            "release": "starter",
            "target": "debian12-x86_64",
            "ssh": {"private_key": "k", "known_hosts": "h"},
            "network": {
                "control_address": "127.0.0.1",
                "depot_port": free_port(),
                "staging_port": free_port(),
            },
            "hosts": described,
            "models": {"llm": "a", "embeddings": "b"},
        }
    )


def table_of(content: bytes, first: int) -> PieceTable:
    """Return the pieces of a file."""
    starts = range(0, len(content), CHUNK)
    chunks = tuple(hashlib.sha256(content[at : at + CHUNK]).hexdigest() for at in starts)
    return PieceTable(first, len(content), chunks)


@dataclass
class Run:
    """Hosts, a depot, and files that every host lacks.

    Args:
        work: A folder.
        site: The site.
        files: What is fetched, by digest.
        fan_out: Its pieces.
        notes: What the control node's log says.
        without_peers: Tell hosts to fetch from the depot alone.
    """

    work: Path
    site: Site
    files: dict[str, bytes]
    fan_out: FanOut
    notes: list[str] = field(default_factory=list)
    without_peers: bool = False
    authority: pki.Certified = field(default_factory=lambda: pki.make_authority("test", NOW))
    peers: Mapping[str, Mapping[str, str]] = field(default_factory=dict)

    @classmethod
    def of(cls, work: Path, hosts: int, sizes: tuple[int, ...]) -> Run:
        """Return a run in which so many hosts lack files of these sizes."""
        return cls.for_site(work, site_of(hosts), sizes)

    @classmethod
    def for_site(cls, work: Path, site: Site, sizes: tuple[int, ...]) -> Run:
        """Return a run in which the site's hosts lack files of these sizes."""
        files, tables, first = {}, {}, 0
        for size in sizes:
            content = os.urandom(size)
            digest = hashlib.sha256(content).hexdigest()
            files[digest] = content
            tables[digest] = table_of(content, first)
            first += len(tables[digest].sizes)
        return cls(work, site, files, FanOut(tables, frozenset(site.hosts)),
                   peers=peer_files(site))  # fmt: skip

    @contextmanager
    def depot(self) -> Iterator[Depot]:
        """Serve the files while the block lasts."""
        places = {}
        for digest, content in self.files.items():
            places[digest] = self.work / digest
            places[digest].write_bytes(content)
        found = pki.issue_depot(self.authority, self.site, NOW)
        port = self.site.network.staging_port
        addresses = {name: (str(h.address), port) for name, h in self.site.hosts.items()}
        desk = SwarmDesk(
            Swarm(self.fan_out.sizes, self.fan_out.hosts), addresses, self.notes.append
        )
        identity = Identity(found.certificate_pem, found.key_pem)
        where = (str(self.site.network.control_address), self.site.network.depot_port)
        with Depot(where, identity, TOKEN, places, desk) as depot:
            yield depot

    def root(self, host: str) -> Path:
        """Return a host's root folder, made ready for staging."""
        root = self.work / host
        run = root / "run/bastide"
        if not run.exists():
            run.mkdir(parents=True)
            (root / "etc/bastide").mkdir(parents=True)
            (root / "etc/bastide/ca.pem").write_text(self.authority.certificate_pem)
            (run / "depot_token").write_text(TOKEN)
            for name, text in self.peers[host].items():
                (run / name).write_text(text)
        return root

    def description(self, host: str, port: int) -> dict[str, Any]:
        """Return what ``host`` is told to stage."""
        blobs = [
            {
                "name": f"file {digest[:6]}",
                "filename": "x",
                "sha256": digest,
                "size": len(content),
                "destination": self.destination(digest),
                "pieces": self.fan_out.tables[digest].told(),
            }
            for digest, content in self.files.items()
        ]
        role: dict[str, Any] = {"host": host, "address": str(self.site.hosts[host].address),
                "port": self.site.network.staging_port}  # fmt: skip
        return {
            "format": "bastide.stage/1",
            "depot": {"url": f"https://{self.site.network.control_address}:{port}"},
            "blobs": blobs,
            "swarm": {} if self.without_peers else role,
        }

    @staticmethod
    def destination(digest: str) -> str:
        """Return where a file goes."""
        return f"/var/lib/bastide/artifacts/sha256/{digest[:2]}/{digest}"

    def start(
        self, host: str, port: int, largest: int = -1, space: str = ""
    ) -> subprocess.Popen[str]:
        """Begin to stage on a host, in a process of its own.

        Args:
            host: The host.
            port: The depot's port.
            largest: How large a file may become, in bytes; no bound if negative.
            space: A network namespace.
        """
        root = self.root(host)
        program, stage = self.work / "agent.py", root / "stage.json"
        if not program.exists():
            program.write_text(agent_program())
        stage.write_text(json.dumps(self.description(host, port)))
        bounds = ["prlimit", f"--fsize={largest}"] if largest >= 0 else []
        inside = ["ip", "netns", "exec", space] if space else []
        return subprocess.Popen(
            [
                *inside,
                *bounds,
                sys.executable,
                str(program),
                "stage",
                f"--root={root}",
                f"--stage={stage}",
            ],
            stdout=subprocess.PIPE,
            text=True,
        )

    def is_whole(self, host: str) -> bool:
        """Return whether a host has every file, byte by byte."""
        return all(
            self.place(host, digest).is_file() and self.place(host, digest).read_bytes() == content
            for digest, content in self.files.items()
        )

    def place(self, host: str, digest: str, suffix: str = "") -> Path:
        """Return where a file is on a host."""
        return self.root(host) / (self.destination(digest).lstrip("/") + suffix)


def answer_of(process: subprocess.Popen[str]) -> dict[str, Any]:
    """Return what an agent said at its end."""
    said, _ = process.communicate(timeout=300)
    return dict(json.loads(said))
