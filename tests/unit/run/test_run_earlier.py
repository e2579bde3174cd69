"""Where a rollback goes back to."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import plan_factories as make
import pytest

from bastide.errors import ConfigError
from bastide.layout import RunFolder, SiteFolder
from bastide.plan.planner import make_plan
from bastide.render.trees import HostTree, TreeFile, read_tree
from bastide.run.earlier import choose, good_runs, last_site, site_of, trees_of
from bastide.schema.facts import SiteFacts

TREES = {
    name: HostTree("host1", {"etc/llm.json": TreeFile(name.encode(), 0o644)})
    for name in ("one", "two", "three")
}


def write_run(folder: SiteFolder, number: int, name: str, *, good: bool = True) -> None:
    run = RunFolder(folder.runs / f"2026-{number}")
    run.tree("host1").parent.mkdir(parents=True)
    inputs = make.make_inputs()
    plan = make_plan(inputs)
    host = plan.hosts[0].replace(
        generation_after=number,
        generation_digest=make.sha(name),
        tree_sha256=TREES[name].sha256,
    )
    run.plan.write_text(plan.replace(hosts=(host,)).model_dump_json())
    run.site.write_bytes(inputs.site.canonical())
    run.tree("host1").write_bytes(TREES[name].tar)
    run.summary.write_text(json.dumps({"failure": None if good else {"code": "BAS-6001"}}))


def facts_at(generation: int | None) -> SiteFacts:
    facts = make.make_inputs().facts
    host = facts.hosts["host1"].replace(generation=generation)
    return SiteFacts(hosts={"host1": host})


@pytest.fixture
def site(tmp_path: Path) -> SiteFolder:
    folder = SiteFolder(tmp_path)
    write_run(folder, 1, "one")
    write_run(folder, 2, "two")
    write_run(folder, 3, "three", good=False)
    return folder


def test_a_run_that_failed_is_nothing_to_go_back_to(site: SiteFolder) -> None:
    assert [run.folder.id for run in good_runs(site)] == ["2026-2", "2026-1"]


def test_the_newest_run_that_led_to_an_earlier_generation_is_taken(site: SiteFolder) -> None:
    assert choose(good_runs(site), facts_at(3), None).folder.id == "2026-2"


def test_going_back_twice_goes_further_back_and_then_ends(site: SiteFolder) -> None:
    write_run(site, 4, "one")
    back = RunFolder(site.runs / "2026-5")  # what a rollback to generation 2 leaves
    shutil.copytree(site.runs / "2026-2", back.root)
    assert choose(good_runs(site), facts_at(2), None).folder.id == "2026-1"
    for nowhere in (1, None):
        with pytest.raises(ConfigError) as refused:
            choose(good_runs(site), facts_at(nowhere), None)
        assert refused.value.code == "BAS-2066"


@pytest.mark.parametrize("wanted", ["2026-1", "1"])
def test_a_run_is_found_by_its_id_and_by_its_generation(site: SiteFolder, wanted: str) -> None:
    assert choose(good_runs(site), facts_at(2), wanted).folder.id == "2026-1"


def test_an_unknown_run_is_refused_with_those_that_there_are(site: SiteFolder) -> None:
    with pytest.raises(ConfigError) as refused:
        choose(good_runs(site), facts_at(2), "9")
    assert refused.value.code == "BAS-2067"
    assert "2026-2" in refused.value.hint


def test_site_and_files_are_those_of_then_but_hosts_are_reached_as_now(site: SiteFolder) -> None:
    run = good_runs(site)[0]
    present = make.make_site(gateway_port=9443)
    present = present.replace(ssh=present.ssh.replace(private_key="/keys/new"))
    back = site_of(run, present)
    assert back.network.gateway_port == 8443
    assert back.ssh.private_key == "/keys/new"
    assert trees_of(run)["host1"].digests == TREES["two"].digests


@pytest.mark.parametrize("content", [b"", b"no tar", TREES["one"].tar])
def test_files_that_are_not_those_of_the_plan_are_refused(site: SiteFolder, content: bytes) -> None:
    run = good_runs(site)[0]
    run.folder.tree("host1").write_bytes(content)
    with pytest.raises(ConfigError) as refused:
        trees_of(run)
    assert refused.value.code == "BAS-2068"


def test_an_archive_of_a_tree_is_read_back_to_the_same_bytes() -> None:
    tree = HostTree("h", {"etc/a": TreeFile(b"a", 0o644), "units/b.service": TreeFile(b"", 0o600)})
    assert read_tree("h", tree.tar) == tree


def test_the_last_site_is_that_of_the_newest_good_run(site: SiteFolder, tmp_path: Path) -> None:
    newest = RunFolder(site.runs / "2026-2")
    other = make.make_inputs().site.replace(name="renamed")
    newest.site.write_bytes(other.canonical())
    found = last_site(site)
    assert found is not None
    assert found.name == "renamed"
    assert last_site(SiteFolder(tmp_path / "nowhere")) is None
