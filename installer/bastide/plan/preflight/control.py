"""Checks of the control node: store, secrets, certificates, depot, room for the run's folder."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

from bastide.plan.preflight.check import (
    PreflightInputs,
    Subject,
    Trouble,
    checks_in,
    refuses,
    warns,
)
from bastide.plan.preflight.needs_met import megabytes
from bastide.schema.condition import BlobFault, ControlCondition

CONTROL = Subject.CONTROL
ROOM = 64 * 2**20  # for one run's folder, log and reports
CA_WARNING_SECONDS = 90 * 24 * 3600


def _seen(inputs: PreflightInputs) -> ControlCondition:
    if inputs.control is None:
        raise RuntimeError("the control node was not looked at")
    return inputs.control


@refuses(
    CONTROL,
    "BAS-5173",
    "the control node has its address",
    "`network.control_address` is not this machine's: hosts could not fetch from it",
    "give this machine's address, as hosts see it (`ip address`)",
)
def control_address(inputs: PreflightInputs) -> Iterator[Trouble]:
    """Look whether this machine has the address."""
    if not _seen(inputs).address_is_here:
        yield Trouble(f"{inputs.plan.site.network.control_address} is on none of its interfaces")


@refuses(
    CONTROL,
    "BAS-5060",
    "the depot can listen",
    "The depot cannot listen on `network.control_address` and `network.depot_port`; nothing was "
    "changed.",
    "Free the port, change it, or correct the address: it must be this machine's.",
)
def depot_port(inputs: PreflightInputs) -> Iterator[Trouble]:
    """Look whether something else has the depot's port."""
    seen, network = _seen(inputs), inputs.plan.site.network
    if seen.depot_fault and seen.address_is_here:
        yield Trouble(
            f"cannot listen on {network.control_address} port {network.depot_port}: "
            f"{seen.depot_fault}"
        )


@refuses(
    CONTROL,
    "BAS-5064",
    "the store has every artifact",
    "The store lacks an artifact that hosts need; nothing was changed.",
    "`bastide import` the bundle again.",
)
def store_lacks(inputs: PreflightInputs) -> Iterator[Trouble]:
    """List artifacts that are not there."""
    yield from _blobs(_seen(inputs).blobs, "missing", "the store lacks")


@refuses(
    CONTROL,
    "BAS-5174",
    "artifacts have their sizes",
    "An artifact in the store is cut off, or has another size than the bundle says",
    "`bastide import --recheck` with the bundle",
)
def store_sizes(inputs: PreflightInputs) -> Iterator[Trouble]:
    """List artifacts of another size."""
    yield from _blobs(_seen(inputs).blobs, "size", "of another size in the store:")


@refuses(
    CONTROL,
    "BAS-5175",
    "artifacts that hosts need are whole",
    "An artifact in the store was changed since it was imported",
    "`bastide import --recheck` with the bundle; then look for the cause: disk, memory, somebody",
)
def store_content(inputs: PreflightInputs) -> Iterator[Trouble]:
    """List artifacts with another digest, as far as there was time to read them."""
    yield from _blobs(_seen(inputs).blobs, "content", "damaged in the store:")


def _blobs(faults: tuple[BlobFault, ...], kind: str, words: str) -> Iterator[Trouble]:
    names = [each.name for each in faults if each.fault == kind]
    if names:
        more = f" and {len(names) - 3} more" if len(names) > 3 else ""
        yield Trouble(f"{words} {', '.join(names[:3])}{more}")


@refuses(
    CONTROL,
    "BAS-5176",
    "the site's secrets open",
    "The site's secrets do not open: the vault password is lost or wrong, or the file is damaged",
    "put the vault password back where `bastide init` kept it, or restore it from a backup",
)
def secrets(inputs: PreflightInputs) -> Iterator[Trouble]:
    """Say why the secrets did not open."""
    seen = _seen(inputs)
    if seen.secrets_fault:
        yield Trouble(seen.secrets_fault, seen.secrets_hint)


@refuses(
    CONTROL,
    "BAS-5177",
    "the site CA can be read",
    "The site CA's certificate is missing or damaged, or is not that of the site's secrets",
    "restore `ca.pem` from a backup of the site's folder",
)
def authority(inputs: PreflightInputs) -> Iterator[Trouble]:
    """Say what is wrong with the CA's certificate."""
    if _seen(inputs).authority_fault:
        yield Trouble(_seen(inputs).authority_fault)


@refuses(
    CONTROL,
    "BAS-5178",
    "the site CA is valid now",
    "The site CA has ended or not begun yet, by the control node's clock",
    "set the clock right; if the CA has really ended, `bastide init --force` makes a new one",
)
def authority_valid(inputs: PreflightInputs) -> Iterator[Trouble]:
    """Compare the CA's validity with the clock."""
    seen, now = _seen(inputs), inputs.unix_time
    if now is None or seen.authority_from is None or seen.authority_until is None:
        return
    if now > seen.authority_until:
        yield Trouble(f"the site CA ended on {_day(seen.authority_until)}, today is {_day(now)}")
    elif now < seen.authority_from:
        yield Trouble(f"the site CA begins on {_day(seen.authority_from)}, today is {_day(now)}")


@warns(
    CONTROL,
    "BAS-5179",
    "the site CA lasts",
    "The site CA ends within 90 days; clients will have to trust a new one",
    "make a new one in time, and give it to the clients",
)
def authority_lasts(inputs: PreflightInputs) -> Iterator[Trouble]:
    """Look for a CA that ends soon."""
    end, now = _seen(inputs).authority_until, inputs.unix_time
    if end is not None and now is not None and 0 <= end - now < CA_WARNING_SECONDS:
        yield Trouble(f"the site CA ends on {_day(end)}")


def _day(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).date().isoformat()


@refuses(
    CONTROL,
    "BAS-5180",
    "there is room for a run's folder",
    "The disk of the site's folder on the control node is full",
    "free some, or move the site's folder",
)
def room(inputs: PreflightInputs) -> Iterator[Trouble]:
    """Compare what is free with what a run writes."""
    seen = _seen(inputs)
    trees = sum(tree.size for tree in inputs.plan.trees.values())
    if seen.site_free < ROOM + 2 * trees:
        need = megabytes(ROOM + 2 * trees)
        yield Trouble(f"{need} needed, {megabytes(seen.site_free)} free")
    if seen.site_free_inodes is not None and seen.site_free_inodes < 1000:
        yield Trouble(f"1000 inodes needed, {seen.site_free_inodes} free")


@refuses(
    CONTROL,
    "BAS-5181",
    "the site's folder can be written to",
    "The site's folder or Bastide's own on the control node cannot be written to",
    "give them to the user that runs Bastide; look whether the disk became read-only",
)
def writable(inputs: PreflightInputs) -> Iterator[Trouble]:
    """Look at the two folders that a run writes to."""
    seen = _seen(inputs)
    if not seen.site_writable:
        yield Trouble("the site's folder cannot be written to")
    if not seen.home_writable:
        yield Trouble("Bastide's own folder (BASTIDE_HOME) cannot be written to")


@refuses(
    CONTROL,
    "BAS-5182",
    "the control node has its programs",
    "Programs that a run needs are missing on the control node",
    "install the OS package `openssh-client`",
)
def control_programs(inputs: PreflightInputs) -> Iterator[Trouble]:
    """List missing programs."""
    if _seen(inputs).programs_missing:
        yield Trouble(f"missing: {', '.join(_seen(inputs).programs_missing)}")


@refuses(
    CONTROL,
    "BAS-5183",
    "the SSH key is nobody else's to read",
    "The SSH key's file may be read by others; ssh refuses to use such a key",
    "`chmod 600 KEY`",
)
def key_mode(inputs: PreflightInputs) -> Iterator[Trouble]:
    """Look at the key file's mode."""
    mode = _seen(inputs).key_mode
    if mode is not None and mode & 0o077:
        key = inputs.plan.site.ssh.private_key
        yield Trouble(f"{key} has mode {mode:04o}", f"chmod 600 {key}")


@warns(
    CONTROL,
    "BAS-5184",
    "nobody else works on the site",
    "Another run holds the site: `bastide apply` would end with BAS-9001",
    "wait until it ends",
)
def lock(inputs: PreflightInputs) -> Iterator[Trouble]:
    """Name the holder of the site's lock."""
    if _seen(inputs).lock_holder:
        yield Trouble(f"held by {_seen(inputs).lock_holder}")


@warns(
    CONTROL,
    "BAS-5185",
    "the plan file is of now",
    "The plan file was made for another site.yaml or bundle: `bastide apply` would refuse it",
    "`bastide plan`",
)
def plan_file(inputs: PreflightInputs) -> Iterator[Trouble]:
    """Say what the plan file was made for."""
    if _seen(inputs).plan_stale:
        yield Trouble(f"plan.json was made for {_seen(inputs).plan_stale}")


CHECKS = checks_in(globals())
