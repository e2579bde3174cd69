"""Secrets as files for hosts: which host gets what, and what a plan may tell of it. Pure."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterator, Mapping

from bastide.plan.inputs import Fingerprints
from bastide.plan.tls import CLIENTS, client_hosts, serving_hosts
from bastide.schema.site import Group, Site
from bastide.site import pki, receivers, renewal, rolling
from bastide.site.keystore import keys_map
from bastide.site.material import Secrets

_DIGITS = 16
_METRIC = "bastide_certificate_due_timestamp_seconds"
_HELP = (
    f"# HELP {_METRIC} When a certificate of this host ends, or is due to be renewed.\n"
    f"# TYPE {_METRIC} gauge\n"
)


def shared_files(secrets: Secrets) -> dict[str, str]:
    """Return the files that are the same on every host that gets them, by name."""
    full = secrets.vectordb_api_key or secrets.api_key
    read_only = secrets.vectordb_read_only_api_key or secrets.read_only_api_key
    return {
        "api_key": full,
        "read_only_api_key": read_only,
        "gateway_pem": secrets.gateway_certificate_pem + secrets.gateway_key_pem,
        "gateway_keys_map": keys_map(secrets.all_clients),
        "vectordb_keys_map": f"admin {full}\nuser {full}\nreader {read_only}\n",
        "ca_pem": secrets.anchors_pem,
    }


def host_files(secrets: Secrets, site: Site) -> dict[str, dict[str, str]]:
    """Return each host's own files, by host and name; without certificates that are not made yet.

    Args:
        secrets: The site's secrets.
        site: The site.
    """
    found = {}
    for host in site.hosts:
        files = {}
        for file, name in certificates_of(site, host).items():
            leaf = secrets.keyring.machines.get(name)
            if leaf is not None and secrets.keyring.machines_ca is not None:
                files[file] = leaf.certificate_pem + leaf.key_pem
                files["machines_ca_pem"] = rolling.trusted_pem(secrets.keyring)
        told = receivers.text_for_hosts(secrets.receivers, site)
        if told and Group.MONITORING in site.hosts[host].groups:
            files["alert_secrets"] = told
        found[host] = {**files, "certificates_prom": _metrics(secrets, site, host)}
    return found


def certificates_of(site: Site, host: str) -> dict[str, str]:
    """Return the certificates between machines that ``host`` gets: file's name → certificate's."""
    found = {}
    if host in serving_hosts(site):
        found = {
            "service_pem": f"{renewal.SERVICE}{host}",
            "agent_pem": f"{renewal.AGENT}{host}",
        }
    for kind in CLIENTS:
        if host in client_hosts(site, kind):
            found[f"{kind}_client_pem"] = f"{kind}{renewal.CLIENT}"
    return found


def fingerprints(
    secrets: Secrets, site: Site, salt: str, before: Secrets | None = None
) -> Fingerprints:
    """Return what a plan may tell of the secrets that hosts get: salted, and cut short.

    All that is secret in them was made from at least 256 random bits, or has as many beside it, so
    that nobody who has plan and salt can find it by trying.

    Args:
        secrets: The site's secrets.
        site: The site.
        salt: The plan's salt; without one nothing is told.
        before: The secrets without what ``secrets`` has only to find out what would change: of a
            file that differs nothing is told.
    """
    if not salt:
        return Fingerprints()
    held = before or secrets

    def told(files: Mapping[str, str], old: Mapping[str, str]) -> dict[str, str]:
        return {
            name: _fingerprint(salt, text) if old.get(name) == text else ""
            for name, text in files.items()
        }

    own, earlier = host_files(secrets, site), host_files(held, site)
    return Fingerprints(
        salt,
        told(shared_files(secrets), shared_files(held)),
        {host: told(files, earlier[host]) for host, files in own.items()},
    )


def _fingerprint(salt: str, text: str) -> str:
    return hmac.new(salt.encode(), text.encode(), hashlib.sha256).hexdigest()[:_DIGITS]


def _metrics(secrets: Secrets, site: Site, host: str) -> str:
    """Return when this host's certificates end, as Prometheus reads it."""
    lines = [
        f'{_METRIC}{{certificate="{name}",renewal="{by}"}} {seconds}\n'
        for name, by, seconds in _ends(secrets, site, host)
    ]
    return _HELP + "".join(sorted(lines))


def _ends(secrets: Secrets, site: Site, host: str) -> Iterator[tuple[str, str, int]]:
    if Group.GATEWAY in site.hosts[host].groups:
        by = "request" if secrets.keyring.gateway_issuer == "organisation" else "plan"
        ends = pki.valid_until(secrets.gateway_certificate_pem)
        yield renewal.GATEWAY, by, int(ends.timestamp())
    for name in certificates_of(site, host).values():
        leaf = secrets.keyring.machines.get(name)
        if leaf is not None:
            yield name, "plan", int((leaf.made + renewal.LIFE).timestamp())
