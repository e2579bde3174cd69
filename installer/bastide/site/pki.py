"""The site's own certificate authorities and the certificates they issue; pure but for key making.

ECDSA P-256 throughout. What people see starts one day early, because the clocks of isolated
machines differ, and ends. What only the site's machines show each other has no end: a clock that
is wrong must not part them, so its age is kept beside it. Every extension that strict verifiers
(OpenSSL's X509_STRICT) want is there.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from bastide.schema.site import Site

AUTHORITY_DAYS = 3653
LEAF_DAYS = 397  # the longest that common clients accept
RENEW_DAYS = 30
CLOCK_SLACK = timedelta(days=1)
ALWAYS = (datetime(1970, 1, 1, tzinfo=UTC), datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC))
SERVER, CLIENT = ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH
FOREIGN = "it was not issued by the site's CA"
MACHINES_DOMAIN = "machines.bastide"  # no name service knows it: it stands in certificates only

SigningKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey


@dataclass(frozen=True)
class Certified:
    """A certificate and its private key, both PEM; certificates of CAs above may follow the first.

    Args:
        certificate_pem: The certificate.
        key_pem: Its key.
    """

    certificate_pem: str
    key_pem: str


@dataclass(frozen=True)
class Wish:
    """What a certificate should say.

    Args:
        common_name: Its subject.
        names: DNS names and addresses that it is for.
        since: From when it is valid.
        until: When it ends; the issuer's end, if that is earlier.
        purposes: What its key may be used for.
    """

    common_name: str
    names: tuple[str, ...]
    since: datetime
    until: datetime
    purposes: tuple[x509.ObjectIdentifier, ...] = (SERVER,)


def make_authority(site_name: str, now: datetime) -> Certified:
    """Return a new self-signed CA for ``site_name``, valid for ten years from ``now``."""
    start = now.astimezone(UTC).replace(microsecond=0)
    until = start + timedelta(days=AUTHORITY_DAYS)
    return _make_root(f"Bastide site CA {site_name}", start - CLOCK_SLACK, until)


def make_machines_authority(site_name: str) -> Certified:
    """Return a new CA that says which machines belong to ``site_name``; it has no end."""
    return _make_root(f"Bastide machines CA {site_name}", *ALWAYS)


def issue_gateway(authority: Certified, site: Site, now: datetime) -> Certified:
    """Return the gateway's certificate: its DNS name and the addresses of the gateway hosts."""
    return issue(authority, _usual(site.network.gateway_name, gateway_names(site), now))


def issue_depot(authority: Certified, site: Site, now: datetime) -> Certified:
    """Return the depot's certificate: the control node's address."""
    return issue(authority, _usual("bastide-depot", depot_names(site), now))


def issue_service(authority: Certified, host: str, address: str) -> Certified:
    """Return the certificate of a host's services: the host's name among machines, its address."""
    names = (machine_name(host), address)
    return issue(authority, Wish(f"bastide services of {host}", names, *ALWAYS))


def issue_client(authority: Certified, name: str) -> Certified:
    """Return a certificate with which a machine asks services, and can do nothing else."""
    return issue(authority, Wish(f"bastide {name}", (), *ALWAYS, (CLIENT,)))


def issue_peer(authority: Certified, host: str, address: str) -> Certified:
    """Return the certificate with which a host gives and takes artifacts during one run."""
    return issue(authority, Wish(f"bastide peer {host}", (address,), *ALWAYS, (SERVER, CLIENT)))


def gateway_names(site: Site) -> tuple[str, ...]:
    """Return what clients may call the gateway: DNS name, floating address, hosts' addresses."""
    return (site.network.gateway_name, *(str(each) for each in site.gateway_addresses()))


def depot_names(site: Site) -> tuple[str, ...]:
    """Return what hosts call the depot: the control node's address."""
    return (str(site.network.control_address),)


def machine_name(host: str) -> str:
    """Return the name of a host in its services' certificate, which the gateway looks for."""
    return f"{host}.{MACHINES_DOMAIN}"


def request_text(site: Site, key_pem: str) -> str:
    """Return a certificate signing request for the gateway, PEM."""
    key = load_key(key_pem)
    names = [_general_name(name) for name in gateway_names(site)]
    builder = x509.CertificateSigningRequestBuilder().subject_name(_name(site.network.gateway_name))
    builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    builder = builder.add_extension(_usage(authority=False), critical=True)
    builder = builder.add_extension(x509.ExtendedKeyUsage([SERVER]), critical=False)
    return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM).decode()


def make_key() -> str:
    """Return a new private key, PEM."""
    return _key_pem(ec.generate_private_key(ec.SECP256R1()))


def load_key(key_pem: str) -> SigningKey:
    """Return a private key.

    Raises:
        TypeError: It is neither an elliptic-curve nor an RSA key.
        ValueError: It is no key, or encrypted.
    """
    key = serialization.load_pem_private_key(key_pem.encode(), password=None)
    if not isinstance(key, ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey):
        raise TypeError("it is neither an elliptic-curve nor an RSA key")
    return key


def certificate_of(pem: str) -> x509.Certificate:
    """Return the first certificate in ``pem``."""
    return x509.load_pem_x509_certificate(pem.encode())


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
    why = why_reissue(certificate_pem, names, authority_pem)
    if why:
        return why
    certificate = certificate_of(certificate_pem)
    if now < certificate.not_valid_before_utc:
        return f"it is valid only from {day(certificate.not_valid_before_utc)}"
    left = certificate.not_valid_after_utc - now
    if left < timedelta(days=RENEW_DAYS):
        return f"it ends on {day(certificate.not_valid_after_utc)}"
    return ""


def why_reissue(certificate_pem: str, names: tuple[str, ...], authority_pem: str) -> str:
    """Return why a certificate must be issued anew whatever the time is; empty if it need not."""
    try:
        certificate_of(certificate_pem).verify_directly_issued_by(certificate_of(authority_pem))
    except Exception:  # noqa: BLE001 - whatever is wrong with it, a new one cures it
        return FOREIGN
    present = names_of(certificate_pem)
    if present != set(names):
        return f"it is for {', '.join(sorted(present))}, not for {', '.join(sorted(names))}"
    return ""


def names_of(certificate_pem: str) -> set[str]:
    """Return the DNS names and addresses that a certificate is for."""
    try:
        extension = certificate_of(certificate_pem).extensions.get_extension_for_class(
            x509.SubjectAlternativeName
        )
    except x509.ExtensionNotFound:
        return set()
    addresses = {str(address) for address in extension.value.get_values_for_type(x509.IPAddress)}
    return addresses | {*extension.value.get_values_for_type(x509.DNSName)}


def valid_until(certificate_pem: str) -> datetime:
    """Return when a certificate ends, in UTC."""
    return certificate_of(certificate_pem).not_valid_after_utc


def fingerprint_of(certificate_pem: str) -> str:
    """Return the SHA-256 of the first certificate in ``certificate_pem``, in hex."""
    return certificate_of(certificate_pem).fingerprint(hashes.SHA256()).hex()


def day(moment: datetime) -> str:
    """Return a moment's date, as people write it."""
    return moment.date().isoformat()


def issue(authority: Certified, wish: Wish) -> Certified:
    """Return a new certificate with a new key.

    Args:
        authority: The CA that signs it. Those of its certificates that are not self-signed follow
            the new one, for clients that know only the root.
        wish: What it should say.
    """
    issuer, signer = certificate_of(authority.certificate_pem), load_key(authority.key_pem)
    key = ec.generate_private_key(ec.SECP256R1())
    end = min(wish.until, issuer.not_valid_after_utc)
    builder = _builder(_name(wish.common_name), issuer.subject, key.public_key(), wish.since, end)
    identifier = issuer.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    extensions: list[tuple[x509.ExtensionType, bool]] = [
        (x509.BasicConstraints(ca=False, path_length=None), True),
        (_usage(authority=False), True),
        (x509.ExtendedKeyUsage(wish.purposes), False),
        (x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False),
        (x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier), False),
    ]
    if wish.names:
        names = x509.SubjectAlternativeName([_general_name(name) for name in wish.names])
        extensions.insert(0, (names, False))
    for extension, critical in extensions:
        builder = builder.add_extension(extension, critical=critical)
    made = _certified(builder.sign(signer, _hash_for(signer)), key)
    return Certified(made.certificate_pem + _intermediates(authority), made.key_pem)


def _intermediates(authority: Certified) -> str:
    chain = x509.load_pem_x509_certificates(authority.certificate_pem.encode())
    return "".join(
        each.public_bytes(serialization.Encoding.PEM).decode()
        for each in chain
        if each.subject != each.issuer
    )


def _usual(common_name: str, names: tuple[str, ...], now: datetime) -> Wish:
    start = now.astimezone(UTC).replace(microsecond=0)
    return Wish(common_name, names, start - CLOCK_SLACK, start + timedelta(days=LEAF_DAYS))


def _hash_for(key: SigningKey) -> hashes.SHA256 | hashes.SHA384:
    large = isinstance(key, ec.EllipticCurvePrivateKey) and key.key_size > 256
    return hashes.SHA384() if large else hashes.SHA256()


def _make_root(common_name: str, since: datetime, until: datetime) -> Certified:
    key = ec.generate_private_key(ec.SECP256R1())
    name = _name(common_name)
    builder = _builder(name, name, key.public_key(), since, until)
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    builder = builder.add_extension(_usage(authority=True), critical=True)
    identifier = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    builder = builder.add_extension(identifier, critical=False)
    return _certified(builder.sign(key, hashes.SHA256()), key)


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePublicKey,
    since: datetime,
    until: datetime,
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(since)
        .not_valid_after(until)
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
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name[:64])])


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _certified(certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> Certified:
    public = certificate.public_bytes(serialization.Encoding.PEM)
    return Certified(public.decode(), _key_pem(key))


def _key_pem(key: ec.EllipticCurvePrivateKey) -> str:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    ).decode()
