"""A new machines CA: three plans, between which every machine understands its neighbours."""

from __future__ import annotations

import ssl
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path

import plan_factories as make
import pytest

from bastide.errors import ConfigError
from bastide.plan.tls import users_of
from bastide.schema.site import Group, Site
from bastide.site import delivery, listing, pki, renewal, rolling
from bastide.site.keyring import Keyring
from bastide.site.material import Secrets
from bastide.site.secrets import make_secrets

NOW = datetime(2026, 11, 26, 12, tzinfo=UTC)
SERVED = (Group.LLM, Group.EMBEDDINGS, Group.VECTORDB)
LEAVES = {"service-svc", "agent-svc", "gateway-client"}


def spread(*, mutual_tls: bool = True) -> Site:
    site = make.make_site({"svc": SERVED, "gate": (Group.GATEWAY,)})
    return site.replace(certificates=site.certificates.replace(mutual_tls=mutual_tls))


def fresh(site: Site) -> Secrets:
    return planned(make_secrets(site, NOW, ("a" * 43, "b" * 43)), site)


def planned(secrets: Secrets, site: Site) -> Secrets:
    """Return what an apply brings to the hosts."""
    return renewal.made_anew(secrets, site, renewal.due(secrets, site, NOW), NOW)


def asked(secrets: Secrets, site: Site) -> Secrets:
    return replace(secrets, keyring=rolling.begun(secrets.keyring, site, "a key was stolen", NOW))


def done(secrets: Secrets) -> Secrets:
    """Return the vault after an apply that ended well."""
    return replace(secrets, keyring=rolling.reached(secrets.keyring, secrets.keyring))


def whole_roll(site: Site) -> list[Secrets]:
    """Return what hosts have before a roll and after each of its steps."""
    states = [fresh(site)]
    vault = asked(states[0], site)
    for _ in range(3):
        applied = planned(vault, site)
        states.append(applied)
        vault = done(applied)
    assert vault.keyring.roll is None
    assert renewal.due(vault, site, NOW) == ()
    return states


def shakes_hands(folder: Path, server: dict[str, str], client: dict[str, str]) -> bool:
    """Return whether a gateway with ``client``'s files and a service with ``server``'s connect."""
    for name, text in {
        "server.pem": server["service_pem"],
        "server-ca.pem": server["machines_ca_pem"],
        "client.pem": client["gateway_client_pem"],
        "client-ca.pem": client["machines_ca_pem"],
    }.items():
        (folder / name).write_text(text)
    serving = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    serving.load_cert_chain(folder / "server.pem")
    serving.load_verify_locations(folder / "server-ca.pem")
    serving.verify_mode = ssl.CERT_REQUIRED
    asking = ssl.create_default_context(cafile=str(folder / "client-ca.pem"))
    asking.load_cert_chain(folder / "client.pem")
    up, down = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = [
        asking.wrap_bio(down, up, server_hostname="svc.machines.bastide"),
        serving.wrap_bio(up, down, server_side=True),
    ]
    for _ in range(5):
        for end in ends:
            try:
                end.do_handshake()
            except ssl.SSLWantReadError:
                continue
            except ssl.SSLCertVerificationError:
                return False
    return True


def test_neighbouring_steps_understand_each_other_and_the_old_key_is_out_at_the_end(
    tmp_path: Path,
) -> None:
    site = spread()
    states = [delivery.host_files(each, site) for each in whole_roll(site)]
    for before, after in pairwise(states):
        assert shakes_hands(tmp_path, before["svc"], after["gate"])
        assert shakes_hands(tmp_path, after["svc"], before["gate"])
        assert shakes_hands(tmp_path, after["svc"], after["gate"])
    stolen = {**states[-1]["gate"], "gateway_client_pem": states[0]["gate"]["gateway_client_pem"]}
    assert not shakes_hands(tmp_path, states[-1]["svc"], stolen)
    assert shakes_hands(tmp_path, states[-2]["svc"], {**stolen, **_trust(states[-2])})


def _trust(state: dict[str, dict[str, str]]) -> dict[str, str]:
    return {"machines_ca_pem": state["gate"]["machines_ca_pem"]}


def test_each_plan_says_its_step_and_the_second_renews_all_that_machines_show() -> None:
    site = spread()
    vault = asked(fresh(site), site)
    told = []
    for _ in range(3):
        dues = renewal.due(vault, site, NOW)
        told.append({each.name for each in dues})
        (step,) = (each for each in dues if each.name == renewal.MACHINES_CA)
        assert step.why.endswith("asked for: a key was stolen")
        assert f"step {len(told)} of 3" in step.why
        (change,) = renewal.changes((step,), NOW)
        assert (change.ends, change.ends_after) == ("", "")
        vault = done(planned(vault, site))
    assert told == [{renewal.MACHINES_CA}, {renewal.MACHINES_CA, *LEAVES}, {renewal.MACHINES_CA}]


def test_a_step_that_not_every_host_has_is_planned_again() -> None:
    site = spread()
    vault = asked(fresh(site), site)
    failed = planned(vault, site)  # kept in the vault when the plan was agreed to
    assert planned(failed, site) == failed
    assert renewal.due(failed, site, NOW) == renewal.due(vault, site, NOW)


def test_what_an_apply_of_an_earlier_step_says_counts_for_nothing() -> None:
    site = spread()
    first = planned(asked(fresh(site), site), site)
    second = planned(done(first), site)
    assert rolling.reached(second.keyring, first.keyring) == second.keyring
    assert rolling.reached(second.keyring, Keyring()) == second.keyring


def test_the_old_ca_cannot_sign_once_certificates_of_the_new_one_are_agreed_to() -> None:
    site = spread()
    second = planned(done(planned(asked(fresh(site), site), site)), site).keyring
    assert second.roll is not None
    assert second.roll.other.key_pem == ""
    assert second.machines_ca is not None
    for leaf in second.machines.values():
        pki.certificate_of(leaf.certificate_pem).verify_directly_issued_by(
            pki.certificate_of(second.machines_ca.certificate_pem)
        )


def test_a_host_that_comes_during_a_roll_gets_what_the_others_have() -> None:
    site = spread()
    vault = done(planned(asked(fresh(site), site), site))
    wider = make.make_site({"svc": SERVED, "new": (Group.LLM,), "gate": (Group.GATEWAY,)})
    wider = wider.replace(certificates=site.certificates)
    files = delivery.host_files(planned(vault, wider), wider)
    assert files["new"]["machines_ca_pem"] == files["svc"]["machines_ca_pem"]


def test_a_second_roll_and_one_of_nothing_are_refused() -> None:
    site = spread()
    secrets = asked(fresh(site), site)
    with pytest.raises(ConfigError, match="step 1 of 3") as caught:
        rolling.begun(secrets.keyring, site, "again", NOW)
    assert caught.value.code == "BAS-2191"
    with pytest.raises(ConfigError) as caught:
        rolling.begun(Keyring(), site, "why", NOW)
    assert caught.value.code == "BAS-2190"


def test_a_site_that_no_longer_uses_mutual_tls_has_nothing_to_roll_until_it_does_again() -> None:
    site, without = spread(), spread(mutual_tls=False)
    with pytest.raises(ConfigError) as caught:
        rolling.begun(fresh(site).keyring, without, "why", NOW)
    assert caught.value.code == "BAS-2190"
    vault = asked(fresh(site), site)
    assert renewal.due(vault, without, NOW) == ()
    assert {each.name for each in renewal.due(vault, site, NOW)} == {renewal.MACHINES_CA}


def test_the_machines_ca_is_listed_and_has_no_end() -> None:
    site = spread()
    found = {each.name: each for each in listing.shown(fresh(site), site, NOW)}
    ca = found[renewal.MACHINES_CA]
    assert (ca.renewed_by, ca.state, ca.due[:4]) == ("nobody", "good", "9999")
    assert [use.host for use in ca.used] == ["svc", "gate"]
    asked_for = {each.name: each for each in listing.shown(asked(fresh(site), site), site, NOW)}
    assert asked_for[renewal.MACHINES_CA].state == "due"


def test_leaves_that_fall_due_during_a_roll_are_signed_by_the_ca_that_all_trust() -> None:
    site = spread()
    old = fresh(site)
    later = NOW + timedelta(days=380)
    vault = asked(old, site)
    made = renewal.made_anew(vault, site, renewal.due(vault, site, later), later)
    assert old.keyring.machines_ca is not None
    leaf = pki.certificate_of(made.keyring.machines["service-svc"].certificate_pem)
    leaf.verify_directly_issued_by(pki.certificate_of(old.keyring.machines_ca.certificate_pem))


@pytest.mark.parametrize(
    ("host", "secret", "groups"),
    [
        ("svc", "machines_ca_pem", SERVED),
        ("gate", "machines_ca_pem", (Group.GATEWAY,)),
        ("svc", "service_pem", SERVED),
        ("gate", "gateway_client_pem", (Group.GATEWAY,)),
        ("svc", "gateway_client_pem", ()),
        ("svc", "ca_pem", None),
    ],
)
def test_who_reads_the_files_of_mutual_tls(
    host: str, secret: str, groups: tuple[Group, ...] | None
) -> None:
    assert users_of(spread(), host, secret) == groups


def test_without_mutual_tls_nobody_reads_them() -> None:
    assert users_of(spread(mutual_tls=False), "svc", "machines_ca_pem") == ()
