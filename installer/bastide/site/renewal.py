"""Which certificates of a site must be made anew, and the site's secrets with them made. Pure.

Nothing here is written: a plan shows what is due, and an apply that was agreed to keeps it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Literal

from bastide.plan.tls import CLIENTS, client_hosts, serving_hosts
from bastide.schema.plan import CertificateChange
from bastide.schema.site import Site
from bastide.site import pki, rolling
from bastide.site.keyring import Keyring, Leaf
from bastide.site.material import Secrets

GATEWAY, DEPOT, SITE_CA, AUTHORITY = "gateway", "depot", "site-ca", "authority"
MACHINES_CA = "machines-ca"
SERVICE, AGENT, CLIENT = "service-", "agent-", "-client"
LIFE = timedelta(days=pki.LEAF_DAYS)
SOON = timedelta(days=pki.RENEW_DAYS)
AUTHORITY_SOON = timedelta(days=365)  # a CA is in the hands of people who need time


@dataclass(frozen=True)
class Due:
    """A certificate that is to be made, or that somebody must see to.

    Args:
        name: Its name, as ``bastide certificates list`` shows it.
        action: ``issue`` if there is none, ``renew``, or ``warn`` if Bastide cannot make it.
        why: Why, for the operator.
        ends: When the present one ends or falls due.
        at: From when the new one counts.
    """

    name: str
    action: Literal["issue", "renew", "warn"]
    why: str
    ends: datetime | None = None
    at: datetime | None = None


def machine_names(site: Site) -> tuple[str, ...]:
    """Return the names of the certificates that the site's machines show each other."""
    serving = serving_hosts(site)
    services = (f"{SERVICE}{host}" for host in serving)
    agents = (f"{AGENT}{host}" for host in serving)
    clients = (f"{kind}{CLIENT}" for kind in CLIENTS if client_hosts(site, kind))
    return (*services, *agents, *clients)


def due(secrets: Secrets, site: Site, now: datetime) -> tuple[Due, ...]:
    """Return which certificates are due, and why.

    If this machine's clock is certainly wrong, none is due because of its date.

    Args:
        secrets: The site's secrets.
        site: The site as it is now.
        now: The present time.
    """
    fault = clock_fault(secrets, now)
    found = [Due(SITE_CA, "warn", fault)] if fault else []
    found += [*_gateway(secrets, site, now, fault), *_depot(secrets, site, now, fault)]
    found += _machines(rolling.advanced(secrets.keyring), site, now, fault)
    if not fault:
        found += _authorities(secrets, now)
    return tuple(found)


def made_anew(secrets: Secrets, site: Site, dues: Iterable[Due], now: datetime) -> Secrets:
    """Return the secrets with every certificate that is due made, except those to warn of.

    A new machines CA was made when somebody asked for it: here its roll goes a step on, if it can.
    """
    secrets = replace(secrets, keyring=rolling.advanced(secrets.keyring))
    for each in dues:
        if each.action != "warn" and each.name != MACHINES_CA:
            secrets = _made(secrets, site, each.name, each.at or now)
    return secrets


def changes(dues: Iterable[Due], now: datetime) -> tuple[CertificateChange, ...]:
    """Return what a plan says of certificates that are due."""
    return tuple(
        CertificateChange(
            name=each.name,
            action=each.action,
            why=each.why,
            ends=_iso(each.ends),
            ends_after=_ends_after(each, now),
        )
        for each in dues
    )


def _ends_after(due: Due, now: datetime) -> str:
    endless = due.action == "warn" or due.name == MACHINES_CA
    return "" if endless else _iso((due.at or now) + LIFE)


def clock_fault(secrets: Secrets, now: datetime) -> str:
    """Return what is wrong with this machine's clock, if that is certain; else an empty text."""
    ca = pki.certificate_of(secrets.ca_certificate_pem)
    if now < ca.not_valid_before_utc:
        return (
            f"this machine's clock says {pki.day(now)}, but the site's CA was made on "
            f"{pki.day(ca.not_valid_before_utc + pki.CLOCK_SLACK)}: nothing is renewed by date"
        )
    if now > ca.not_valid_after_utc:
        return (
            f"this machine's clock says {pki.day(now)}, but the site's CA ended on "
            f"{pki.day(ca.not_valid_after_utc)}: nothing is renewed by date"
        )
    return ""


# --- which are due -----------------------------------------------------------------------------
def _gateway(secrets: Secrets, site: Site, now: datetime, fault: str) -> Iterator[Due]:
    names, pem = pki.gateway_names(site), secrets.gateway_certificate_pem
    keyring = secrets.keyring
    if keyring.gateway_issuer == "organisation":
        yield from _organisations(pem, names, now, fault)
        return
    issuer = issuer_of(secrets).certificate_pem
    why = _asked(keyring, GATEWAY) or pki.why_reissue(pem, names, issuer)
    if not why and not fault:
        why = pki.why_renew(pem, names, issuer, now)
    if why:
        yield Due(GATEWAY, "renew", why, pki.valid_until(pem), _at(secrets, GATEWAY, now))


def _organisations(pem: str, names: tuple[str, ...], now: datetime, fault: str) -> Iterator[Due]:
    ends = pki.valid_until(pem)
    order = "`bastide certificates csr` writes a request for a new one"
    lacking = sorted(set(names) - pki.names_of(pem))
    if lacking:
        yield Due(GATEWAY, "warn", f"it is not for {', '.join(lacking)}; {order}", ends)
    elif not fault and ends - now < SOON:
        yield Due(GATEWAY, "warn", f"it ends on {pki.day(ends)}; {order}", ends)


def _depot(secrets: Secrets, site: Site, now: datetime, fault: str) -> Iterator[Due]:
    names, pem = pki.depot_names(site), secrets.depot_certificate_pem
    ca = secrets.ca_certificate_pem
    why = _asked(secrets.keyring, DEPOT) or pki.why_reissue(pem, names, ca)
    if not why and not fault:
        why = pki.why_renew(pem, names, ca, now)
    if why:
        yield Due(DEPOT, "renew", why, pki.valid_until(pem), _at(secrets, DEPOT, now))


def _machines(keyring: Keyring, site: Site, now: datetime, fault: str) -> Iterator[Due]:
    authority = keyring.machines_ca
    if keyring.roll is not None and serving_hosts(site):
        yield Due(MACHINES_CA, "renew", rolling.why(keyring))
    for name in machine_names(site):
        leaf, asked = keyring.machines.get(name), keyring.asked.get(name)
        at = asked.at if asked else None
        if leaf is None or authority is None:
            yield Due(name, "issue", "machines show each other certificates", None, at)
            continue
        why = _asked(keyring, name)
        why = why or pki.why_reissue(
            leaf.certificate_pem, _machine_names(site, name), authority.certificate_pem
        )
        if why == pki.FOREIGN:
            why = "it was not issued by the machines CA"
        if not why and not fault and leaf.made + LIFE - now < SOON:
            why = f"it is from {pki.day(leaf.made)}"
        if why:
            yield Due(name, "renew", why, leaf.made + LIFE, at)


def _authorities(secrets: Secrets, now: datetime) -> Iterator[Due]:
    ends = pki.valid_until(secrets.ca_certificate_pem)
    if ends - now < AUTHORITY_SOON:
        yield Due(SITE_CA, "warn", f"the site's CA ends on {pki.day(ends)}", ends)
    authority = secrets.keyring.authority
    if authority is not None:
        ends = pki.valid_until(authority.chain_pem)
        if ends - now < AUTHORITY_SOON:
            why = f"the organisation's CA ends on {pki.day(ends)}: import its successor"
            yield Due(AUTHORITY, "warn", why, ends)


def _asked(keyring: Keyring, name: str) -> str:
    asked = keyring.asked.get(name)
    return f"asked for: {asked.why}" if asked else ""


def _at(secrets: Secrets, name: str, now: datetime) -> datetime | None:
    """Return from when a new certificate counts, if it is not from now on.

    With a clock that lags behind the CA's making, it is the time of that: nothing earlier is valid.
    """
    asked = secrets.keyring.asked.get(name)
    if asked and asked.at:
        return asked.at
    begun = pki.certificate_of(secrets.ca_certificate_pem).not_valid_before_utc + pki.CLOCK_SLACK
    return begun if now < begun else None


def _machine_names(site: Site, name: str) -> tuple[str, ...]:
    if not name.startswith(SERVICE):
        return ()
    host = name.removeprefix(SERVICE)
    return (pki.machine_name(host), str(site.hosts[host].address))


# --- making them -------------------------------------------------------------------------------
def issuer_of(secrets: Secrets) -> pki.Certified:
    """Return the CA that signs the gateway's certificate here."""
    authority = secrets.keyring.authority
    if secrets.keyring.gateway_issuer == "authority" and authority is not None:
        return pki.Certified(authority.chain_pem, authority.key_pem)
    return secrets.authority


def _made(secrets: Secrets, site: Site, name: str, now: datetime) -> Secrets:
    keyring = secrets.keyring
    asked = {key: value for key, value in keyring.asked.items() if key != name}
    if name == GATEWAY:
        made = pki.issue_gateway(issuer_of(secrets), site, now)
        secrets = replace(
            secrets, gateway_certificate_pem=made.certificate_pem, gateway_key_pem=made.key_pem
        )
    elif name == DEPOT:
        made = pki.issue_depot(secrets.authority, site, now)
        secrets = replace(
            secrets, depot_certificate_pem=made.certificate_pem, depot_key_pem=made.key_pem
        )
    else:
        keyring = _with_machine(keyring, site, name, now)
    return replace(secrets, keyring=keyring.replace(asked=asked))


def _with_machine(keyring: Keyring, site: Site, name: str, now: datetime) -> Keyring:
    authority = keyring.machines_ca
    if authority is None:
        made = pki.make_machines_authority(site.name)
        authority = Leaf(certificate_pem=made.certificate_pem, key_pem=made.key_pem, made=now)
    signer = pki.Certified(authority.certificate_pem, authority.key_pem)
    if name.startswith(SERVICE):
        host = name.removeprefix(SERVICE)
        made = pki.issue_service(signer, host, str(site.hosts[host].address))
    else:
        made = pki.issue_client(signer, name)
    leaf = Leaf(certificate_pem=made.certificate_pem, key_pem=made.key_pem, made=now)
    return keyring.replace(machines_ca=authority, machines={**keyring.machines, name: leaf})


def _iso(moment: datetime | None) -> str:
    return "" if moment is None else moment.astimezone(UTC).isoformat(timespec="seconds")
