"""Site and plan → Ansible's inventory. Pure.

Every text in it is tagged ``!unsafe``, so that Ansible never evaluates what an operator wrote: a
user name ``{{ lookup('pipe', …) }}`` stays a strange user name.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from bastide.errors import ConfigError
from bastide.plan.ports import bind_address, service_ports
from bastide.plan.tls import speaks_tls
from bastide.schema.site import Group, Site

LEAVING = "leaving"  # the group of hosts that have left the site
BAD_PATH = "BAS-2063"
PYTHON = "/usr/bin/python3"
CONNECTION_OPTIONS = (
    "ConnectTimeout=10",
    "ServerAliveInterval=15",
    "ServerAliveCountMax=4",
    "BatchMode=yes",
)

_HEADER = "# Written by bastide for one run; the site's own description is site.yaml.\n"


class _Dumper(yaml.SafeDumper):
    """Tags every text that is a value; keys are ours."""


class _Unsafe(str):
    __slots__ = ()


def _represent_unsafe(dumper: yaml.SafeDumper, value: _Unsafe) -> yaml.Node:
    return dumper.represent_scalar("!unsafe", str(value), style='"')


_Dumper.add_representer(_Unsafe, _represent_unsafe)


def _tagged(value: Any) -> Any:  # noqa: ANN401 - plain JSON values
    if isinstance(value, str):
        return _Unsafe(value)
    if isinstance(value, Mapping):
        return {str(key): _tagged(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_tagged(item) for item in value]
    return value


def resolve(path: str, site_root: Path) -> Path:
    """Return a path of ``site.yaml`` as an absolute one: relative to its folder, ``~`` expanded."""
    return (site_root / Path(path).expanduser()).absolute()


def known_hosts_options(site: Site, site_root: Path) -> tuple[str, str]:
    """Return ssh's options that let in only hosts whose keys the site has pinned.

    Raises:
        ConfigError: The path of the file cannot be handed to ssh.
    """
    known_hosts = str(resolve(site.ssh.known_hosts, site_root))
    if '"' in known_hosts or "\n" in known_hosts:
        raise ConfigError(
            f"site.yaml: ssh.known_hosts has a double quote or line break in it: {known_hosts!r}",
            code=BAD_PATH,
            hint="ssh cannot take such a path: move the file",
        )
    return f'UserKnownHostsFile="{known_hosts}"', "StrictHostKeyChecking=yes"


def ssh_options(site: Site, site_root: Path) -> tuple[str, ...]:
    """Return every ``-o`` option with which plain ssh reaches the site's hosts, as Ansible does.

    Raises:
        ConfigError: A path cannot be handed to ssh.
    """
    return (
        *known_hosts_options(site, site_root),
        *CONNECTION_OPTIONS,
        f"User={site.ssh.user}",
        f"Port={site.ssh.port}",
        f'IdentityFile="{resolve(site.ssh.private_key, site_root)}"',
    )


def _connection(site: Site, site_root: Path) -> dict[str, Any]:
    options = known_hosts_options(site, site_root)
    return {
        "ansible_user": site.ssh.user,
        "ansible_port": site.ssh.port,
        "ansible_ssh_private_key_file": str(resolve(site.ssh.private_key, site_root)),
        "ansible_ssh_common_args": shlex.join(part for o in options for part in ("-o", o)),
        "ansible_python_interpreter": PYTHON,
        "ansible_become": site.ssh.user != "root",
    }


def _places(site: Site, host: str) -> dict[str, str]:
    """Return where a host's services listen, as the gateway is told of them."""
    ports = service_ports(site)
    return {
        str(group): f"{bind_address(site, group, host)} {ports[group]}"
        + (" tls" if speaks_tls(site, group, host) else "")
        for group in site.hosts[host].groups
    }


def inventory(
    site: Site,
    site_root: Path,
    variables: Mapping[str, Any],
    host_variables: Mapping[str, Mapping[str, Any]],
    leaving: Mapping[str, str] | None = None,
) -> bytes:
    """Return the inventory as YAML.

    Args:
        site: The site.
        site_root: The folder of ``site.yaml``, to which its paths are relative.
        variables: Variables of all hosts, beside those of the connection.
        host_variables: Variables of single hosts, by host name, in the order in which hosts switch.
        leaving: Hosts that have left the site, with their addresses; a group of their own, which
            only the playbook that takes them out of service means.

    Raises:
        ConfigError: A path cannot be handed to ssh.
    """
    ports = {str(group): port for group, port in service_ports(site).items()}
    hosts = {
        name: {
            "ansible_host": str(site.hosts[name].address),
            "bastide_service_ports": ports,
            "bastide_service_places": _places(site, name),
            **host_variables.get(name, {}),
        }
        for name in (*host_variables, *(n for n in site.hosts if n not in host_variables))
    }
    gone = leaving or {}
    hosts |= {name: {"ansible_host": address} for name, address in gone.items()}
    groups = {str(group): site.hosts_in(group) for group in Group} | {LEAVING: tuple(gone)}
    document = {
        "all": {
            "vars": _tagged({**_connection(site, site_root), **variables}),
            "hosts": {name: _tagged(values) for name, values in hosts.items()},
            "children": {
                name: {"hosts": dict.fromkeys(members)} for name, members in groups.items()
            },
        }
    }
    text = yaml.dump(document, Dumper=_Dumper, sort_keys=False, width=1000, allow_unicode=False)
    return (_HEADER + text).encode()
