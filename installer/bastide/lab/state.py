"""What a lab is at this moment, as one file that others read."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationError

from bastide.host.files import write_atomic
from bastide.lab import process_record
from bastide.lab.errors import NOT_FOUND, LabError
from bastide.lab.spec import check_name
from bastide.layout import Home, LabFolder
from bastide.schema.base import Value


class LabHost(Value):
    """One disposable systemd host."""

    name: str = Field(description="As in the lab's /etc/hosts: host1, host2 and so on.")
    address: str = Field(description="IPv4 address in the lab's network.")
    namespace: str = Field(description="Its network namespace on this machine.")
    console: Path = Field(description="Log of its console.")
    alive: bool = Field(default=False, description="Whether its systemd runs now.")


class LabState(Value):
    """A lab: its control node, its key and its hosts."""

    format: Literal["bastide.lab/1"] = "bastide.lab/1"
    name: str = Field(description="Of the lab.")
    release: str = Field(description="Debian release of its hosts.")
    folder: Path = Field(description="Where its disks, keys and logs are.")
    control_namespace: str = Field(description="Network namespace of the control node.")
    control_address: str = Field(description="IPv4 address of the control node.")
    ssh_user: str = Field(default="root", description="Whom the hosts let in.")
    ssh_private_key: Path = Field(description="The key that the hosts let in.")
    known_hosts: Path = Field(description="The hosts' own keys, pinned.")
    ssh_config: Path = Field(description="For `ssh -F`, on the control node.")
    cpus: float = Field(default=0.0, ge=0, description="CPUs of each host at most; 0: no bound.")
    hosts: tuple[LabHost, ...] = Field(description="In the order of their numbers.")

    def host(self, name: str) -> LabHost:
        """Return one host.

        Raises:
            LabError: The lab has none of this name.
        """
        for host in self.hosts:
            if host.name == name:
                return host
        known = ", ".join(host.name for host in self.hosts) or "none"
        raise LabError(
            f"lab {self.name!r} has no host {name!r}; it has: {known}",
            code=NOT_FOUND,
            hint="`bastide lab status` lists the hosts",
        )


def folder_of(home: Home, name: str) -> LabFolder:
    """Return where the lab ``name`` keeps its state.

    Raises:
        LabError: The name cannot be a lab's.
    """
    return LabFolder(home.lab / check_name(name))


def save(state: LabState) -> None:
    """Write the state so that a crash leaves the old or the new one."""
    text = state.model_dump_json(indent=2) + "\n"
    write_atomic(LabFolder(state.folder).state, text.encode(), mode=0o644)


def find(home: Home, name: str) -> LabState | None:
    """Return the lab ``name`` with each host's ``alive`` as of now; None if there is none.

    Raises:
        LabError: The state file cannot be understood.
    """
    folder = folder_of(home, name)
    try:
        state = LabState.model_validate_json(folder.state.read_bytes())
    except FileNotFoundError:
        return None
    except ValidationError as error:
        raise LabError(
            f"{folder.state} is not a lab's state: {error.error_count()} fields differ",
            hint=f"`bastide lab down --name {name}` removes the lab, then `bastide lab up`",
        ) from error
    hosts = tuple(
        host.replace(alive=process_record.alive(folder.host(host.name).process))
        for host in state.hosts
    )
    return state.replace(hosts=hosts)


def load(home: Home, name: str) -> LabState:
    """Return the lab ``name`` with each host's ``alive`` as of now.

    Raises:
        LabError: There is no such lab, or its state file cannot be understood.
    """
    state = find(home, name)
    if state is None:
        raise LabError(
            f"there is no lab {name!r} in {home.lab}",
            code=NOT_FOUND,
            hint=f"`bastide lab up --name {name}` raises it",
        )
    return state
