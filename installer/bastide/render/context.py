"""What templates can see: plain values about one host, its site and its release.

Names in templates (all values are plain JSON types):

``site``      ``site.yaml`` as it was read
``host``      this host: ``name``, ``address``, ``groups``
``hosts``     all hosts, each like ``host``, in the site's order
``release``   the release's catalogue file
``models``    by use (``llm``, ``embeddings``): ``name``, ``sha256``, ``size``, ``filename``,
              ``path`` (on the host), ``link`` (below the generation's folder), ``card``
``services``  by group (``llm``, ``embeddings``, ``vectordb``, ``gateway``, and ``monitoring``, if
              the site and the release have it): ``port``, ``bind``
              (where this host listens; none if it is not in the group), ``allow`` (networks that
              its unit may exchange packets with, beside loopback), ``tls`` (whether this host's
              takes only clients with a certificate) and ``backends``: ``name``, ``address``,
              ``port``, ``tls`` of each host of the group, as the gateway reaches it
``floating``  ``address`` and ``router`` (VRRP's number) of the address that the gateways share;
              none if there is none, or if this host is no gateway
``mutual_tls``  whether a service of this host is one of those; ``asks_tls``: of any host
``features``  what the site has only if release and site.yaml agree (``features.py``), sorted
``firewall``  ``lines`` of this host's packet filter (``direction``, ``match``, ``words``), ``ssh``:
              networks from which it may be logged in to, ``peers``: matches of the site's machines
``edge``, ``server``  whether the vector DB's engine is this one
``cluster``   of the vector DB's hosts, if there are several: ``first`` (address of the one that the
              others join), ``own`` (this host's address), ``port``; else none
``strict_mode``  the vector DB's default limits; empty if off
``own_journal``  whether services log into a journal of their own
``syslog``    whether the site has a syslog server; ``syslog_ca``: with a CA of its own
``log_units``  units of this host whose logs it gets
``peers``     addresses of all hosts of the site, for allow lists
``paths``     ``current``, ``state``, ``models``, ``etc``, ``secrets``, ``metrics``, ``notes`` on
              the host
``units``     the units that run on this host all the time
``monitored`` whether site and release have monitoring
``metrics``   where this host gives its metrics: ``bind``, and to whom beside loopback: ``allow``;
              and of all hosts, in ``hosts``, each with
              ``name``, ``address`` and ``groups``, as the monitoring host reaches it
``alert_receivers``  addresses that alerts are sent to
``alert_logins``  names of receivers that take a password or a token; ``receivers_ca`` whether they
              have a CA of their own
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from pydantic import BaseModel

from bastide import layout
from bastide.errors import ConfigError
from bastide.plan.firewall import FIREWALL_UNIT, firewall_lines, firewall_peers, ssh_networks
from bastide.plan.floating import floats
from bastide.plan.flows import shown, unit_networks
from bastide.plan.ports import LOOPBACK, bind_address, service_ports
from bastide.plan.services import SYSLOG, components_on, metrics_address, units_of
from bastide.plan.tls import serving_hosts, speaks_tls
from bastide.render.features import FIREWALL, features
from bastide.schema.artifact import Artifact, ArtifactKind, Component, Manifest
from bastide.schema.monitoring import destinations
from bastide.schema.site import Group, Site
from bastide.schema.vectordb import VectorEngine

UNKNOWN_MODEL = "BAS-2061"


def _plain(value: BaseModel) -> dict[str, Any]:
    return value.model_dump(mode="json", by_alias=True)


def _host(site: Site, name: str) -> dict[str, Any]:
    host = site.hosts[name]
    groups = [str(group) for group in host.groups]
    return {"name": name, "address": str(host.address), "groups": groups}


def model_of(manifest: Manifest, name: str) -> Artifact:
    """Return the manifest's model called ``name``.

    Raises:
        ConfigError: The bundle does not carry it.
    """
    found = {artifact.name: artifact for artifact in manifest.of_kind(ArtifactKind.MODEL)}
    if name not in found:
        raise ConfigError(
            f"site.yaml asks for the model '{name}', which this bundle does not carry;"
            f" it has: {', '.join(sorted(found)) or 'no models at all'}",
            code=UNKNOWN_MODEL,
            hint="choose one of these under 'models' in site.yaml, or import another bundle",
        )
    return found[name]


def _model(artifact: Artifact, cards: Mapping[str, BaseModel]) -> dict[str, Any]:
    card = cards.get(artifact.name)
    return {
        "name": artifact.name,
        "sha256": artifact.sha256,
        "size": artifact.size,
        "filename": artifact.filename,
        "path": str(layout.host_model(artifact.sha256)),
        "link": f"models/{artifact.name}.gguf",
        "card": _plain(card) if card else {},
    }


def _service(site: Site, group: Group, host: str) -> dict[str, Any]:
    port = service_ports(site)[group]
    backends = [
        {
            "name": name,
            "address": bind_address(site, group, name),
            "port": port,
            "tls": speaks_tls(site, group, name),
        }
        for name in site.hosts_in(group)
    ]
    here = group in site.hosts[host].groups
    bind = bind_address(site, group, host) if here else None
    allow = [shown(each) for each in unit_networks(site, group, host)] if here else []
    tls = speaks_tls(site, group, host)
    return {"port": port, "bind": bind, "tls": tls, "backends": backends, "allow": allow}


def _firewall(site: Site, host: str) -> dict[str, Any]:
    return {
        "lines": [asdict(line) for line in firewall_lines(site, host)],
        "ssh": [str(each) for each in ssh_networks(site, host)],
        "peers": list(firewall_peers(site)),
    }


def _floating(site: Site, manifest: Manifest, host: str) -> dict[str, Any] | None:
    if not floats(site, manifest, host):
        return None
    network = site.network
    return {"address": str(network.gateway_address), "router": network.gateway_router}


def is_monitored(site: Site, release: BaseModel) -> bool:
    """Return whether there is monitoring: the site has a host for it, the release the programs."""
    return site.is_monitored and Component.MONITORING in getattr(release, "components", {})


def _units(site: Site, monitored: bool, host: str) -> list[str]:  # noqa: FBT001 - a fact of the site
    found = {unit for each in components_on(site, host) for unit in units_of(each)}
    if not monitored:
        found -= {*units_of(Component.MONITORING), *units_of(Component.EXPORTERS)}
    return sorted(found)


def _log_units(site: Site, manifest: Manifest, monitored: bool, host: str) -> list[str]:  # noqa: FBT001
    found = {*_units(site, monitored, host), SYSLOG}
    if floats(site, manifest, host):
        found.update(units_of(Component.KEEPALIVED))
    return sorted(found | ({FIREWALL_UNIT} if FIREWALL in features(site, manifest) else set()))


def _metrics(site: Site, host: str) -> dict[str, Any]:
    hosts = [{**_host(site, name), "address": metrics_address(site, name)} for name in site.hosts]
    bind = metrics_address(site, host)
    askers = {host, *site.hosts_in(Group.MONITORING)} if bind != LOOPBACK else set()
    allow = sorted(str(site.hosts[name].address) for name in askers)
    return {"bind": bind, "allow": allow, "hosts": hosts}


def _cluster(site: Site, host: str) -> dict[str, Any] | None:
    """Who a host of the vector DB finds the others through; none if it is alone."""
    members = site.hosts_in(Group.VECTORDB)
    if host not in members or len(members) == 1:
        return None
    addresses = [bind_address(site, Group.VECTORDB, name) for name in members]
    return {
        "first": addresses[0],
        "own": bind_address(site, Group.VECTORDB, host),
        "port": site.vectordb.peer_port,
    }


def host_context(
    site: Site, release: BaseModel, manifest: Manifest, cards: Mapping[str, BaseModel], host: str
) -> dict[str, Any]:
    """Return what the templates of ``host`` can see.

    Raises:
        ConfigError: A chosen model, or keepalived for a floating address, is not in the bundle.
    """
    monitored = is_monitored(site, release)
    groups = [group for group in Group if group is not Group.MONITORING or monitored]
    return {
        "site": _plain(site),
        "host": _host(site, host),
        "hosts": [_host(site, name) for name in site.hosts],
        "release": _plain(release),
        "models": {
            "llm": _model(model_of(manifest, site.models.llm), cards),
            "embeddings": _model(model_of(manifest, site.models.embeddings), cards),
        },
        "mutual_tls": host in serving_hosts(site),
        "asks_tls": bool(serving_hosts(site)),
        "services": {str(group): _service(site, group, host) for group in groups},
        "floating": _floating(site, manifest, host),
        "features": sorted(features(site, manifest)),
        "firewall": _firewall(site, host),
        "monitored": monitored,
        "units": _units(site, monitored, host),
        "metrics": _metrics(site, host),
        "alert_logins": list(site.monitoring.logins) if monitored else [],
        "receivers_ca": monitored and site.monitoring.receivers_ca is not None,
        "alert_receivers": sorted({address for address, _ in destinations(site.monitoring)}),
        "edge": site.vectordb.engine is VectorEngine.EDGE,
        "server": site.vectordb.engine is VectorEngine.SERVER,
        "cluster": _cluster(site, host),
        "strict_mode": site.vectordb.strict_mode.given(),
        "own_journal": site.logs.retention_days > 0,
        "syslog": site.logs.syslog is not None,
        "syslog_ca": site.logs.syslog is not None and site.logs.syslog.ca is not None,
        "log_units": _log_units(site, manifest, monitored, host),
        "peers": [str(each.address) for each in site.hosts.values()],
        "paths": {
            "current": str(layout.HOST_CURRENT),
            "state": str(layout.HOST_STATE),
            "models": str(layout.HOST_MODELS),
            "etc": str(layout.HOST_ETC),
            "secrets": str(layout.HOST_SECRETS),
            "metrics": str(layout.HOST_METRICS),
            "notes": str(layout.HOST_NOTES),
        },
    }
