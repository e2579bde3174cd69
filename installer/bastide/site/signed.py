"""Certificates that somebody else signed: is a chain fit for the gateway, a CA to sign? Pure.

All faults are found at once, each as a sentence for the operator.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from ipaddress import ip_address, ip_network
from typing import TypeVar

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from bastide.errors import ConfigError, Problem
from bastide.site import pki
from bastide.site.codes import CERTIFICATE_REFUSED, CERTIFICATE_UNREADABLE

E = TypeVar("E", bound=x509.ExtensionType)
WEAK = (hashes.MD5, hashes.SHA1)
LEAST_RSA, LEAST_EC = 2048, 256  # bits
LEAST_LEFT = timedelta(days=1)


@dataclass(frozen=True)
class Offered:
    """What was brought.

    Args:
        chain: The certificate, then those of the CAs above it, each the signer of the one before.
        key_pem: Its private key.
        anchors: Certificates that clients trust, or are to trust.
        names: What the gateway is called.
        now: The present time.
    """

    chain: tuple[x509.Certificate, ...]
    key_pem: str
    anchors: tuple[x509.Certificate, ...]
    names: tuple[str, ...]
    now: datetime

    @property
    def root(self) -> x509.Certificate | None:
        """The certificate in which the chain ends: its own last, or an anchor that signed that."""
        last = self.chain[-1]
        if _signed_by(last, last):
            return last
        return next((each for each in self.anchors if _signed_by(last, each)), None)


def read_chain(pem: bytes, where: str) -> tuple[x509.Certificate, ...]:
    """Return the certificates in a PEM file, from the leaf upwards, whatever their order.

    Raises:
        ConfigError: There are none, or they cannot be read.
    """
    try:
        found = x509.load_pem_x509_certificates(pem)
    except ValueError as error:
        raise ConfigError(
            f"{where} holds no certificate in PEM: {error}",
            code=CERTIFICATE_UNREADABLE,
            hint="such a file has lines -----BEGIN CERTIFICATE-----; for DER, convert it with "
            "`openssl x509 -inform der`",
        ) from error
    issuers = {each.issuer for each in found if each.issuer != each.subject}
    leaves = [each for each in found if each.subject not in issuers]
    chain = [leaves[0] if leaves else found[0]]
    while above := [e for e in found if e not in chain and e.subject == chain[-1].issuer]:
        chain.append(above[0])
    return tuple(chain)


def check_leaf(offered: Offered) -> None:
    """See that a chain is fit for the gateway.

    Raises:
        ConfigError: It is not; all that is wrong with it is listed.
    """
    leaf = offered.chain[0]
    problems = [*_key(leaf, offered.key_pem), *_names(leaf, offered.names), *_server(leaf)]
    _refuse("the certificate", [*problems, *_whole_chain(offered)])


def check_authority(offered: Offered) -> None:
    """See that a CA is fit to sign the gateway's certificate.

    Raises:
        ConfigError: It is not; all that is wrong with it is listed.
    """
    problems = [*_key(offered.chain[0], offered.key_pem), *_whole_chain(offered)]
    if not problems:  # else it would only say the same again
        problems += [*_may_sign(offered.chain[0], 0), *_constraints(offered)]
    _refuse("the CA", problems)


def pem_of(certificates: tuple[x509.Certificate, ...]) -> str:
    """Return certificates as PEM, in their order."""
    pems = (each.public_bytes(serialization.Encoding.PEM).decode() for each in certificates)
    return "".join(pems)


def _refuse(what: str, problems: list[str]) -> None:
    if problems:
        raise ConfigError(
            f"{what} was not taken, nothing was changed: {len(problems)} "
            f"{'thing is' if len(problems) == 1 else 'things are'} wrong with it",
            code=CERTIFICATE_REFUSED,
            hint="have it signed again for the request of `bastide certificates csr`",
            problems=tuple(Problem(what, text) for text in problems),
        )


def _key(certificate: x509.Certificate, key_pem: str) -> Iterator[str]:
    try:
        key = pki.load_key(key_pem)
    except (ValueError, TypeError) as error:
        yield f"its private key cannot be used: {error}"
        return
    if key.public_key() != certificate.public_key():
        yield "it belongs to another private key: it was signed for another request"


def _names(leaf: x509.Certificate, names: tuple[str, ...]) -> Iterator[str]:
    present = pki.names_of(pem_of((leaf,)))
    lacking = [name for name in names if name not in present]
    if lacking:
        has = ", ".join(sorted(present)) or "no subject alternative name at all"
        yield f"it is not for {', '.join(lacking)}; it has {has}"


def _server(leaf: x509.Certificate) -> Iterator[str]:
    purposes = _extension(leaf, x509.ExtendedKeyUsage)
    if purposes is None or pki.SERVER not in purposes:
        yield "its extended key usage does not say serverAuth"
    usage = _extension(leaf, x509.KeyUsage)
    if usage is not None and not usage.digital_signature:
        yield "its key usage does not say digitalSignature"
    basic = _extension(leaf, x509.BasicConstraints)
    if basic is not None and basic.ca:
        yield "it is a CA's certificate, not a server's"


def _whole_chain(offered: Offered) -> Iterator[str]:
    for number, certificate in enumerate(offered.chain):
        name = _called(certificate) if number else "it"
        yield from _sound(certificate, name, offered.now)
        if number:
            yield from _may_sign(certificate, number - 1)
            if not _signed_by(offered.chain[number - 1], certificate):
                yield f"{name} did not sign the certificate before it"
    if offered.root is None:
        issuer = offered.chain[-1].issuer.rfc4514_string()
        yield (
            f"its chain ends with what {issuer} signed, whose own certificate is not there: add "
            "it to the file, or give --anchor"
        )


def _sound(certificate: x509.Certificate, name: str, now: datetime) -> Iterator[str]:
    if now < certificate.not_valid_before_utc:
        yield f"{name} is valid only from {pki.day(certificate.not_valid_before_utc)}"
    if certificate.not_valid_after_utc - now < LEAST_LEFT:
        yield f"{name} ended or ends on {pki.day(certificate.not_valid_after_utc)}"
    own = _signed_by(certificate, certificate)
    if isinstance(certificate.signature_hash_algorithm, WEAK) and not own:
        yield f"{name} is signed with {certificate.signature_hash_algorithm.name}: too weak"
    key = certificate.public_key()
    least = {rsa.RSAPublicKey: LEAST_RSA, ec.EllipticCurvePublicKey: LEAST_EC}
    fitting = [bits for kind, bits in least.items() if isinstance(key, kind)]
    if not fitting:
        yield f"{name} has a key that is neither RSA nor on an elliptic curve"
    elif getattr(key, "key_size", 0) < fitting[0]:
        yield f"{name} has a key of {getattr(key, 'key_size', 0)} bits; {fitting[0]} are needed"


def _may_sign(certificate: x509.Certificate, below: int) -> Iterator[str]:
    """Yield why a CA may not sign, with ``below`` CAs between it and the leaf."""
    name = _called(certificate)
    basic = _extension(certificate, x509.BasicConstraints)
    if basic is None or not basic.ca:
        yield f"{name} is not a CA's certificate"
    elif basic.path_length is not None and basic.path_length < below:
        yield f"{name} allows {basic.path_length} CAs below it, and there are {below}"
    usage = _extension(certificate, x509.KeyUsage)
    if usage is not None and not usage.key_cert_sign:
        yield f"{name} may not sign certificates: its key usage lacks keyCertSign"
    if _extension(certificate, x509.SubjectKeyIdentifier) is None:
        yield f"{name} has no subject key identifier"


def _constraints(offered: Offered) -> Iterator[str]:
    for certificate in offered.chain:
        limits = _extension(certificate, x509.NameConstraints)
        for name in offered.names if limits is not None else ():
            if limits is not None and not _permitted(limits, name):
                yield f"{_called(certificate)} may not sign for {name}, by its name constraints"


def _permitted(limits: x509.NameConstraints, name: str) -> bool:
    allowed = [each for each in limits.permitted_subtrees or () if _of_kind(each, name)]
    denied = [each for each in limits.excluded_subtrees or () if _of_kind(each, name)]
    return (not allowed or any(_within(each, name) for each in allowed)) and not any(
        _within(each, name) for each in denied
    )


def _is_address(name: str) -> bool:
    try:
        ip_address(name)
    except ValueError:
        return False
    return True


def _of_kind(tree: x509.GeneralName, name: str) -> bool:
    return isinstance(tree, x509.IPAddress if _is_address(name) else x509.DNSName)


def _within(tree: x509.GeneralName, name: str) -> bool:
    if isinstance(tree, x509.IPAddress):
        return ip_address(name) in ip_network(str(tree.value))
    suffix = str(tree.value).lstrip(".")
    return name == suffix or name.endswith(f".{suffix}")


def _extension(certificate: x509.Certificate, kind: type[E]) -> E | None:
    try:
        return certificate.extensions.get_extension_for_class(kind).value
    except x509.ExtensionNotFound:
        return None


def _signed_by(certificate: x509.Certificate, issuer: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(issuer)
    except Exception:  # noqa: BLE001 - whatever the reason, it did not
        return False
    return True


def _called(certificate: x509.Certificate) -> str:
    return f"the CA {certificate.subject.rfc4514_string()}"
