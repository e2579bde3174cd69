"""What a plan promises beside files and packages, and that it tells no secret."""

from __future__ import annotations

import dataclasses
import json

import join_agent
import plan_factories as make
import pytest
from bastide_host import packages as agent_packages
from bastide_host import prepare
from bastide_host.host import Paths

from bastide.layout import HOST_SECRET_FILES
from bastide.plan import contract, places
from bastide.plan.inputs import Fingerprints, PlanInputs
from bastide.plan.planner import make_plan
from bastide.plan.stage import stage_description
from bastide.schema.artifact import Component
from bastide.schema.facts import Listener
from bastide.schema.plan import DataStep, HostPlan
from bastide.schema.site import Group

PAIR = {"a": (Group.LLM, Group.GATEWAY, Group.VECTORDB, Group.EMBEDDINGS), "b": (Group.LLM,)}


def only(inputs: PlanInputs) -> HostPlan:
    (host,) = make_plan(inputs).hosts
    return host


def installed(inputs: PlanInputs | None = None) -> PlanInputs:
    inputs = inputs or make.make_inputs()
    return make.applied(inputs, make_plan(inputs))


def retuned(inputs: PlanInputs, path: str = "etc/llm.json") -> PlanInputs:
    """Return the inputs with one more file of the tree changed."""
    tree = inputs.trees["host1"]
    files = {**tree.files, path: make.sha("other")}
    changed = dataclasses.replace(tree, sha256=make.sha("tree"), files=files)
    return dataclasses.replace(inputs, trees={**inputs.trees, "host1": changed})


# --- accounts and ports ----------------------------------------------------------------------
def test_a_first_install_makes_accounts_and_opens_ports() -> None:
    host = only(make.make_inputs())
    assert [user.name for user in host.users] == [
        "bastide-embeddings", "bastide-gateway", "bastide-llm", "bastide-vectordb", "haproxy",
    ]  # fmt: skip
    assert {(each.address, each.port) for each in host.ports} == {
        ("127.0.0.1", 8081), ("127.0.0.1", 8082), ("127.0.0.1", 6333), ("127.0.0.1", 8404),
        ("10.0.0.11", 8443),
    }  # fmt: skip


def test_a_moved_port_closes_and_opens() -> None:
    inputs = installed()
    site = make.make_site(llm_port=9000)
    host = only(retuned(dataclasses.replace(inputs, site=site)))
    assert [(each.port, each.action) for each in host.ports] == [(8081, "close"), (9000, "open")]


def test_ports_of_a_unit_that_stays_are_no_change() -> None:
    ssh = Listener(port=22, address="0.0.0.0", unit="ssh.service", process="sshd")
    inputs = make.with_facts(installed(), listeners=(ssh,))
    assert only(inputs).ports == ()


def test_an_account_that_went_is_drift_and_comes_again() -> None:
    host = only(make.with_facts(installed(), users=("root", "bastide-llm", "haproxy")))
    assert "user bastide-gateway is missing" in host.drift
    assert "bastide-gateway" in {user.name for user in host.users}


def test_models_by_name() -> None:
    host = only(make.make_inputs())
    assert {(m.name, m.before, m.after) for m in host.models} == {
        ("chat", None, make.sha("model/chat/1.0")),
        ("embed", None, make.sha("model/embed/1.0")),
    }
    assert only(retuned(installed())).models == ()


# --- interruption ----------------------------------------------------------------------------
def test_only_what_restarts_is_interrupted() -> None:
    assert only(make.make_inputs()).interruption == {}
    assert only(retuned(installed())).interruption == {Component.LLM: 30}
    assert only(retuned(installed(), "etc/haproxy.cfg")).interruption == {Component.GATEWAY: 5}


def test_a_replica_answers_meanwhile() -> None:
    inputs = installed(make.make_inputs(make.make_site(PAIR)))
    for name in PAIR:
        inputs = make.with_facts(inputs, name, contents={}, generation_digest=make.sha("older"))
    hosts = {host.host: host for host in make_plan(inputs).hosts}
    first, second = hosts["a"], hosts["b"]
    assert first.interruption[Component.LLM] == second.interruption[Component.LLM] == 0
    assert first.interruption[Component.EMBEDDINGS] == 20, "only this host serves it"
    assert first.interruption[Component.GATEWAY] == 5


def test_no_replica_stands_in_while_services_begin_to_speak_tls() -> None:
    inputs = installed(make.make_inputs(make.make_site(PAIR)))
    for name in PAIR:
        inputs = make.with_facts(inputs, name, contents={}, generation_digest=make.sha("older"))
    own = {name: {"service_pem": ""} for name in PAIR}
    begins = Fingerprints("salt", inputs.secrets.by_name, own)
    hosts = make_plan(dataclasses.replace(inputs, secrets=begins)).hosts
    assert {host.interruption[Component.LLM] for host in hosts} == {30}


def test_data_steps_take_room() -> None:
    host = only(make.make_inputs())
    step = DataStep(kind="snapshot", what="a copy", bytes=500)
    more = contract.with_data(host, (step,))
    assert more.disk_needed["/var/lib"] == host.disk_needed["/var/lib"] + 500
    assert more.data == (step,)


# --- secrets ---------------------------------------------------------------------------------
def test_secrets_are_planned_by_group() -> None:
    inputs = make.make_inputs(
        make.make_site(
            {"big": (Group.LLM, Group.EMBEDDINGS), "small": (Group.VECTORDB, Group.GATEWAY)}
        )
    )
    big, small = make_plan(inputs).hosts
    assert [each.path for each in big.secrets] == ["/etc/bastide/ca.pem"]
    assert len(small.secrets) == len(make.SHARED_SECRETS)
    assert {each.action for each in small.secrets} == {"create"}


def test_a_rotated_secret_restarts_who_reads_it_and_nobody_else() -> None:
    inputs = installed()
    rotated = {**inputs.secrets.by_name, "api_key": "0123456789abcdef"}
    host = only(dataclasses.replace(inputs, secrets=Fingerprints("salt", rotated)))
    assert [(each.path, each.action) for each in host.secrets] == [
        ("/etc/bastide/secrets/api_key", "update")
    ]
    assert [(unit.name, unit.action) for unit in host.units] == [
        ("bastide-vectordb.service", "restart")
    ]
    assert host.generation_after == host.generation_before
    assert host.changes == 2


def test_a_certificate_that_will_be_made_anew_has_no_fingerprint_yet() -> None:
    inputs = installed()
    renewed = {**inputs.secrets.by_name, "gateway_pem": ""}
    host = only(dataclasses.replace(inputs, secrets=Fingerprints("salt", renewed)))
    assert [(each.path, each.fingerprint) for each in host.secrets] == [
        ("/etc/bastide/secrets/gateway.pem", "")
    ]
    assert [unit.name for unit in host.units] == ["bastide-gateway.service"]
    assert host.interruption == {}, "it reloads, which closes no connection"


def test_another_machines_ca_restarts_who_reads_it_when_it_starts() -> None:
    site = make.make_site(
        {
            "svc": (Group.LLM, Group.EMBEDDINGS, Group.VECTORDB),
            "gate": (Group.GATEWAY,),
        }
    )
    site = site.replace(certificates=site.certificates.replace(mutual_tls=True))
    inputs = installed(make.make_inputs(site))
    rolled = {host: {"machines_ca_pem": "0123456789abcdef"} for host in site.hosts}
    secrets = dataclasses.replace(inputs.secrets, by_host=rolled)
    plan = make_plan(dataclasses.replace(inputs, secrets=secrets))
    units = {each.host: {unit.name for unit in each.units} for each in plan.hosts}
    serving = {f"bastide-{name}.service" for name in ("llm", "embeddings", "vectordb")}
    assert units == {"svc": serving, "gate": {"bastide-gateway.service"}}


def test_a_certificate_that_is_yet_to_be_made_is_planned_as_well() -> None:
    inputs = installed()
    coming = Fingerprints("salt", inputs.secrets.by_name, {"host1": {"agent_pem": ""}})
    host = only(dataclasses.replace(inputs, secrets=coming))
    assert [(each.path, each.action, each.fingerprint) for each in host.secrets] == [
        ("/etc/bastide/secrets/agent.pem", "create", "")
    ]


def test_without_a_salt_nothing_is_said_of_secrets() -> None:
    silent = dataclasses.replace(make.make_inputs(), secrets=Fingerprints())
    assert only(silent).secrets == ()


def test_both_sides_name_the_same_secret_files() -> None:
    agents = {name: (path, groups) for name, path, _mode, groups in prepare.SECRET_FILES}
    ours = {name: (str(path), groups) for name, (path, groups) in HOST_SECRET_FILES.items()}
    assert agents == ours


def test_a_unit_that_runs_with_older_files_restarts() -> None:
    host = only(make.with_facts(installed(), outdated=("bastide-llm.service",)))
    assert [(unit.name, unit.action) for unit in host.units] == [("bastide-llm.service", "restart")]
    assert host.drift == ("unit bastide-llm.service runs with older files or programs",)
    assert host.generation_after == host.generation_before


# --- places outside generations --------------------------------------------------------------
def test_both_sides_name_the_same_folders_and_apt_source(tmp_path: object) -> None:
    assert dict(places.FOLDERS) == {name: f"{mode:04o}" for name, mode in prepare.FOLDERS}
    paths = Paths(tmp_path)  # type: ignore[arg-type]
    paths.at("/etc/apt/sources.list.d").mkdir(parents=True)
    agent_packages._apt_source(paths)
    written = paths.at(places.APT_SOURCE).read_text().replace(str(paths.root), "")
    assert written == places.APT_SOURCE_TEXT


def test_an_intact_host_needs_nothing_outside() -> None:
    assert only(installed()).paths == ()
    assert only(installed()).drift == ()


@pytest.mark.parametrize(
    ("path", "state", "words"),
    [
        (places.AGENT, make.sha("older"), "the host agent) is not as it should be"),
        ("/etc/bastide/secrets", "folder 0755", "is not as it should be"),
        (f"{places.WANTS}/bastide-llm.service", None, "starts at boot) is missing"),
        (f"{places.UNITS}/bastide-x.service", "link x", "is left over"),
        ("/etc/apt/sources.list", places.INTERNET_SOURCE, "names packages on the internet"),
    ],
)
def test_what_is_wrong_outside_is_drift_and_in_the_plan(
    path: str, state: str | None, words: str
) -> None:
    inputs = installed()
    held = dict(inputs.facts.hosts["host1"].places)
    held.pop(path, None)
    host = only(make.with_facts(inputs, places={**held, **({path: state} if state else {})}))
    assert any(words in each for each in host.drift)
    assert path in {change.path for change in host.paths}
    assert host.changes


def test_the_host_is_told_what_should_be_where() -> None:
    inputs = installed()
    told = stage_description(only(inputs), inputs)["places"]
    assert told["/etc/bastide/secrets"] == "folder 0700"
    assert places.AGENT not in told
    assert all(told.values())


# --- the plan itself -------------------------------------------------------------------------
def test_the_site_view_names_every_key_and_no_secret() -> None:
    view = contract.site_view(make.make_site())
    assert view["sizes.queue_seconds"] == "30"
    assert view["hosts.host1.groups"] == "llm, embeddings, vectordb, gateway"
    assert make_plan(make.make_inputs()).site_view == view


def test_the_agent_has_all_modules() -> None:
    program = join_agent.join()
    assert json.dumps("bastide_host.inventory").strip('"') in program
    assert "bastide_host.places" in program
