"""Between which machines mutual TLS is spoken; the same answer for templates and for keys. Pure.

A service that listens on loopback is asked in the clear: nobody but its own host can read along,
and who may become root there needs no network to read its memory.
"""

from __future__ import annotations

from bastide.plan.ports import LOOPBACK, bind_address
from bastide.schema.site import Group, Site

SERVICES = (Group.LLM, Group.EMBEDDINGS, Group.VECTORDB)
CLIENTS = ("gateway", "monitoring")  # groups that ask services of other hosts


def speaks_tls(site: Site, group: Group, host: str) -> bool:
    """Return whether ``group``'s service on ``host`` takes only clients with a certificate."""
    return (
        site.certificates.mutual_tls
        and group in SERVICES
        and group in site.hosts[host].groups
        and bind_address(site, group, host) != LOOPBACK
    )


def serving_hosts(site: Site) -> tuple[str, ...]:
    """Return the hosts that have such a service, in the site's order."""
    return tuple(
        name for name in site.hosts if any(speaks_tls(site, group, name) for group in SERVICES)
    )


def client_hosts(site: Site, kind: str) -> tuple[str, ...]:
    """Return the hosts of group ``kind``, one of ``CLIENTS``, if there is anything to ask."""
    if not serving_hosts(site):
        return ()
    return tuple(name for name, host in site.hosts.items() if kind in host.groups)


def users_of(site: Site, host: str, secret: str) -> tuple[Group, ...] | None:
    """Return the groups of ``host`` whose services read one of mutual TLS' files when they start.

    Args:
        site: The site.
        host: The host's name.
        secret: The file's name in ``HOST_SECRET_FILES``; None comes back if it is no such file.
    """
    serving = tuple(group for group in SERVICES if speaks_tls(site, group, host))
    asking = {kind: host in client_hosts(site, kind) for kind in CLIENTS}
    clients = tuple(Group(kind) for kind, asks in asking.items() if asks)
    return {
        "machines_ca_pem": serving + clients,
        "service_pem": serving,
        **{f"{kind}_client_pem": (Group(kind),) if asking[kind] else () for kind in CLIENTS},
    }.get(secret)
