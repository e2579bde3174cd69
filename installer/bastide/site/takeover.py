"""Changes of a site's certificates in its vault: requests, what came back, what is asked for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime

from bastide.errors import ConfigError
from bastide.layout import Home, SiteFolder
from bastide.schema.site import Site
from bastide.site import pki, renewal, signed, vault
from bastide.site.codes import (
    CERTIFICATE_ELSEWHERE,
    CERTIFICATE_NO_REQUEST,
    CERTIFICATE_UNKNOWN,
    CERTIFICATE_WHY,
)
from bastide.site.keyring import Asked, Authority, Keyring
from bastide.site.material import Secrets
from bastide.site.secrets import open_secrets, save_secrets

Change = Callable[[Secrets], Secrets]


def change(folder: SiteFolder, home: Home, how: Change) -> Secrets:
    """Carry a change out in the vault; return the secrets after it.

    Args:
        folder: The site's folder; its lock is held.
        home: Where the vault password is.
        how: Returns the new secrets.

    Raises:
        ConfigError: The vault cannot be opened, or the change refuses.
    """
    before = open_secrets(folder, home)
    after = how(before)
    if after != before:
        label = vault.label_of(folder.secrets.read_bytes(), where=str(folder.secrets))
        save_secrets(folder, after, vault.read_password(home, label), label)
    return after


def with_request(secrets: Secrets) -> Secrets:
    """Return the secrets with the key of a request; one that waits for its certificate is kept."""
    if secrets.keyring.requested_key_pem:
        return secrets
    return _with(secrets, requested_key_pem=pki.make_key())


def without_request(secrets: Secrets) -> Secrets:
    """Return the secrets with no request waiting."""
    return _with(secrets, requested_key_pem="")


def with_signed(secrets: Secrets, site: Site, pem: bytes, anchor: bytes, now: datetime) -> Secrets:
    """Return the secrets with the certificate that came back for the request.

    Args:
        secrets: The site's secrets.
        site: The site.
        pem: The signed certificate and those of the CAs above it.
        anchor: The root that clients trust, if it is not in ``pem``; may be empty.
        now: The present time.

    Raises:
        ConfigError: No request waits, or the certificate is not fit.
    """
    key = secrets.keyring.requested_key_pem
    if not key:
        raise ConfigError(
            "no request waits for a certificate",
            code=CERTIFICATE_NO_REQUEST,
            hint="`bastide certificates csr` writes one; the certificate must be signed for that",
        )
    offered = _offered(site, pem, key, anchor, now)
    signed.check_leaf(offered)
    keyring = secrets.keyring.replace(
        gateway_issuer="organisation",
        anchors_pem=_anchors(offered),
        requested_key_pem="",
        asked=_without(secrets.keyring, renewal.GATEWAY),
    )
    return replace(
        secrets,
        gateway_certificate_pem=_shown(offered),
        gateway_key_pem=key,
        keyring=keyring,
    )


def with_authority(
    secrets: Secrets, site: Site, pem: bytes, key: bytes, anchor: bytes, now: datetime
) -> Secrets:
    """Return the secrets with a CA of the organisation, which signs the gateway from now on.

    Args:
        secrets: The site's secrets.
        site: The site.
        pem: The CA's certificate and those above it.
        key: Its private key, PEM, not encrypted.
        anchor: The root that clients trust, if it is not in ``pem``; may be empty.
        now: The present time.

    Raises:
        ConfigError: It is not fit to sign.
    """
    offered = _offered(site, pem, key.decode("ascii", "replace"), anchor, now)
    signed.check_authority(offered)
    return _with(
        secrets,
        gateway_issuer="authority",
        authority=Authority(chain_pem=signed.pem_of(offered.chain), key_pem=offered.key_pem),
        anchors_pem=_anchors(offered),
    )


def with_site_ca(secrets: Secrets) -> Secrets:
    """Return the secrets with the site's own CA as the signer again."""
    return _with(secrets, gateway_issuer="site", authority=None)


def names_to_renew(secrets: Secrets, site: Site, names: tuple[str, ...]) -> tuple[str, ...]:
    """Return which certificates are meant: those named, or all that Bastide can make."""
    if names != ("all",):
        return names
    elsewhere = secrets.keyring.gateway_issuer == "organisation"
    gateway = () if elsewhere else (renewal.GATEWAY,)
    return (*gateway, renewal.DEPOT, *renewal.machine_names(site))


def with_asked(
    secrets: Secrets, site: Site, name: str, reason: str, at: datetime | None
) -> Secrets:
    """Return the secrets with a mark that the next plan makes a certificate anew.

    Args:
        secrets: The site's secrets.
        site: The site.
        name: The certificate's name.
        reason: Why, for the plan and the ledger.
        at: The true time, if this machine's clock is wrong.

    Raises:
        ConfigError: There is no such certificate, Bastide cannot make it, or no reason is given.
    """
    known = (renewal.GATEWAY, renewal.DEPOT, *renewal.machine_names(site))
    if name not in known:
        raise ConfigError(
            f"no certificate is called '{name}'",
            code=CERTIFICATE_UNKNOWN,
            hint=f"this site has {', '.join(known)}",
        )
    if name == renewal.GATEWAY and secrets.keyring.gateway_issuer == "organisation":
        raise ConfigError(
            "the gateway's certificate was signed elsewhere: Bastide cannot make a new one",
            code=CERTIFICATE_ELSEWHERE,
            hint="`bastide certificates csr` writes a request for it; `bastide certificates import "
            "--site-ca` lets the site's own CA sign again",
        )
    require_reason(reason)
    asked = {**secrets.keyring.asked, name: Asked(why=reason.strip(), at=at)}
    return _with(secrets, asked=asked)


def require_reason(reason: str) -> None:
    """See that somebody said why certificates are to be made before they are due.

    Raises:
        ConfigError: Nobody did.
    """
    if not reason.strip():
        raise ConfigError(
            "a renewal before its time is kept with its reason, and none was given",
            code=CERTIFICATE_WHY,
            hint="say why, in a few words that an auditor will understand",
        )


def _with(secrets: Secrets, **changes: object) -> Secrets:
    return replace(secrets, keyring=secrets.keyring.replace(**changes))


def _without(keyring: Keyring, name: str) -> dict[str, Asked]:
    return {key: value for key, value in keyring.asked.items() if key != name}


def _offered(site: Site, pem: bytes, key: str, anchor: bytes, now: datetime) -> signed.Offered:
    chain = signed.read_chain(pem, "the file")
    anchors = signed.read_chain(anchor, "the anchor") if anchor else ()
    return signed.Offered(chain, key, anchors, pki.gateway_names(site), now)


def _anchors(offered: signed.Offered) -> str:
    return signed.pem_of((offered.root,)) if offered.root is not None else ""


def _shown(offered: signed.Offered) -> str:
    """Return what the gateway shows: the chain without the root, which clients have."""
    chain = offered.chain
    if len(chain) > 1 and chain[-1] == offered.root:
        chain = chain[:-1]
    return signed.pem_of(chain)
