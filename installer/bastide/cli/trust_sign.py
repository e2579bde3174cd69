"""``bastide trust sign, export, merge``: signatures, by one or by several people."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from bastide.cli.output import reports, stdout
from bastide.cli.recording import recorded
from bastide.cli.trust_context import (
    Secret,
    open_publisher,
    passphrase_option,
    trust_option,
    unlock,
)
from bastide.errors import TrustError
from bastide.trust.codes import SIGNATURES_MISSING, WRONG_REQUEST

if TYPE_CHECKING:
    from bastide.trust.publisher import Publisher
    from bastide.trust.rootkeys import Signers
    from bastide.trust.signing import Waiting

MERGE = "bastide trust export FILE, have it signed: bastide trust sign --request FILE, then: \
bastide trust merge FILE"


@dataclass(frozen=True)
class SignResult:
    """What was signed.

    Args:
        signed: Bundles whose metadata folder is complete, or the request's file.
        says: What was signed, line by line.
        waiting: What lacks signatures of others.
        next: What to do next.
        error: Set if a bundle that was named is not signed yet.
    """

    signed: tuple[Path, ...]
    says: tuple[str, ...]
    waiting: Waiting | None
    next: str
    error: TrustError | None = None


@dataclass(frozen=True)
class Exported:
    """A signing request that was written."""

    file: Path
    role: str
    says: tuple[str, ...]


def _about(result: SignResult) -> dict[str, str]:
    return {"signed": ", ".join(map(str, result.signed)) or "nothing yet"}


def _show(result: SignResult) -> None:
    console = stdout()
    for line in result.says:
        console.print(line, markup=False)
    for path in result.signed:
        console.print(f"signed {path}", markup=False)
    if result.error is None:
        console.print(f"Next: {result.next}", markup=False)


def _show_exported(result: Exported) -> None:
    console = stdout()
    for line in result.says:
        console.print(line, markup=False)
    console.print(f"{result.file} asks for signatures of {result.role} keys", markup=False)
    console.print(
        f"Next, where such a key is: bastide trust sign --request {result.file}; then here: "
        f"bastide trust merge {result.file}",
        markup=False,
    )


@click.command("sign")
@click.argument("bundles", metavar="[BUNDLE]...", nargs=-1,
                type=click.Path(path_type=Path, exists=True, file_okay=False))  # fmt: skip
@click.option("--request", "request_file", metavar="FILE",
              type=click.Path(path_type=Path, exists=True, dir_okay=False),
              help="Sign a request that another machine exported, after showing it.")  # fmt: skip
@click.option("--keep-earlier", is_flag=True,
              help="Leave earlier bundles of the same release name and target valid.")  # fmt: skip
@click.option("--yes", is_flag=True, help="Sign the request without asking.")
@trust_option
@passphrase_option
@reports(_show)
@recorded("trust sign", _about)
def sign(
    bundles: tuple[Path, ...],
    request_file: Path | None,
    trust_dir: Path | None,
    passphrase_file: Path | None,
    *,
    keep_earlier: bool,
    yes: bool,
) -> SignResult:
    """Sign bundles, or sign them anew; nothing is rebuilt.

    Only the metadata folder of a BUNDLE is written. A bundle replaces the one of the same release
    name and target that was signed before: sites that have seen the new list refuse the old one.
    Without BUNDLE, what waits here is signed with this machine's keys.
    """
    publisher, secret = open_publisher(trust_dir), Secret(passphrase_file)
    if request_file is not None:
        if bundles:
            raise click.UsageError("give BUNDLE or --request, not both")
        return _sign_request(publisher, secret, request_file, yes=yes)
    publisher.settings()
    with publisher.lock("trust sign"):
        signers = unlock(publisher, secret)
        return sign_folders(publisher, bundles, signers, keep_earlier=keep_earlier)


def sign_folders(
    publisher: Publisher, bundles: tuple[Path, ...], signers: Signers, *, keep_earlier: bool = False
) -> SignResult:
    """Sign bundles with this machine's keys; the caller holds the trust folder's lock.

    Raises:
        BundleError: A folder is no bundle, or cannot be written.
        TrustError: The trust folder is damaged or has no root in force.
    """
    from tuf.api.metadata import Root  # noqa: PLC0415 - takes 0.15 s

    from bastide.trust.rootkeys import settle_root  # noqa: PLC0415
    from bastide.trust.signing import attach, read_bundle, sign_bundles  # noqa: PLC0415

    settle_root(publisher, signers)
    if not publisher.roots() and not bundles:
        return SignResult((), (), None, MERGE)
    found = tuple(read_bundle(folder) for folder in bundles)
    now = datetime.now(UTC)
    waiting = sign_bundles(publisher, found, signers, now, keep_earlier=keep_earlier)
    if waiting is not None:
        error = _missing(waiting) if bundles else None
        return SignResult((), (), waiting, MERGE, error)
    for folder in bundles:
        attach(publisher, folder)
    timestamp, targets = publisher.timestamp(), publisher.targets()
    says = []
    if timestamp is not None and targets is not None:
        until = min(timestamp.signed.expires, publisher.root().signed.expires)
        says.append(f"list {targets.signed.version}, good until {until:%Y-%m-%d}")
        says += [f"lists {path}" for path in sorted(targets.signed.targets)]
    if publisher.draft(Root) is not None:
        says.append(f"the next root still waits for signatures: {MERGE}")
    following = "carry the bundle over; there: bastide import DIR"
    return SignResult(bundles, tuple(says), None, following if bundles else "bastide trust status")


def _missing(waiting: Waiting) -> TrustError:
    return TrustError(
        f"not signed yet: {waiting.role} has {waiting.have} of {waiting.need} signatures; missing "
        f"are those of {', '.join(keyid[:8] for keyid in waiting.keys)}",
        code=SIGNATURES_MISSING,
        hint=f"{MERGE}; then sign the bundle again",
    )


def _sign_request(publisher: Publisher, secret: Secret, path: Path, *, yes: bool) -> SignResult:
    from bastide.trust.requests import load_request, save_request, sign_request  # noqa: PLC0415

    request = load_request(path)
    says = request.describe()
    if not yes:
        for line in says:
            click.echo(line, err=True)
        if not click.confirm("Sign this?", err=True):
            raise TrustError("nothing was signed", code=WRONG_REQUEST, hint="as you wished")
    signed, added = sign_request(request, unlock(publisher, secret))
    save_request(path, signed)
    done = "added" if added else "had been there already"
    lines = (*(says if yes else ()), f"{max(added, 1)} signature {done}")
    return SignResult((path,), lines, None, "bring it back; there: bastide trust merge FILE")


@click.command("export")
@click.argument("file", metavar="FILE", type=click.Path(path_type=Path, dir_okay=False))
@trust_option
@reports(_show_exported)
def export(file: Path, trust_dir: Path | None) -> Exported:
    """Write what waits for signatures to FILE, for people on other machines."""
    from bastide.trust.requests import make_request, save_request  # noqa: PLC0415 - loads tuf

    publisher = open_publisher(trust_dir)
    publisher.settings()
    request = make_request(publisher)
    save_request(file, request)
    return Exported(file, request.role, request.describe())


@click.command("merge")
@click.argument("file", metavar="FILE",
                type=click.Path(path_type=Path, exists=True, dir_okay=False))  # fmt: skip
@trust_option
@passphrase_option
@reports(_show)
@recorded("trust merge", _about)
def merge(file: Path, trust_dir: Path | None, passphrase_file: Path | None) -> SignResult:
    """Take the signatures of FILE back, and go on with the work if they are enough."""
    from tuf.api.metadata import Root  # noqa: PLC0415 - takes 0.15 s

    from bastide.trust.requests import load_request, merge_request  # noqa: PLC0415

    publisher = open_publisher(trust_dir)
    publisher.settings()
    with publisher.lock("trust merge"):
        number = merge_request(publisher, load_request(file))
        result = sign_folders(publisher, (), unlock(publisher, Secret(passphrase_file)))
        complete = result.waiting is None and publisher.draft(Root) is None
    says = (f"{number} new signatures", *result.says)
    following = "bastide trust sign BUNDLE puts the signatures into the bundle"
    return SignResult((), says, result.waiting, following if complete else MERGE)
