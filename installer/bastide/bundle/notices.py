"""NOTICES.txt: what the licences of a bundle's artifacts ask to be passed on with them.

Texts come from the artifacts themselves (wheels' ``.dist-info``, .debs' copyright files) and from
model cards, so equal locks give equal bytes. One archive is open at a time, and equal texts are
kept once.
"""

from __future__ import annotations

import hashlib
import textwrap
import zipfile
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from bastide.errors import BundleError
from bastide.layout import blob_path
from bastide.schema.artifact import Artifact, ArtifactKind, Manifest
from bastide.schema.model_card import UNKNOWN, ModelCard
from bastide.schema.policy import LicenceFamily
from bastide.sources.checks.deb import DebError
from bastide.sources.licence_texts import LicenceText, deb_copyright, wheel_texts
from bastide.trust.licences import TERMS
from bastide.trust.spdx import AllOf, AnyOf, Expression, OneLicence, understand

UNREADABLE = "BAS-3072"
TOO_LONG = "BAS-3073"
MAX_NOTICES = 30 << 20  # bytes; readers of bundles take documents of up to 32 MiB
_COPYLEFT = {LicenceFamily.WEAK_COPYLEFT, LicenceFamily.STRONG_COPYLEFT}
_LINE = "-" * 79
_HEADINGS = {
    ArtifactKind.MODEL: "Models",
    ArtifactKind.WHEEL: "Python distributions",
    ArtifactKind.OS_PACKAGE: "OS packages",
    ArtifactKind.BINARY: "Programs",
    ArtifactKind.SOURCE: "Source files",
}


@dataclass
class _Texts:
    """Texts by digest, numbered in the order in which they were first met."""

    numbers: dict[str, int] = field(default_factory=dict)
    texts: list[str] = field(default_factory=list)
    users: list[list[str]] = field(default_factory=list)
    by_licence: dict[str, int] = field(default_factory=dict)
    by_path: dict[str, int] = field(default_factory=dict)
    size: int = 0

    def add(self, text: str, user: str) -> int:
        plain = "\n".join(line.rstrip() for line in text.strip("\ufeff\n ").splitlines())
        digest = hashlib.sha256(plain.encode()).hexdigest()
        if digest not in self.numbers:
            self.numbers[digest] = len(self.texts) + 1
            self.texts.append(plain)
            self.users.append([])
            self.size += len(plain.encode())
        number = self.numbers[digest]
        self.users[number - 1].append(user)
        return number


def make_notices(
    manifest: Manifest, cards: Mapping[str, ModelCard], blob: Callable[[str], Path]
) -> bytes:
    """Return the notices of a bundle as UTF-8 text.

    Args:
        manifest: Its artifacts.
        cards: Its model cards by model name.
        blob: Returns where the bytes of a digest lie.

    Raises:
        BundleError: An artifact cannot be read, or the notices are longer than a document may be.
    """
    texts = _Texts()
    found = {a.sha256: _collect(a, texts, blob) for a in manifest.artifacts}
    if texts.size > MAX_NOTICES:
        raise BundleError(
            f"the licence texts of {manifest.release} have {texts.size} bytes, "
            f"a bundle's documents at most {MAX_NOTICES}",
            code=TOO_LONG,
            hint="take out the artifact that carries so much text",
        )
    lines = [
        f"Notices of {manifest.release} for {manifest.target}",
        "",
        "This file goes with the bundle wherever it goes. It lists what the bundle holds,",
        "under which licence, where that was declared, what the licence asks for, and the",
        "texts that the files themselves carry, each once, by number.",
    ]
    copies = {a.name: a for a in manifest.artifacts if a.name.startswith(TERMS)}
    for kind, heading in _HEADINGS.items():
        artifacts = manifest.of_kind(kind)
        if artifacts:
            lines += ["", "", heading, "=" * len(heading)]
        for artifact in artifacts:
            numbers = found[artifact.sha256]
            lines += ["", *_entry(artifact, cards.get(artifact.name), numbers, texts)]
            if copy := copies.get(f"{TERMS}{artifact.name}"):
                lines.append(f"  copy of the terms: {copy.filename}, in this bundle as")
                lines.append(f"    {blob_path(copy.sha256)}")
    for number, (text, users) in enumerate(zip(texts.texts, texts.users, strict=True), start=1):
        lines += ["", "", _LINE, f"[{number}] {', '.join(users)}", _LINE, "", text]
    return ("\n".join(lines) + "\n").encode()


def _collect(artifact: Artifact, texts: _Texts, blob: Callable[[str], Path]) -> list[int]:
    path, numbers = blob(artifact.sha256), []
    try:
        for each in _texts_of(artifact, path):
            number = texts.add(each.text, f"{artifact.name} {artifact.version}: {each.path}")
            numbers.append(number)
            texts.by_path[each.path] = number
            expression = understand(artifact.licence)
            name = each.path.rpartition("/")[2].lower()
            if isinstance(expression, OneLicence) and name.startswith(("licen", "copying")):
                texts.by_licence.setdefault(expression.key, number)
    except (DebError, OSError, zipfile.BadZipFile, zlib.error, ValueError, KeyError) as error:
        raise BundleError(
            f"the licence texts of {artifact.filename} cannot be read: {error}",
            code=UNREADABLE,
            hint="the file came so from its source: pin another version of it",
        ) from error
    return numbers


def _texts_of(artifact: Artifact, path: Path) -> tuple[LicenceText, ...]:
    if artifact.kind is ArtifactKind.WHEEL:
        return wheel_texts(path)
    if artifact.kind is ArtifactKind.OS_PACKAGE:
        own = deb_copyright(path, artifact.name)
        return (LicenceText(own.path, own.text),) if own.text is not None else ()
    return ()


def _entry(
    artifact: Artifact, card: ModelCard | None, numbers: list[int], texts: _Texts
) -> list[str]:
    expression = understand(artifact.licence)
    lines = [f"{artifact.name} {artifact.version}"]
    facts = [("licence", artifact.licence), ("declared in", artifact.licence_from)]
    if card is not None:
        facts += _terms(card)
    standard = texts.by_licence.get(expression.key) if isinstance(expression, OneLicence) else None
    if numbers:
        facts.append(("texts", " ".join(f"[{number}]" for number in sorted(set(numbers)))))
    elif standard:
        facts.append(
            ("text", f"[{standard}], the licence's own words as another file carries them")
        )
    elif shared := texts.by_path.get(artifact.licence_from):
        facts.append(("text", f"[{shared}], which it shares"))
    if any(one.family in _COPYLEFT for one in _leaves(expression)):
        facts.append(("source code", f"of this very version: {_source_code(artifact)}"))
    for name, value in facts:
        if value:
            lines += textwrap.wrap(
                f"{name}: {value}", 79, initial_indent="  ", subsequent_indent="    ",
                break_long_words=False, break_on_hyphens=False,
            )  # fmt: skip
    return lines


def _source_code(artifact: Artifact) -> str:
    if artifact.kind is ArtifactKind.OS_PACKAGE:  # keeps every version that Debian ever published
        return f"https://snapshot.debian.org/binary/{artifact.name}/"
    return artifact.source


def _terms(card: ModelCard) -> list[tuple[str, str]]:
    stated = [
        ("model", card.title),
        ("terms", card.licence.text),
        ("notice", card.terms.notices),
        ("naming", card.terms.naming),
        ("use policy", card.terms.use_policy),
        ("limit", card.terms.user_limit),
    ]
    return [(n, str(v)) for n, v in stated if v and v is not UNKNOWN and v != "none"]


def _leaves(expression: Expression) -> list[OneLicence]:
    match expression:
        case OneLicence():
            return [expression]
        case AllOf(parts=members) | AnyOf(options=members):
            return [leaf for member in members for leaf in _leaves(member)]
