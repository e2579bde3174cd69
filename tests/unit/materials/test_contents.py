from __future__ import annotations

import base64
import hashlib
import json
import re
from html.parser import HTMLParser
from typing import Any

import pytest

from bastide import resources
from bastide.bundle.contents import Contents, read_contents, strictest
from bastide.bundle.diff import BundleDiff, Change, compare
from bastide.render.bundle_page import html
from bastide.schema.artifact import Artifact, ArtifactKind, BundleRoot, Component, Manifest
from bastide.schema.lock import Inline, Lock, LockEntry
from bastide.schema.policy import LicenceFamily
from bastide.store.opening import OpenBundle
from bastide.trust.spdx import understand
from bastide.trust.verifier import Trust, VerifiedRoot

MODEL, WHEEL, DEB = ArtifactKind.MODEL, ArtifactKind.WHEEL, ArtifactKind.OS_PACKAGE
CARD = "smollm2-135m-instruct-q4_1"


def artifact(
    kind: ArtifactKind, name: str, version: str = "1", size: int = 10, **more: str
) -> Artifact:
    digest = hashlib.sha256(f"{name}{version}{more.get('bytes', '')}".encode()).hexdigest()
    return Artifact(
        name=name,
        kind=kind,
        version=version,
        filename=f"{digest[:8]}-{version}",
        size=size,
        sha256=digest,
        platform="any",
        licence=more.get("licence", "MIT"),
        licence_from="METADATA",
        components=(Component.LLM,),
        source="https://example.org/<script>alert(1)</script>",
    )


def manifest(*artifacts: Artifact, release: str = "starter-1") -> Manifest:
    return Manifest(release=release, target="t", lock="0" * 64, artifacts=artifacts)


def opened(listed: Manifest) -> OpenBundle:
    text = (resources.catalogue() / "models" / f"{CARD}.yaml").read_text()
    card = artifact(ArtifactKind.CATALOGUE, f"model-{CARD}")
    wrong = artifact(ArtifactKind.CATALOGUE, "model-wrong")
    entries = (
        LockEntry(artifact=card, origin=Inline(text=text)),
        LockEntry(artifact=wrong, origin=Inline(text="nonsense")),
    )
    lock = Lock(release="starter-1", target="t", entries=entries)
    root = BundleRoot(release="starter-1", target="t", documents=(), blobs=3, blob_bytes=123)
    trust = Trust(scheme="test", signed=True, statement="signed by <b>somebody</b>")
    given: dict[str, Any] = {
        **dict.fromkeys(OpenBundle.__dataclass_fields__),
        "verified": VerifiedRoot(root, root.digest(), trust),
        "documents": {"lock.json": lock.canonical(), "bundle.json": b"{}"},
        "manifest": listed,
    }
    return OpenBundle(**given)


@pytest.fixture
def contents() -> Contents:
    bundle = opened(
        manifest(
            artifact(MODEL, CARD, size=1000),
            artifact(WHEEL, "small", size=5, licence="GPL-2.0-only OR MIT"),
            artifact(WHEEL, "<img src=x>", size=50, licence="MIT AND LGPL-2.1-only"),
        )
    )
    return read_contents(bundle, bundle.verified.trust)


def test_groups_the_largest_first(contents: Contents) -> None:
    assert [(g.heading, g.size, len(g.items)) for g in contents.groups] == [
        ("Models", 1000, 1),
        ("Python wheels", 55, 2),
    ]
    assert [item.artifact.size for item in contents.groups[1].items] == [50, 5]
    assert contents.families == (
        (LicenceFamily.PERMISSIVE, 2),
        (LicenceFamily.WEAK_COPYLEFT, 1),
    )


def test_models_say_what_they_are(contents: Contents) -> None:
    about = contents.groups[0].items[0].about
    assert about == "SmolLM2-135M-Instruct: chat, Q4_1, 135 million parameters"


@pytest.mark.parametrize(
    ("licence", "family"),
    [
        ("CC0-1.0 AND MIT", LicenceFamily.PERMISSIVE),
        ("GPL-2.0-only OR MIT", LicenceFamily.PERMISSIVE),
        ("MIT AND Gemma", LicenceFamily.UNKNOWN),
    ],
)
def test_the_strictest_family_binds(licence: str, family: LicenceFamily) -> None:
    assert strictest(understand(licence)) is family


# --- the page --------------------------------------------------------------------------------
class Page(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs

    def handle_data(self, data: str) -> None:
        self.text += data


def test_the_page_needs_nothing_else(contents: Contents) -> None:
    text = html(contents)
    page = Page(text)
    assert not {name for name, _ in page.attributes} & {"src", "href", "srcset", "onclick"}
    assert not set(page.tags) & {"img", "link", "iframe", "object", "base"}
    assert "url(" not in text
    assert "@import" not in text
    assert "default-src 'none'" in text


def test_only_its_own_script_may_run(contents: Contents) -> None:
    text = html(contents)
    assert Page(text).tags.count("script") == 1
    source = re.search(r"<script>(.*)</script>\n</body>", text, re.DOTALL)
    assert source is not None
    digest = base64.b64encode(hashlib.sha256(source[1].encode()).digest()).decode()
    assert (
        f"script-src &#39;sha256-{digest}&#39;" in text or f"script-src 'sha256-{digest}'" in text
    )


def test_text_from_outside_stays_text(contents: Contents) -> None:
    page = Page(html(contents))
    assert "<img src=x>" in page.text
    assert "signed by <b>somebody</b>" in page.text
    assert "<script>alert(1)</script>" in page.text


def test_every_artifact_is_on_the_page(contents: Contents) -> None:
    text = html(contents)
    for group in contents.groups:
        for item in group.items:
            assert item.artifact.sha256 in text
            assert f'data-family="{item.family.value}"' in text


# --- differences -----------------------------------------------------------------------------
def difference(before: Manifest, after: Manifest) -> BundleDiff:
    return compare(("a" * 64, before), ("b" * 64, after))


def test_nothing_differs() -> None:
    same = manifest(artifact(WHEEL, "x"), artifact(DEB, "y"))
    found = difference(same, same)
    assert (found.differences, found.unchanged, found.to_carry) == ((), 2, 0)


def test_every_kind_of_change() -> None:
    before = manifest(
        artifact(WHEEL, "changed", "1", 100),
        artifact(WHEEL, "gone", "1", 7),
        artifact(WHEEL, "rebuilt", "1", 30),
        artifact(WHEEL, "relicensed", "1", 5),
        artifact(WHEEL, "same", "1", 9),
    )
    after = manifest(
        artifact(WHEEL, "changed", "2", 120, licence="Gemma"),
        artifact(DEB, "gone", "1", 11),
        artifact(WHEEL, "rebuilt", "1", 31, bytes="other"),
        artifact(WHEEL, "relicensed", "1", 5, licence="ISC"),
        artifact(WHEEL, "same", "1", 9),
        release="starter-2",
    )
    found = difference(before, after)
    assert {(d.kind, d.name): d.change for d in found.differences} == {
        (WHEEL, "changed"): Change.CHANGED,
        (WHEEL, "gone"): Change.REMOVED,
        (DEB, "gone"): Change.ADDED,
        (WHEEL, "rebuilt"): Change.REBUILT,
        (WHEEL, "relicensed"): Change.RELICENSED,
    }
    assert found.unchanged == 1
    assert found.size_before == 151
    assert found.size_after == 120 + 11 + 31 + 5 + 9
    assert found.to_carry == 120 + 31  # the .deb that came has the bytes of the wheel that went
    assert found.new_licences == ("Gemma", "ISC")
    assert [d.name for d in found.differences if d.licence_changed] == ["changed", "relicensed"]


def test_answers_are_plain_values() -> None:
    found = difference(manifest(artifact(WHEEL, "x")), manifest(artifact(WHEEL, "x", "2")))
    assert json.dumps(found.differences[0].change) == '"changed"'
