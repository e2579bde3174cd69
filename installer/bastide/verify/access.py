"""How the suite reaches a site's hosts and services; pure but for reading the site's secrets."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from bastide.layout import Home, SiteFolder
from bastide.render.inventory import resolve
from bastide.schema.site import Site
from bastide.site.secrets import open_secrets


@dataclass(frozen=True)
class Access:
    """What a run needs besides expectations.

    Args:
        hosts: Names of the hosts, as ``ssh_config`` knows them.
        ssh_config: Text of an OpenSSH configuration for these hosts.
        sudo: Whether the login user needs sudo.
        api_key: The key that may do everything.
        read_only_api_key: The key that may only read.
        pass_: What lets a gate write vectors while an upgrade keeps clients from it; often empty.
    """

    hosts: tuple[str, ...]
    ssh_config: str
    sudo: bool
    api_key: str = field(repr=False)
    read_only_api_key: str = field(repr=False)
    pass_: str = field(default="", repr=False)


def open_access(site: Site, folder: SiteFolder, home: Home) -> Access:
    """Return how to reach ``site``, with its API keys.

    Raises:
        ConfigError: The site's secrets cannot be opened.
    """
    secrets = open_secrets(folder, home)
    return Access(
        hosts=tuple(site.hosts),
        ssh_config=ssh_config(site, folder.root),
        sudo=site.ssh.user != "root",
        api_key=secrets.api_key,
        read_only_api_key=secrets.read_only_api_key,
    )


def ssh_config(site: Site, site_root: Path) -> str:
    """Return an OpenSSH configuration that reaches the hosts by name, by key only.

    Args:
        site: The site.
        site_root: The folder of ``site.yaml``, to which its paths are relative.
    """
    common = (
        f"  User {site.ssh.user}",
        f"  Port {site.ssh.port}",
        f'  IdentityFile "{resolve(site.ssh.private_key, site_root)}"',
        f'  UserKnownHostsFile "{resolve(site.ssh.known_hosts, site_root)}"',
        "  GlobalKnownHostsFile none",
        "  IdentitiesOnly yes",
        "  StrictHostKeyChecking yes",
        "  BatchMode yes",
    )
    hosts = (f"Host {name}\n  HostName {host.address}" for name, host in site.hosts.items())
    return "\n".join([*hosts, "Host *", *common]) + "\n"
