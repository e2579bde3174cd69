"""``bastide certificates csr|import|renew|roll``: changes in the vault, which plans carry out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import click

from bastide.cli.context import site_option
from bastide.cli.output import reports, stdout
from bastide.cli.recording import recorded
from bastide.errors import ConfigError
from bastide.host.files import write_atomic
from bastide.host.lock import exclusive_lock
from bastide.layout import Home, SiteFolder
from bastide.schema.site import Site
from bastide.site import pki, renewal, rolling, takeover
from bastide.site.codes import CERTIFICATE_FILE, CERTIFICATE_WHY
from bastide.site.config import load_site
from bastide.site.keyring import Keyring
from bastide.site.material import Secrets

NEXT = "bastide plan"


@dataclass(frozen=True)
class Changed:
    """What was changed in the vault.

    Args:
        what: In words.
        certificate: The certificate's name.
        file: A file that was written.
        sha256: Fingerprint of the certificate that came; empty if none did.
        reason: Why, if that is asked for.
        clock: The time that was given in place of this machine's.
        next_command: What brings it to the hosts, or what to do with the file.
    """

    what: str
    certificate: str
    file: Path | None = None
    sha256: str = ""
    reason: str = ""
    clock: str = ""
    next_command: str = NEXT


def _view(result: Changed) -> None:
    stdout().print(result.what, markup=False)
    if result.next_command:
        stdout().print(f"next: {result.next_command}", markup=False)


def _about(result: Changed) -> Mapping[str, str]:
    told = {
        "certificate": result.certificate,
        "sha256": result.sha256,
        "reason": result.reason,
        "clock": result.clock,
    }
    return {name: text for name, text in told.items() if text}


def _opened(site_dir: Path) -> tuple[Site, SiteFolder]:
    folder = SiteFolder((site_dir if site_dir.is_dir() else site_dir.parent).resolve())
    return load_site(site_dir), folder


@click.command("csr")
@site_option
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), default=Path("gateway.csr"),
              show_default=True, help="Where to write the request.")  # fmt: skip
@click.option("--anew", is_flag=True, help="With a new key, even if a request waits already.")
@reports(_view)
@recorded("certificates csr", _about)
def csr(site_dir: Path, out: Path, *, anew: bool) -> Changed:
    """Write a request for the gateway's certificate, for the organisation's CA to sign.

    The key is made now, stays in the vault, and is used once the signed certificate is imported;
    until then the gateway keeps the one that it has. Only the gateway's can be signed elsewhere:
    the others prove to the site's machines, and to nobody else, that they are the site's.
    """
    site, folder = _opened(site_dir)
    with exclusive_lock(folder.lock, "a certificate request"):
        if anew:
            takeover.change(folder, Home.default(), takeover.without_request)
        secrets = takeover.change(folder, Home.default(), takeover.with_request)
    text = pki.request_text(site, secrets.keyring.requested_key_pem)
    try:
        write_atomic(out.absolute(), text.encode(), mode=0o644)
    except OSError as error:
        raise ConfigError(
            f"the request cannot be written to {out}: {error.strerror}",
            code=CERTIFICATE_FILE,
            hint="choose another place with --out",
        ) from error
    names = ", ".join(pki.gateway_names(site))
    return Changed(
        f"request for {names} written to {out}",
        "gateway",
        out.absolute(),
        next_command="have it signed, then `bastide certificates import SIGNED.pem`",
    )


_file = click.Path(path_type=Path, dir_okay=False)


@click.command("import")
@click.argument("certificate", required=False, type=_file)
@site_option
@click.option("--anchor", type=_file, help="The root that clients trust, if CERTIFICATE lacks it.")
@click.option("--authority-key", type=_file,
              help="CERTIFICATE is a CA's, and this is its key: it signs from now on.")  # fmt: skip
@click.option("--site-ca", is_flag=True, help="Let the site's own CA sign the gateway's again.")
@reports(_view)
@recorded("certificates import", _about)
def import_(
    certificate: Path | None,
    site_dir: Path,
    anchor: Path | None,
    authority_key: Path | None,
    *,
    site_ca: bool,
) -> Changed:
    """Take in what the organisation signed: the gateway's certificate, or a CA of its own.

    CERTIFICATE is PEM, with the certificates of the CAs above it in any order. It must fit the
    request's key and the gateway's names; everything that is wrong with it is listed, and nothing
    is changed then. With --authority-key it is a CA's certificate (an intermediate's, say), whose
    key, PEM and not encrypted, is kept in the vault. Clients need the organisation's root: it is
    added to the site's ca.pem.
    """
    site, folder = _opened(site_dir)
    if site_ca == (certificate is not None):
        raise ConfigError(
            "give either a CERTIFICATE or --site-ca",
            code=CERTIFICATE_FILE,
            hint="see `bastide certificates import --help`",
        )
    pem, root, key = (_read(path) for path in (certificate, anchor, authority_key))
    now = datetime.now(UTC)

    def how(secrets: Secrets) -> Secrets:
        if site_ca:
            return takeover.with_site_ca(secrets)
        if authority_key is not None:
            return takeover.with_authority(secrets, site, pem, key, root, now)
        return takeover.with_signed(secrets, site, pem, root, now)

    with exclusive_lock(folder.lock, "an import of a certificate"):
        secrets = takeover.change(folder, Home.default(), how)
    return Changed(
        _what(secrets.keyring), "gateway", folder.authority, _sha256(secrets, site_ca=site_ca)
    )


@click.command("renew")
@click.argument("names", nargs=-1, required=True, metavar="NAME...")
@site_option
@click.option("--reason", required=True, help="Why now; kept in the plan and in the ledger.")
@click.option("--clock", metavar="TIME",
              help="The true time, if this machine's clock is wrong, such as "
              "2026-11-26T12:00:00Z; kept in the ledger.")  # fmt: skip
@reports(_view)
@recorded("certificates renew", _about)
def renew(names: tuple[str, ...], site_dir: Path, reason: str, clock: str | None) -> Changed:
    """Ask that the next plan makes certificates anew, before they are due.

    NAME is one that `bastide certificates list` shows, or `all`. Nothing is made before a plan that
    shows it was agreed to. --clock gives the time for certificates that have dates (the gateway's
    and the depot's) on a machine whose clock is wrong.
    """
    site, folder = _opened(site_dir)
    at = _time(clock) if clock else None

    def how(secrets: Secrets) -> Secrets:
        for name in takeover.names_to_renew(secrets, site, names):
            secrets = takeover.with_asked(secrets, site, name, reason, at)
        return secrets

    with exclusive_lock(folder.lock, "a certificate renewal"):
        takeover.change(folder, Home.default(), how)
    said = ", ".join(names)
    when = at.isoformat() if at else ""
    return Changed(f"{said}: the next plan makes it anew", said, None, "", reason, when)


@click.command("roll")
@click.argument("authority", type=click.Choice(["machines"]))
@site_option
@click.option("--reason", required=True, help="Why; kept in the plans and in the ledger.")
@reports(_view)
@recorded("certificates roll", _about)
def roll(authority: str, site_dir: Path, reason: str) -> Changed:  # noqa: ARG001 - one so far
    """Replace the CA that says which machines belong to the site, in three plans.

    That is the answer to a key of a machine that was stolen: it is of no use once the third is
    applied. First machines trust the new CA beside the old one, then they show certificates of it,
    then they forget the old one; in between, old and new understand each other. Each `bastide
    plan` shows its step, and goes on only after an apply that ended well on every host.
    """
    site, folder = _opened(site_dir)
    takeover.require_reason(reason)
    now = datetime.now(UTC)

    def how(secrets: Secrets) -> Secrets:
        keyring = rolling.begun(secrets.keyring, site, reason.strip(), now)
        return replace(secrets, keyring=keyring)

    with exclusive_lock(folder.lock, "a roll of the machines CA"):
        secrets = takeover.change(folder, Home.default(), how)
    other = secrets.keyring.roll.other if secrets.keyring.roll else None
    return Changed(
        "a new machines CA waits: three times `bastide plan` and `bastide apply`",
        renewal.MACHINES_CA,
        sha256=pki.fingerprint_of(other.certificate_pem) if other else "",
        reason=reason,
    )


def _read(path: Path | None) -> bytes:
    if path is None:
        return b""
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigError(
            f"{path} cannot be read: {error.strerror}",
            code=CERTIFICATE_FILE,
            hint="nothing was changed; name a file that this user may read",
        ) from error


def _time(text: str) -> datetime:
    try:
        found = datetime.fromisoformat(text)
    except ValueError as error:
        raise ConfigError(
            f"--clock {text}: no time; expected for example 2026-11-26T12:00:00Z",
            code=CERTIFICATE_WHY,
        ) from error
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def _what(keyring: Keyring) -> str:
    return {
        "site": "the site's own CA signs the gateway's certificate again",
        "authority": "the organisation's CA signs the gateway's certificate from now on",
        "organisation": "the gateway's certificate was taken in",
    }[keyring.gateway_issuer]


def _sha256(secrets: Secrets, *, site_ca: bool) -> str:
    if site_ca:
        return ""
    authority = secrets.keyring.authority
    own = secrets.keyring.gateway_issuer == "authority" and authority is not None
    return pki.fingerprint_of(
        authority.chain_pem if own and authority else secrets.gateway_certificate_pem
    )
