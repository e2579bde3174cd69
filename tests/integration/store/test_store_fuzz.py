"""Whatever the documents of a medium hold: a clear error or a true import, never a traceback."""

from __future__ import annotations

import hashlib
import itertools
import json
import shutil
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bastide.errors import BastideError, BundleError, TrustError
from bastide.progress import SilentProgress
from bastide.schema.artifact import ArtifactKind
from bastide.store import Store
from bastide.store.importer import import_bundle
from bastide.trust.verifier import DigestOnly

pytestmark = pytest.mark.integration

scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(min_value=2**62, max_value=2**80)
    | st.floats(allow_nan=False)
    | st.text(max_size=20)
    | st.sampled_from(
        ["", "..", "/", "0" * 64, "bastide.bundle/1", "\x00", "\ud800", "manifest.json"]
    )
)
values = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
    ),
    max_leaves=6,
)
Plain = dict[str, Any]


def dump(plain: Any) -> bytes:
    text = json.dumps(plain, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return text.encode("utf-8", "surrogatepass") + b"\n"


@st.composite
def edits(draw: st.DrawFn) -> Callable[[Plain], Any]:
    """Return a function that changes, drops or adds one value somewhere in a document."""
    steps = draw(st.lists(st.integers(0, 20), min_size=1, max_size=4))
    value, action = draw(values), draw(st.sampled_from(["set", "drop", "add", "whole"]))

    def edit(plain: Plain) -> Any:
        if action == "whole":
            return value
        here: Any = plain
        for step in steps[:-1]:
            inner = list(here.values()) if isinstance(here, dict) else here
            deeper = [each for each in inner if isinstance(each, dict | list) and each]
            if not deeper:
                break
            here = deeper[step % len(deeper)]
        if isinstance(here, dict):
            key = sorted(here)[steps[-1] % len(here)]
            if action == "drop":
                del here[key]
            else:
                here[key if action == "set" else "surplus"] = value
        elif action == "drop":
            here.pop(steps[-1] % len(here))
        elif action == "set":
            here[steps[-1] % len(here)] = value
        else:
            here.append(here[0] if steps[-1] % 2 else value)
        return plain

    return edit


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("fuzz")


@pytest.fixture
def small(make_bundle: Any, place: Path) -> Any:
    make_bundle.place = place
    make_bundle.made = sum(1 for _ in place.iterdir())
    return make_bundle(
        {
            "a.whl": (ArtifactKind.WHEEL, b"a wheel"),
            "b.yaml": (ArtifactKind.CATALOGUE, b"a: card\n"),
        }
    )


counter = itertools.count()


def attempt(built: Any, overwrite: dict[str, bytes]) -> bool:
    """Import a copy with some documents replaced; return whether it was accepted."""
    scene = built.folder.parent / f"scene-{next(counter)}"
    shutil.copytree(built.folder, scene / "bundle")
    store = Store(scene / "store")
    try:
        for name, content in overwrite.items():
            (scene / "bundle" / name).write_bytes(content)
        try:
            result = import_bundle(
                scene / "bundle",
                store,
                verifier=DigestOnly(),
                progress=SilentProgress(),
                now=datetime(2026, 1, 1, tzinfo=UTC),
            )
        except (BundleError, TrustError) as error:
            assert_can_be_shown(error)
            assert store.bundles() == ()
            return False
        assert store.latest().digest == result.bundle
        for each in store.latest().manifest.artifacts:
            content = store.blob(each.sha256).read_bytes()
            assert hashlib.sha256(content).hexdigest() == each.sha256
        return True
    finally:
        shutil.rmtree(scene)


def assert_can_be_shown(error: BastideError) -> None:
    lines = [str(error), error.hint]
    lines += [f"{problem.where}: {problem.what}" for problem in error.problems]
    assert error.hint
    for line in lines:
        assert line.isprintable(), line
        assert line.encode(), line


def repinned(built: Any, manifest: bytes) -> bytes:
    """Return a root that pins ``manifest``, so that its content is reached."""
    plain = json.loads((built.folder / "bundle.json").read_bytes())
    for entry in plain["documents"]:
        if entry["path"] == "manifest.json":
            entry["size"], entry["sha256"] = len(manifest), hashlib.sha256(manifest).hexdigest()
    return dump(plain)


FUZZ = settings(
    max_examples=150,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@FUZZ
@given(edit=edits())
def test_edited_root(small: Any, edit: Callable[[Plain], Any]) -> None:
    plain = edit(json.loads((small.folder / "bundle.json").read_bytes()))
    attempt(small, {"bundle.json": dump(plain)})


@FUZZ
@given(edit=edits())
def test_edited_manifest_that_the_root_pins(small: Any, edit: Callable[[Plain], Any]) -> None:
    plain = edit(json.loads((small.folder / "manifest.json").read_bytes()))
    content = dump(plain)
    attempt(small, {"manifest.json": content, "bundle.json": repinned(small, content)})


@FUZZ
@given(content=st.binary(max_size=200))
def test_any_bytes_as_root_and_as_pinned_manifest(small: Any, content: bytes) -> None:
    assert not attempt(small, {"bundle.json": content})
    assert not attempt(small, {"manifest.json": content, "bundle.json": repinned(small, content)})


@pytest.mark.parametrize(
    "content",
    [
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b'{"format":"bastide.bundle/1","blobs":' + b"9" * 10_000 + b"}",
        b'{"format":"bastide.bundle/1","format":"bastide.bundle/1"}',
        b'{"format":"bastide.bundle/1","blobs":NaN}',
        b"\xef\xbb\xbf{}",
        b"\xff\xfe{\x00}\x00",
        b"",
        b"x" * (33 * 2**20),
    ],
    ids=["deep list", "deep dict", "digits", "twice", "nan", "bom", "utf16", "empty", "33 MiB"],
)
def test_hostile_roots_and_manifests(small: Any, content: bytes) -> None:
    assert not attempt(small, {"bundle.json": content})
    assert not attempt(small, {"manifest.json": content, "bundle.json": repinned(small, content)})


def test_the_untouched_bundle_is_accepted(small: Any) -> None:
    assert attempt(small, {})
