"""``bastide trust pin``: the ceremony in which a site comes to trust a publisher."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import click

from bastide.cli.output import reports, stdout
from bastide.cli.recording import recorded
from bastide.cli.trust_context import reader
from bastide.errors import TrustError
from bastide.host.lock import exclusive_lock
from bastide.layout import Home
from bastide.trust.codes import WRONG_FINGERPRINT
from bastide.trust.fingerprint import groups, parse_fingerprint, words
from bastide.trust.state import load_state, save_state


@dataclass(frozen=True)
class Pinned:
    """Whom the site trusts now."""

    fingerprint: str
    words: tuple[str, ...]
    root: int
    publisher: str
    development: bool
    was_trusted: bool
    file: Path


def _show(result: Pinned) -> None:
    console = stdout()
    name = f" of {result.publisher!a}" if result.publisher else ""
    kind = " (a development root: not for production)" if result.development else ""
    verb = "was trusted already" if result.was_trusted else "is trusted from now on"
    console.print(f"root {result.root}{name}{kind} {verb}", markup=False)
    digits = groups(result.fingerprint)
    console.print(f"  {digits[:39]}\n  {digits[40:]}", markup=False)
    console.print("Next: bastide import DIR", markup=False)


@click.command("pin")
@click.argument(
    "bundle", metavar="DIR", type=click.Path(path_type=Path, exists=True, file_okay=False)
)
@click.option("--fingerprint", metavar="TEXT",
              help="What the publisher told you, 64 hexadecimal digits or 24 words, instead of "
              "typing it when asked.")  # fmt: skip
@click.option("--replace", metavar="REASON",
              help="Trust this root instead of the one so far; the reason is kept.")  # fmt: skip
@reports(_show)
@recorded("trust pin", lambda result: {"root": str(result.root), "digest": result.fingerprint})
def pin(bundle: Path, fingerprint: str | None, replace: str | None) -> Pinned:
    """Trust the publisher of the bundle in DIR, once, by the root's fingerprint.

    The publisher runs `bastide trust fingerprint` and reads it out to you: over the telephone, on
    paper, in person, but not on the medium. Type it, as digits or as words; the first four letters
    of a word are enough. Only if the medium's root has that fingerprint is it trusted.
    """
    from bastide.trust.metadata import extra, load_root  # noqa: PLC0415 - loads tuf
    from bastide.trust.pinning import pin_root, roots_of  # noqa: PLC0415

    read = reader(bundle)
    roots_of(read)  # a medium without a root is refused before anybody types
    typed = parse_fingerprint(fingerprint if fingerprint is not None else _ask())
    path = Home.default().site_trust
    with exclusive_lock(path.with_name("lock"), "trust pin"):
        before = load_state(path)
        state = pin_root(read, typed, before, datetime.now(UTC), replace)
        save_state(path, state)
    root = load_root(state.root.encode(), "the pinned root").signed
    about = extra(root)
    return Pinned(
        fingerprint=state.fingerprint,
        words=words(state.fingerprint),
        root=root.version,
        publisher=str(about.get("publisher", ""))[:80],
        development=about.get("development") is True,
        was_trusted=before == state,
        file=path,
    )


def _ask() -> str:
    if not sys.stdin.isatty():
        raise TrustError(
            "the fingerprint that you were told is needed, and there is no terminal to ask",
            code=WRONG_FINGERPRINT,
            hint="give it with --fingerprint",
        )
    return str(click.prompt("Fingerprint that the publisher told you (digits or words)", err=True))
