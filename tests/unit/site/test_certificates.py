"""Which certificates are due, who gets them, and what is wrong with those from outside."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from ipaddress import ip_network
from typing import Any

import plan_factories as make
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from hypothesis import given
from hypothesis import strategies as st

from bastide.errors import ConfigError
from bastide.schema.site import Group, Site
from bastide.site import delivery, listing, pki, renewal, signed, takeover
from bastide.site.keyring import Asked, Keyring
from bastide.site.material import Secrets
from bastide.site.secrets import make_secrets

NOW = datetime(2026, 11, 26, 12, tzinfo=UTC)
DAY = timedelta(days=1)


def spread(*, mutual_tls: bool = True) -> Site:
    site = make.make_site(
        {
            "svc1": (Group.LLM, Group.EMBEDDINGS),
            "svc2": (Group.LLM, Group.VECTORDB),
            "gate": (Group.GATEWAY,),
        }
    )
    return site.replace(certificates=site.certificates.replace(mutual_tls=mutual_tls))


def fresh(site: Site, now: datetime = NOW) -> Secrets:
    secrets = make_secrets(site, now, ("a" * 43, "b" * 43))
    return renewal.made_anew(secrets, site, renewal.due(secrets, site, now), now)


def names(dues: tuple[renewal.Due, ...]) -> dict[str, str]:
    return {each.name: each.action for each in dues}


MACHINES = {
    "service-svc1", "service-svc2", "agent-svc1", "agent-svc2", "gateway-client",
}  # fmt: skip


# --- which are due -------------------------------------------------------------------------------
def test_machines_get_certificates_where_services_listen_beyond_loopback() -> None:
    site = spread()
    secrets = make_secrets(site, NOW, ("a" * 43, "b" * 43))
    assert names(renewal.due(secrets, site, NOW)) == dict.fromkeys(MACHINES, "issue")
    assert renewal.due(fresh(site), site, NOW) == ()


@pytest.mark.parametrize("site", [make.make_site(), spread(mutual_tls=False)])
def test_no_machine_has_one_without_mutual_tls_or_on_loopback(site: Site) -> None:
    secrets = make_secrets(site, NOW, ("a" * 43, "b" * 43))
    assert renewal.due(secrets, site, NOW) == ()
    assert all(set(files) == {"certificates_prom"} for files in
               delivery.host_files(secrets, site).values())  # fmt: skip


def test_a_key_goes_to_no_other_host() -> None:
    site = spread()
    secrets = fresh(site)
    files = delivery.host_files(secrets, site)
    for name, leaf in secrets.keyring.machines.items():
        holders = {host for host, own in files.items() if leaf.key_pem in "".join(own.values())}
        assert holders == ({"gate"} if name == "gateway-client" else {name.partition("-")[2]})
    ca = secrets.keyring.machines_ca
    assert ca is not None
    assert ca.key_pem not in str(files) + str(delivery.shared_files(secrets))
    assert secrets.ca_key_pem not in str(files) + str(delivery.shared_files(secrets))


@given(st.integers(-4000, 6000))
def test_what_machines_show_each_other_is_valid_on_every_day(days: int) -> None:
    keyring = _SECRETS.keyring
    assert keyring.machines_ca is not None
    moment = NOW + days * DAY
    for pem in (keyring.machines_ca.certificate_pem,
                *(leaf.certificate_pem for leaf in keyring.machines.values())):  # fmt: skip
        certificate = pki.certificate_of(pem)
        assert certificate.not_valid_before_utc <= moment < certificate.not_valid_after_utc


_SECRETS = fresh(spread())


@given(st.integers(0, 3600))
def test_after_an_apply_nothing_is_due_for_a_year_less_a_month(days: int) -> None:
    site, now = _SITE, NOW + days * DAY
    dues = renewal.due(_SECRETS, site, now)
    wanted = days > pki.LEAF_DAYS - pki.RENEW_DAYS
    assert {e.name for e in dues if e.action != "warn"} == (
        {"gateway", "depot", *MACHINES} if wanted else set()
    )
    again = renewal.made_anew(_SECRETS, site, dues, now)
    assert [e for e in renewal.due(again, site, now) if e.action != "warn"] == []


_SITE = spread()


@pytest.mark.parametrize("year", [1970, 2000, 2037, 2040, 2100])
def test_a_clock_that_is_certainly_wrong_renews_nothing_by_date(year: int) -> None:
    now = datetime(year, 3, 1, tzinfo=UTC)
    dues = renewal.due(_SECRETS, _SITE, now)
    assert names(dues) == {"site-ca": "warn"}
    assert str(year) in dues[0].why
    assert renewal.made_anew(_SECRETS, _SITE, dues, now) == _SECRETS


@pytest.mark.parametrize("year", [1970, 2040])
def test_a_renewal_with_the_true_time_given_works_whatever_the_clock_says(year: int) -> None:
    now, true = datetime(year, 3, 1, tzinfo=UTC), NOW + 400 * DAY
    secrets = takeover.with_asked(_SECRETS, _SITE, "gateway", "the clock is dead", true)
    dues = renewal.due(secrets, _SITE, now)
    assert names(dues) == {"site-ca": "warn", "gateway": "renew"}
    assert "the clock is dead" in dues[1].why
    after = renewal.made_anew(secrets, _SITE, dues, now)
    certificate = pki.certificate_of(after.gateway_certificate_pem)
    assert certificate.not_valid_before_utc == true - DAY
    assert after.keyring.asked == {}
    assert names(renewal.due(after, _SITE, true)) == {
        "depot": "renew", **dict.fromkeys(MACHINES, "renew"),
    }  # fmt: skip


def test_a_new_name_is_issued_even_with_a_wrong_clock_and_is_valid_after_it_is_right() -> None:
    site = _SITE.replace(network=_SITE.network.replace(gateway_name="ai.plant"))
    now = datetime(1970, 1, 1, tzinfo=UTC)
    after = renewal.made_anew(_SECRETS, site, renewal.due(_SECRETS, site, now), now)
    certificate = pki.certificate_of(after.gateway_certificate_pem)
    assert "ai.plant" in pki.names_of(after.gateway_certificate_pem)
    assert certificate.not_valid_before_utc <= NOW < certificate.not_valid_after_utc


def test_a_host_that_moves_gets_another_certificate_and_no_one_else() -> None:
    hosts = {**_SITE.hosts, "svc2": _SITE.hosts["svc2"].replace(address="10.9.9.9")}
    assert names(renewal.due(_SECRETS, _SITE.replace(hosts=hosts), NOW)) == {
        "service-svc2": "renew"
    }


def test_the_plan_tells_what_is_made_anew_and_no_fingerprint_of_it() -> None:
    later = NOW + 370 * DAY
    dues = renewal.due(_SECRETS, _SITE, later)
    after = renewal.made_anew(_SECRETS, _SITE, dues, later)
    told = delivery.fingerprints(after, _SITE, "salt", _SECRETS)
    assert told.of("gate")["gateway_pem"] == told.of("svc1")["service_pem"] == ""
    assert told.of("gate")["ca_pem"] != ""
    changes = {each.name: each for each in renewal.changes(dues, later)}
    assert changes["gateway"].ends == "2027-12-28T12:00:00+00:00"
    assert changes["gateway"].ends_after > changes["gateway"].ends


def test_metrics_say_when_certificates_end() -> None:
    text = delivery.host_files(_SECRETS, _SITE)["svc1"]["certificates_prom"]
    end = int((NOW + 397 * DAY).timestamp())
    assert f'{{certificate="service-svc1",renewal="plan"}} {end}\n' in text


def test_the_list_says_who_uses_what_and_whether_it_is_live() -> None:
    held = delivery.fingerprints(_SECRETS, _SITE, "salt").of("gate")
    path = "/etc/bastide/secrets/gateway.pem"
    for fingerprint, live in ((held["gateway_pem"], True), ("other", False)):
        found = listing.shown(_SECRETS, _SITE, NOW, "salt", {"gate": {path: fingerprint}})
        gateway = next(each for each in found if each.name == "gateway")
        assert [(use.host, use.live) for use in gateway.used] == [("gate", live)]
        assert (gateway.days_left, gateway.state) == (397, "good")
    assert {each.name for each in found} == {
        "site-ca", "gateway", "depot", "machines-ca", *MACHINES,
    }  # fmt: skip
    assert "PRIVATE" not in str(found)


# --- signed elsewhere ----------------------------------------------------------------------------
Key = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey


def certify(
    subject: str,
    key: Any,
    issuer: str,
    signer: Key,
    *,
    days: tuple[int, int] = (-1, 300),
    digest: Any = hashes.SHA256,
    extensions: tuple[tuple[x509.ExtensionType, bool], ...] = (),
) -> x509.Certificate:
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name.from_rfc4514_string(f"CN={subject}"))
        .issuer_name(x509.Name.from_rfc4514_string(f"CN={issuer}"))
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(NOW + days[0] * DAY)
        .not_valid_after(NOW + days[1] * DAY)
    )
    builder = builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(key), False)
    for extension, critical in extensions:
        builder = builder.add_extension(extension, critical)
    return builder.sign(signer, digest())


def as_ca(length: int | None = None) -> tuple[tuple[x509.ExtensionType, bool], ...]:
    return (
        (x509.BasicConstraints(ca=True, path_length=length), True),
        (pki._usage(authority=True), True),
    )


ROOT_KEY, SUB_KEY = ec.generate_private_key(ec.SECP384R1()), ec.generate_private_key(ec.SECP256R1())
ROOT = certify(
    "Root", ROOT_KEY.public_key(), "Root", ROOT_KEY, days=(-100, 4000), extensions=as_ca()
)
SUB = certify("Sub", SUB_KEY.public_key(), "Root", ROOT_KEY, days=(-50, 2000), extensions=as_ca(0))
REQUESTED = takeover.with_request(_SECRETS)


def request() -> x509.CertificateSigningRequest:
    text = pki.request_text(_SITE, REQUESTED.keyring.requested_key_pem)
    return x509.load_pem_x509_csr(text.encode())


def leaf(**changes: Any) -> x509.Certificate:
    asked = request()
    wished: dict[str, Any] = {
        "key": asked.public_key(),
        "signer": SUB_KEY,
        "issuer": "Sub",
        "names": tuple(asked.extensions.get_extension_for_class(x509.SubjectAlternativeName).value),
        "purposes": [pki.SERVER],
        "ca": False,
        "days": (-1, 300),
        "digest": hashes.SHA256,
        **changes,
    }
    extensions = (
        (x509.SubjectAlternativeName(wished["names"]), False),
        (x509.ExtendedKeyUsage(wished["purposes"]), False),
        (x509.BasicConstraints(ca=wished["ca"], path_length=None), True),
    )
    return certify("g", wished["key"], wished["issuer"], wished["signer"], days=wished["days"],
                   digest=wished["digest"], extensions=extensions)  # fmt: skip


def pem(*certificates: x509.Certificate) -> bytes:
    return signed.pem_of(certificates).encode()


def test_a_request_says_what_the_gateway_is_called_and_is_the_same_until_it_is_answered() -> None:
    asked = request()
    assert asked.is_signature_valid
    found = asked.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert {str(each.value) for each in found} == set(pki.gateway_names(_SITE))
    assert takeover.with_request(REQUESTED) == REQUESTED
    assert takeover.with_request(takeover.without_request(REQUESTED)) != REQUESTED


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 0, 2), (0, 1)])
def test_a_signed_chain_is_taken_in_any_order(order: tuple[int, ...]) -> None:
    parts = [leaf(), SUB, ROOT]
    anchor = b"" if 2 in order else pem(ROOT)
    after = takeover.with_signed(REQUESTED, _SITE, pem(*(parts[n] for n in order)), anchor, NOW)
    assert after.gateway_certificate_pem.encode() == pem(parts[0], SUB)
    assert after.keyring.anchors_pem.encode() == pem(ROOT)
    assert after.anchors_pem == _SECRETS.ca_certificate_pem + pem(ROOT).decode()
    assert after.gateway_key_pem == REQUESTED.keyring.requested_key_pem
    assert renewal.due(after, _SITE, NOW) == ()
    assert names(renewal.due(after, _SITE, NOW + 280 * DAY)) == {"gateway": "warn"}
    with pytest.raises(ConfigError) as caught:
        takeover.with_asked(after, _SITE, "gateway", "why", None)
    assert caught.value.code == "BAS-2124"
    back = takeover.with_site_ca(after)
    assert names(renewal.due(back, _SITE, NOW)) == {"gateway": "renew"}


def _other_key(**_: object) -> x509.Certificate:
    return leaf(key=ec.generate_private_key(ec.SECP256R1()).public_key())


BAD: dict[str, tuple[Callable[[], tuple[x509.Certificate, ...]], str]] = {
    "another key": (lambda: (_other_key(), SUB, ROOT), "another private key"),
    "no names": (lambda: (leaf(names=(x509.DNSName("other"),)), SUB, ROOT), "it is not for"),
    "client only": (lambda: (leaf(purposes=[pki.CLIENT]), SUB, ROOT), "serverAuth"),
    "a CA": (lambda: (leaf(ca=True), SUB, ROOT), "a CA's certificate, not a server's"),
    "ended": (lambda: (leaf(days=(-300, -1)), SUB, ROOT), "ended or ends on"),
    "not yet": (lambda: (leaf(days=(3, 300)), SUB, ROOT), "valid only from"),
    "no CA above": (lambda: (leaf(),), "whose own certificate is not there"),
    "another signer": (
        lambda: (leaf(signer=ROOT_KEY), SUB, ROOT),
        "did not sign the certificate before it",
    ),
    "two CAs too deep": (
        lambda: (
            leaf(issuer="Low", signer=SUB_KEY),
            certify("Low", SUB_KEY.public_key(), "Sub", SUB_KEY, extensions=as_ca()),
            SUB,
            ROOT,
        ),
        "allows 0 CAs below it, and there are 1",
    ),
    "no CA at all": (
        lambda: (leaf(), certify("Sub", SUB_KEY.public_key(), "Root", ROOT_KEY), ROOT),
        "is not a CA's certificate",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_what_is_wrong_with_a_signed_certificate_is_said_and_nothing_changes(case: str) -> None:
    chain, words = BAD[case]
    with pytest.raises(ConfigError) as caught:
        takeover.with_signed(REQUESTED, _SITE, pem(*chain()), b"", NOW)
    assert caught.value.code == "BAS-2120"
    said = [problem.what for problem in caught.value.problems]
    assert any(words in each for each in said), said


def test_everything_that_is_wrong_is_said_at_once() -> None:
    bad = leaf(names=(x509.DNSName("other"),), purposes=[pki.CLIENT], days=(-9, -3))
    with pytest.raises(ConfigError) as caught:
        takeover.with_signed(REQUESTED, _SITE, pem(bad), b"", NOW)
    assert len(caught.value.problems) == 4


def test_a_small_rsa_key_of_a_ca_is_refused() -> None:
    small = rsa.generate_private_key(65537, 1024)  # noqa: S505 - what is refused
    ca = certify("Sub", small.public_key(), "Root", ROOT_KEY, extensions=as_ca())
    chain = (leaf(signer=small), ca, ROOT)
    with pytest.raises(ConfigError) as caught:
        takeover.with_signed(REQUESTED, _SITE, pem(*chain), b"", NOW)
    assert "1024 bits; 2048 are needed" in str([each.what for each in caught.value.problems])


def test_without_a_request_nothing_is_taken() -> None:
    with pytest.raises(ConfigError) as caught:
        takeover.with_signed(_SECRETS, _SITE, pem(leaf(), SUB, ROOT), b"", NOW)
    assert caught.value.code == "BAS-2122"


@pytest.mark.parametrize("text", [b"", b"no pem", b"-----BEGIN CERTIFICATE-----\nxx\n"])
def test_what_is_no_certificate_is_said(text: bytes) -> None:
    with pytest.raises(ConfigError) as caught:
        takeover.with_signed(REQUESTED, _SITE, text, b"", NOW)
    assert caught.value.code == "BAS-2121"


# --- a CA of the organisation --------------------------------------------------------------------
def key_text(key: Key) -> bytes:
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8,
                             serialization.NoEncryption())  # fmt: skip


@pytest.mark.parametrize("kind", ["p256", "p384", "rsa"])
def test_a_ca_of_the_organisation_signs_the_gateway_and_nothing_else(kind: str) -> None:
    makers: dict[str, Callable[[], Key]] = {
        "p256": lambda: SUB_KEY,
        "p384": lambda: ec.generate_private_key(ec.SECP384R1()),
        "rsa": lambda: rsa.generate_private_key(65537, 2048),
    }
    key = makers[kind]()
    ca = certify("Sub", key.public_key(), "Root", ROOT_KEY, days=(-5, 100), extensions=as_ca(0))
    after = takeover.with_authority(_SECRETS, _SITE, pem(ca, ROOT), key_text(key), b"", NOW)
    dues = renewal.due(after, _SITE, NOW)
    assert names(dues) == {"gateway": "renew", "authority": "warn"}
    made = renewal.made_anew(after, _SITE, dues, NOW)
    assert made.gateway_certificate_pem.endswith(pem(ca).decode()), "clients know only the root"
    certificate = pki.certificate_of(made.gateway_certificate_pem)
    certificate.verify_directly_issued_by(ca)
    assert certificate.not_valid_after_utc == ca.not_valid_after_utc, "no longer than its signer"
    assert made.keyring.machines == _SECRETS.keyring.machines
    assert made.depot_certificate_pem == _SECRETS.depot_certificate_pem
    assert names(renewal.due(made, _SITE, NOW)) == {"authority": "warn"}


@pytest.mark.parametrize(
    ("extra", "words"),
    [
        (x509.NameConstraints([x509.DNSName("other.example")], None), "bastide.internal"),
        (x509.NameConstraints(None, [x509.IPAddress(ip_network("10.0.0.0/8"))]), "10.0.0."),
    ],
)
def test_a_ca_that_may_not_sign_for_the_gateways_names_is_refused(
    extra: x509.NameConstraints, words: str
) -> None:
    extensions = (*as_ca(0), (extra, True))
    ca = certify("Sub", SUB_KEY.public_key(), "Root", ROOT_KEY, extensions=extensions)
    with pytest.raises(ConfigError) as caught:
        takeover.with_authority(_SECRETS, _SITE, pem(ca, ROOT), key_text(SUB_KEY), b"", NOW)
    assert words in str([each.what for each in caught.value.problems])


def test_a_ca_with_another_key_or_that_is_none_is_refused() -> None:
    for chain, key in (((SUB, ROOT), ROOT_KEY), ((leaf(), SUB, ROOT), SUB_KEY)):
        with pytest.raises(ConfigError) as caught:
            takeover.with_authority(_SECRETS, _SITE, pem(*chain), key_text(key), b"", NOW)
        assert caught.value.code == "BAS-2120"


def test_a_renewal_needs_a_reason_and_a_known_name() -> None:
    for name, reason, code in (("gateway", " ", "BAS-2125"), ("nobody", "why", "BAS-2123")):
        with pytest.raises(ConfigError) as caught:
            takeover.with_asked(_SECRETS, _SITE, name, reason, None)
        assert caught.value.code == code


def test_the_keyring_shows_no_key() -> None:
    shown = repr(REQUESTED.keyring)
    assert "PRIVATE" not in shown
    assert Keyring.model_validate(REQUESTED.keyring.model_dump(mode="json")) == REQUESTED.keyring
    assert replace(REQUESTED, keyring=Keyring(asked={"x": Asked(why="y")})) != REQUESTED
