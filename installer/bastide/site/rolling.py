"""A new machines CA in place of the present one, in steps that part no machines. Pure.

Machines learn of the new CA first, then get certificates of it, then forget the old one (ADR 31). A
plan brings one step to the hosts; the next plan goes on once an apply has said that all have it.
"""

from __future__ import annotations

from datetime import datetime

from bastide.errors import ConfigError
from bastide.plan.tls import serving_hosts
from bastide.schema.site import Site
from bastide.site import pki
from bastide.site.codes import ROLL_NOTHING, ROLL_UNDER_WAY
from bastide.site.keyring import Keyring, Leaf, Roll, RollStep

STEPS: dict[RollStep, str] = {
    "trust": "step 1 of 3: machines trust the new CA beside the old one",
    "sign": "step 2 of 3: machines show certificates of the new CA",
    "forget": "step 3 of 3: machines no longer trust the old CA",
}


def begun(keyring: Keyring, site: Site, why: str, now: datetime) -> Keyring:
    """Return the keyring with a new CA that the next plan makes known to machines.

    Args:
        keyring: The site's.
        site: The site.
        why: Why, for plans and the ledger.
        now: The present time.

    Raises:
        ConfigError: The site has no machines CA, or its roll is under way.
    """
    if keyring.machines_ca is None or not serving_hosts(site):
        raise ConfigError(
            "no machines of this site show each other certificates: there is no CA to replace",
            code=ROLL_NOTHING,
            hint="`certificates.mutual_tls: true` in site.yaml switches mutual TLS on",
        )
    if keyring.roll is not None:
        raise ConfigError(
            f"the machines CA is being replaced already, {STEPS[keyring.roll.step]}",
            code=ROLL_UNDER_WAY,
            hint="`bastide plan` and `bastide apply` go on with it; begin anew after the last step",
        )
    made = pki.make_machines_authority(site.name)
    new = Leaf(certificate_pem=made.certificate_pem, key_pem=made.key_pem, made=now)
    return keyring.replace(roll=Roll(step="trust", why=why, other=new))


def advanced(keyring: Keyring) -> Keyring:
    """Return the keyring one step on, if every host has the present step; else as it is."""
    roll, authority = keyring.roll, keyring.machines_ca
    if roll is None or authority is None or not roll.reached:
        return keyring
    if roll.step == "trust":
        # Of the old CA nothing is needed but what it signed: its key ends here.
        old = authority.replace(key_pem="")
        next_ = roll.replace(step="sign", other=old, reached=False)
        return keyring.replace(machines_ca=roll.other, roll=next_)
    if roll.step == "sign":
        return keyring.replace(roll=roll.replace(step="forget", reached=False))
    return keyring.replace(roll=None)


def reached(keyring: Keyring, applied: Keyring) -> Keyring:
    """Return the keyring with its step marked as brought to every host, if it was.

    Args:
        keyring: The site's, as the vault has it.
        applied: The keyring of an apply that has ended well.
    """
    roll = keyring.roll
    if roll is None or roll.reached or applied.roll != roll:
        return keyring
    return keyring.replace(roll=None if roll.step == "forget" else roll.replace(reached=True))


def why(keyring: Keyring) -> str:
    """Return what the next apply does of a roll, and why; empty if none is under way."""
    roll = keyring.roll
    return "" if roll is None else f"{STEPS[roll.step]}; asked for: {roll.why}"


def trusted_pem(keyring: Keyring) -> str:
    """Return the CAs that machines are to trust, the one that signs first."""
    if keyring.machines_ca is None:
        return ""
    roll = keyring.roll
    both = roll is not None and roll.step != "forget"
    return keyring.machines_ca.certificate_pem + (
        roll.other.certificate_pem if roll and both else ""
    )
