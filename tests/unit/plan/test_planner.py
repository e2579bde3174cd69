from __future__ import annotations

import dataclasses

import plan_factories as make
import pytest

from bastide.errors import ConfigError, PreflightError
from bastide.plan.inputs import PlanInputs, TreeDigest
from bastide.plan.pieces import fan_out
from bastide.plan.planner import make_plan
from bastide.plan.stage import Passage, stage_description
from bastide.plan.staleness import is_stale
from bastide.schema.artifact import ArtifactKind, Component
from bastide.schema.facts import SiteFacts, UnreachableHost
from bastide.schema.plan import HostPlan
from bastide.schema.site import SERVING, Group

ALL_UNITS = {f"bastide-{group}.service" for group in SERVING}


def only(inputs: PlanInputs) -> HostPlan:
    (host,) = make_plan(inputs).hosts
    return host


def installed() -> PlanInputs:
    inputs = make.make_inputs()
    return make.applied(inputs, make_plan(inputs))


def actions(host: HostPlan) -> dict[str, str]:
    return {unit.name.removeprefix("bastide-")[:-8]: unit.action for unit in host.units}


def test_an_empty_host_gets_everything_that_its_groups_need_and_nothing_else() -> None:
    host = only(make.make_inputs())
    assert (host.generation_before, host.generation_after) == (None, 1)
    names = {pull.name for pull in host.pulls}
    assert names == {
        "chat", "embed", "haproxy", "libgomp1", "nftables", "llama_server", "llama-cpp-python",
        "qdrant-edge-py", "uv", "tree",
    }  # fmt: skip
    assert {p.name: p.before for p in host.packages} == {"haproxy": None, "libgomp1": None}
    assert {change.action for change in host.files} == {"create"}
    assert actions(host) == dict.fromkeys(("embeddings", "gateway", "llm", "vectordb"), "start")
    assert host.drift == ()


def test_a_host_gets_only_its_own_groups_part() -> None:
    site = make.make_site(
        {"big": (Group.LLM, Group.EMBEDDINGS), "small": (Group.VECTORDB, Group.GATEWAY)}
    )
    big, small = make_plan(make.make_inputs(site)).hosts
    assert {pull.name for pull in small.pulls} == {
        "haproxy", "nftables", "qdrant-edge-py", "uv", "tree",
    }  # fmt: skip
    assert "qdrant-edge-py" not in {pull.name for pull in big.pulls}
    assert small.bytes_to_pull == 2_000_000 + 70_000 + 20_000_000 + 20_000_000 + 10_240


def test_where_blobs_go() -> None:
    places = {pull.name: pull.destination for pull in only(make.make_inputs()).pulls}
    digest = make.sha("model/chat/1.0")
    assert places["chat"] == f"/var/lib/bastide/models/{digest}.gguf"
    digest = make.sha("wheel/uv/1.0")
    assert places["uv"] == f"/var/lib/bastide/artifacts/sha256/{digest[:2]}/{digest}"


def test_a_second_plan_is_empty() -> None:
    plan = make_plan(installed())
    assert plan.changes == 0
    assert plan.hosts[0].generation_after == 1
    assert plan.hosts[0].disk_needed == {}


def test_a_changed_setting_restarts_only_its_service() -> None:
    inputs = installed()
    tree = inputs.trees["host1"]
    files = {**tree.files, "etc/llm.json": make.sha("other"), "etc/release.json": make.sha("r")}
    changed = TreeDigest(make.sha("tree"), tree.size, files)
    host = only(dataclasses.replace(inputs, trees={"host1": changed}))
    assert actions(host) == {"llm": "restart"}
    assert {pull.name for pull in host.pulls} == {"tree"}
    assert (host.generation_before, host.generation_after) == (1, 2)
    assert [(c.path, c.action) for c in host.files] == [
        ("etc/llm.json", "update"),
        ("etc/release.json", "update"),
    ]


@pytest.mark.parametrize(
    ("name", "restarted"),
    [
        ("chat", {"llm"}),
        ("embed", {"embeddings"}),
        ("haproxy", {"gateway"}),
        ("libgomp1", {"llm", "embeddings"}),
        ("llama_server", {"llm", "embeddings"}),
        ("qdrant-edge-py", {"llm", "embeddings", "vectordb"}),  # one environment for all
        ("nftables", set()),
    ],
)
def test_a_new_version_restarts_who_uses_it(name: str, restarted: set[str]) -> None:
    artifacts = tuple(
        make.artifact(a.name, a.kind, a.components, "9.0", a.size) if a.name == name else a
        for a in make.make_artifacts()
    )
    inputs = dataclasses.replace(installed(), manifest=make.make_manifest(artifacts))
    host = only(inputs)
    assert actions(host) == dict.fromkeys(restarted, "restart")
    assert {pull.name for pull in host.pulls} == {name}
    assert host.generation_after == 2


def test_a_new_installer_alone_changes_nothing() -> None:
    artifacts = tuple(
        make.artifact("uv", version="9.0", components=a.components) if a.name == "uv" else a
        for a in make.make_artifacts()
    )
    inputs = dataclasses.replace(installed(), manifest=make.make_manifest(artifacts))
    assert only(inputs).changes == 0


def test_a_host_that_does_not_know_its_contents_restarts_everything() -> None:
    inputs = make.with_facts(installed(), contents={}, generation_digest=make.sha("older"))
    assert set(actions(only(inputs)).values()) == {"restart"}


def test_a_file_changed_by_hand_is_drift_and_makes_a_new_generation() -> None:
    inputs = installed()
    files = {**inputs.facts.hosts["host1"].files, "etc/haproxy.cfg": make.sha("by hand")}
    host = only(make.with_facts(inputs, files=files))
    assert host.drift == ("etc/haproxy.cfg was changed by hand",)
    assert host.generation_after == 2
    assert actions(host) == {"gateway": "restart"}
    assert host.pulls == ()


def test_a_file_that_is_not_ours_is_drift() -> None:
    inputs = installed()
    files = {**inputs.facts.hosts["host1"].files, "etc/extra.conf": make.sha("x")}
    host = only(make.with_facts(inputs, files=files))
    assert host.drift == ("etc/extra.conf is not ours",)
    assert [change.action for change in host.files] == ["remove"]


def test_a_lost_model_comes_again() -> None:
    inputs = installed()
    chat = make.sha("model/chat/1.0")
    models = {k: v for k, v in inputs.facts.hosts["host1"].models.items() if k != chat}
    host = only(make.with_facts(inputs, models=models))
    assert host.drift == ("model chat is missing",)
    assert [pull.sha256 for pull in host.pulls] == [chat]
    assert actions(host) == {"llm": "restart"}


def test_a_truncated_model_comes_again() -> None:
    inputs = installed()
    models = {**inputs.facts.hosts["host1"].models, make.sha("model/chat/1.0"): 5}
    host = only(make.with_facts(inputs, models=models))
    assert host.drift == ("model chat has another size",)
    assert [pull.name for pull in host.pulls] == ["chat"]


def test_a_stopped_unit_is_started_in_the_same_generation() -> None:
    inputs = installed()
    units = {**inputs.facts.hosts["host1"].units, "bastide-llm.service": "failed"}
    host = only(make.with_facts(inputs, units=units))
    assert host.drift == ("unit bastide-llm.service is failed",)
    assert actions(host) == {"llm": "start"}
    assert host.generation_after == host.generation_before == 1
    assert not host.pulls
    assert not host.files


def test_a_unit_of_a_group_that_the_host_left_is_stopped() -> None:
    inputs = installed()
    units = {**inputs.facts.hosts["host1"].units, "bastide-old.service": "active"}
    assert actions(only(make.with_facts(inputs, units=units))) == {"old": "stop"}


def test_staged_artifacts_are_not_fetched_again() -> None:
    inputs = make.make_inputs()
    wheel = make.sha("wheel/uv/1.0")
    host = only(make.with_facts(inputs, artifacts={wheel: 20_000_000}))
    assert wheel not in {pull.sha256 for pull in host.pulls}
    host = only(make.with_facts(inputs, artifacts={wheel: 19}))
    assert wheel in {pull.sha256 for pull in host.pulls}, "an artifact of another size is not it"


def test_numbers_of_generations_are_never_used_twice() -> None:
    inputs = make.with_facts(installed(), generation_digest=make.sha("x"), newest_generation=7)
    assert only(inputs).generation_after == 8


def test_newer_os_packages_stay() -> None:
    inputs = make.with_facts(
        make.make_inputs(), packages={"haproxy": "2.8.1-1", "libgomp1": "12.2.0-13"}
    )
    packages = {each.name: (each.before, each.after) for each in only(inputs).packages}
    assert packages == {
        "libgomp1": ("12.2.0-13", "12.2.0-14"),
        "nftables": (None, "1.0.6-2"),
    }


def test_an_unknown_model_is_named_with_what_there_is() -> None:
    inputs = make.make_inputs()
    site = inputs.site.replace(models={"llm": "missing", "embeddings": "embed"})
    with pytest.raises(ConfigError, match=r"models\.llm is 'missing'.*chat, other-chat"):
        make_plan(dataclasses.replace(inputs, site=site))


def test_a_silent_host_cannot_be_planned_for() -> None:
    lost = UnreachableHost(reason="no route", kind="unreachable")
    inputs = dataclasses.replace(
        make.make_inputs(), facts=SiteFacts(hosts={}, unreachable={"host1": lost})
    )
    with pytest.raises(PreflightError) as caught:
        make_plan(inputs)
    assert caught.value.problems[0].what == "no route"


def test_catalogue_and_control_artifacts_never_travel_to_hosts() -> None:
    assert "bastide" not in {pull.name for pull in only(make.make_inputs()).pulls}


# --- staleness -------------------------------------------------------------------------------
def test_a_plan_is_not_stale_while_nothing_changed() -> None:
    inputs = make.make_inputs()
    later = dataclasses.replace(inputs, created="2027-01-01T00:00:00+00:00")
    assert is_stale(make_plan(inputs), make_plan(later)) == ()


def test_a_plan_holds_while_a_cut_off_run_had_done_part_of_it() -> None:
    inputs = make.make_inputs()
    plan = make_plan(inputs)
    half = {pull.sha256: pull.size for pull in plan.hosts[0].pulls[2:]}
    partly = make.with_facts(
        inputs,
        artifacts=half,
        newest_generation=1,
        packages={"nftables": "1.0.6-2", "haproxy": "2.6.12-1+deb12u3"},
    )
    assert is_stale(plan, make_plan(partly)) == ()


def test_a_plan_holds_after_it_was_carried_out() -> None:
    inputs = make.make_inputs()
    plan = make_plan(inputs)
    assert is_stale(plan, make_plan(make.applied(inputs, plan))) == ()


def test_a_plan_holds_if_an_interrupted_build_used_up_its_number() -> None:
    inputs = make.make_inputs()
    plan = make_plan(inputs)
    done = make.with_facts(make.applied(inputs, plan), generation=2, newest_generation=2)
    assert plan.hosts[0].generation_after == 1
    assert is_stale(plan, make_plan(done)) == ()


def test_what_makes_a_plan_stale() -> None:
    inputs = installed()
    plan = make_plan(inputs)
    files = {**inputs.facts.hosts["host1"].files, "etc/llm.json": make.sha("by hand")}
    cases = {
        "site.yaml has changed": dataclasses.replace(inputs, site_digest=make.sha("other")),
        "bundle is another": dataclasses.replace(inputs, bundle=make.sha("other")),
        "file etc/llm.json has another content": make.with_facts(inputs, files=files),
        "generation is 4 now, it was 1": make.with_facts(inputs, generation=4),
        "content changed": dataclasses.replace(
            inputs, trees={"host1": make.make_tree(SERVING, "x")}
        ),
        "unit bastide-llm.service does not run now": make.with_facts(inputs, units={}),
        "has to fetch": make.with_facts(inputs, models={}),
    }
    for expected, changed in cases.items():
        assert any(expected in reason for reason in is_stale(plan, make_plan(changed))), expected


def test_hosts_that_came_or_went_make_a_plan_stale() -> None:
    one = make_plan(make.make_inputs())
    two = make_plan(make.make_inputs(make.make_site({"host1": SERVING, "host2": (Group.LLM,)})))
    assert "host2: not in the plan" in is_stale(one, two)
    assert "host2: no longer in the site" in is_stale(two, one)


# --- stage description -----------------------------------------------------------------------
def test_stage_description_says_all_that_the_host_agent_needs() -> None:
    inputs = make.make_inputs()
    host = only(inputs)
    stage = stage_description(host, inputs)
    assert stage["depot"] == {"url": "https://10.0.0.1:8740"}
    assert stage["digest"] == host.generation_digest
    assert stage["generation"] == 1
    assert {blob["sha256"] for blob in stage["blobs"]} == {pull.sha256 for pull in host.pulls}
    assert stage["requirements"] == ["llama-cpp-python==1.0", "qdrant-edge-py==1.0"]
    assert stage["uv"]["sha256"] == make.sha("wheel/uv/1.0")
    assert stage["os_packages"] == ["haproxy=2.6.12-1+deb12u3", "libgomp1=12.2.0-14", "nftables=1.0.6-2"]  # fmt: skip  # noqa: E501
    assert {each["name"] for each in stage["models"]} == {"chat", "embed"}
    assert set(stage["units"]) == ALL_UNITS
    assert stage["restart"] == stage["stop"] == []


def test_stage_of_an_intact_host_still_names_every_blob_and_restarts_nothing() -> None:
    inputs = installed()
    stage = stage_description(only(inputs), inputs)
    assert len(stage["blobs"]) == 10
    assert stage["restart"] == []
    assert stage["contents"] == inputs.facts.hosts["host1"].contents


def test_ipv6_depot_address_is_bracketed() -> None:
    inputs = make.make_inputs(make.make_site(control_address="fd00::1"))
    assert stage_description(only(inputs), inputs)["depot"]["url"] == "https://[fd00::1]:8740"


def test_binaries_and_sources_are_part_of_the_digest() -> None:
    inputs = make.make_inputs()
    more = (*make.make_artifacts(), make.artifact("x", ArtifactKind.SOURCE, (Component.BASE,)))
    other = dataclasses.replace(inputs, manifest=make.make_manifest(more))
    assert only(inputs).generation_digest != only(other).generation_digest


def test_a_host_goes_back_to_a_generation_that_it_has_with_the_wanted_content() -> None:
    inputs = make.make_inputs()
    wanted = make_plan(inputs).hosts[0]
    back = make.with_facts(
        installed(),
        generation_digest=make.sha("other"),
        generation=5,
        newest_generation=5,
        generations={4: wanted.generation_digest, 5: make.sha("other")},
    )
    assert make_plan(back).hosts[0].generation_after == 4


def test_a_damaged_generation_is_not_gone_back_to() -> None:
    inputs = make.make_inputs()
    plan = make_plan(inputs)
    done = make.applied(inputs, plan)
    name, facts = next(iter(done.facts.hosts.items()))
    number = facts.generation or 0
    damaged = make.with_facts(
        done,
        files={**facts.files, "etc/strange": make.sha("x")},
        generations={number: plan.hosts[0].generation_digest},
    )
    assert name == "host1"
    assert make_plan(damaged).hosts[0].generation_after == number + 1


def test_hosts_that_share_are_told_as_whom_and_what_in_pieces() -> None:
    inputs = make.make_inputs(make.make_site({"a": SERVING, "b": (Group.LLM,)}))
    plans = make_plan(inputs).hosts
    host = next(each for each in plans if each.host == "b")
    (chat,) = (pull.sha256 for pull in host.pulls if pull.name == "chat")
    pieces = fan_out(plans, {chat: ("1" * 64,) * 24}, share=True)
    told = stage_description(host, inputs, Passage(fan_out=pieces))
    assert told["swarm"] == {"host": "b", "address": "10.0.0.12", "port": 8741}
    (model,) = (blob for blob in told["blobs"] if "pieces" in blob)
    assert model["sha256"] == chat
    assert len(model["pieces"]["sha256"]) == 24
    assert stage_description(host, inputs)["swarm"] == {}
