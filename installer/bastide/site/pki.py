"""The site's own certificate authority and the certificates it issues; pure but for key making.

ECDSA P-256 throughout. Certificates start one day early, because the clocks of isolated machines
differ; every extension that strict verifiers (OpenSSL's X509_STRICT) want is there.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from bastide.schema.site import Site

AUTHORITY_DAYS = 3653
LEAF_DAYS = 397  # the longest that common clients accept
RENEW_DAYS = 30
CLOCK_SLACK = timedelta(days=1)


@dataclass(frozen=True)
class Certified:
    """A certificate and its private key, both PEM."""

    certificate_pem: str
    key_pem: str


def make_authority(site_name: str, now: datetime) -> Certified:
    """Return a new self-signed CA for ``site_name``, valid for ten years from ``now``."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = _name(f"Bastide site CA {site_name}"[:64])
    builder = _builder(name, name, key.public_key(), now, AUTHORITY_DAYS)
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    builder = builder.add_extension(_usage(authority=True), critical=True)
    builder = builder.add_extension(
        x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False
    )
    return _certified(builder.sign(key, hashes.SHA256()), key)


def issue_gateway(authority: Certified, site: Site, now: datetime) -> Certified:
    """Return the gateway's certificate: its DNS name and the addresses of the gateway hosts."""
    return _issue(authority, site.network.gateway_name, gateway_names(site), now)


def issue_depot(authority: Certified, site: Site, now: datetime) -> Certified:
    """Return the depot's certificate: the control node's address."""
    return _issue(authority, "bastide-depot", depot_names(site), now)


def gateway_names(site: Site) -> tuple[str, ...]:
    """Return what clients may call the gateway: DNS name, floating address, hosts' addresses."""
    return (site.network.gateway_name, *(str(each) for each in site.gateway_addresses()))


def depot_names(site: Site) -> tuple[str, ...]:
    """Return what hosts call the depot: the control node's address."""
    return (str(site.network.control_address),)


def why_renew(
    certificate_pem: str, names: tuple[str, ...], authority_pem: str, now: datetime
) -> str:
    """Return why a certificate must be issued anew, or an empty text if it is good.

    Args:
        certificate_pem: The present certificate; may be empty.
        names: DNS names and addresses that it must have, no more and no fewer.
        authority_pem: The CA that must have signed it.
        now: The present time, with its zone.
    """
    try:
        certificate = x509.load_pem_x509_certificate(certificate_pem.encode())
        authority = x509.load_pem_x509_certificate(authority_pem.encode())
        certificate.verify_directly_issued_by(authority)
    except Exception:  # noqa: BLE001 - whatever is wrong with it, a new one cures it
        return "it was not issued by the site's CA"
    present = names_of(certificate_pem)
    if present != set(names):
        return f"it is for {', '.join(sorted(present))}, not for {', '.join(sorted(names))}"
    if now < certificate.not_valid_before_utc:
        return f"it is valid only from {_day(certificate.not_valid_before_utc)}"
    left = certificate.not_valid_after_utc - now
    if left < timedelta(days=RENEW_DAYS):
        return f"it ends on {_day(certificate.not_valid_after_utc)}"
    return ""


def names_of(certificate_pem: str) -> set[str]:
    """Return the DNS names and addresses that a certificate is for."""
    certificate = x509.load_pem_x509_certificate(certificate_pem.encode())
    extension = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    addresses = {str(address) for address in extension.get_values_for_type(x509.IPAddress)}
    return addresses | {*extension.get_values_for_type(x509.DNSName)}


def valid_until(certificate_pem: str) -> datetime:
    """Return when a certificate ends, in UTC."""
    return x509.load_pem_x509_certificate(certificate_pem.encode()).not_valid_after_utc


def _issue(
    authority: Certified, common_name: str, names: tuple[str, ...], now: datetime
) -> Certified:
    issuer = x509.load_pem_x509_certificate(authority.certificate_pem.encode())
    signer = serialization.load_pem_private_key(authority.key_pem.encode(), password=None)
    if not isinstance(signer, ec.EllipticCurvePrivateKey):
        raise TypeError("the site CA's key is not an elliptic-curve key")
    key = ec.generate_private_key(ec.SECP256R1())
    subject = _name(common_name[:64])
    builder = _builder(subject, issuer.subject, key.public_key(), now, LEAF_DAYS)
    identifier = issuer.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    for extension, critical in (
        (x509.SubjectAlternativeName([_general_name(name) for name in names]), False),
        (x509.BasicConstraints(ca=False, path_length=None), True),
        (_usage(authority=False), True),
        (x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), False),
        (x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False),
        (x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier), False),
    ):
        builder = builder.add_extension(extension, critical=critical)
    return _certified(builder.sign(signer, hashes.SHA256()), key)


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePublicKey,
    now: datetime,
    days: int,
) -> x509.CertificateBuilder:
    start = now.astimezone(UTC).replace(microsecond=0)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(start - CLOCK_SLACK)
        .not_valid_after(start + timedelta(days=days))
    )


def _usage(*, authority: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not authority,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=authority,
        crl_sign=authority,
        encipher_only=False,
        decipher_only=False,
    )


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _certified(certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> Certified:
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    public = certificate.public_bytes(serialization.Encoding.PEM)
    return Certified(public.decode(), private.decode())


def _day(moment: datetime) -> str:
    return moment.date().isoformat()
