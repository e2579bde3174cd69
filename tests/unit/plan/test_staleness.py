"""A refusal names exactly what is different."""

from __future__ import annotations

import dataclasses

import plan_factories as make
import pytest

from bastide.plan.inputs import Fingerprints, PlanInputs
from bastide.plan.places import AGENT
from bastide.plan.planner import make_plan
from bastide.plan.staleness import is_stale
from bastide.schema.site import SERVING, Group


def installed() -> PlanInputs:
    inputs = make.make_inputs()
    return make.applied(inputs, make_plan(inputs))


def upgraded() -> PlanInputs:
    """Return an installed host for which a newer haproxy and another tree are wanted."""
    artifacts = tuple(
        make.artifact(a.name, a.kind, a.components, "2.6.12-1+deb12u9", a.size)
        if a.name == "haproxy" else a
        for a in make.make_artifacts()
    )  # fmt: skip
    return dataclasses.replace(
        installed(),
        manifest=make.make_manifest(artifacts),
        trees={"host1": make.make_tree(SERVING, "new")},
    )


def facts(inputs: PlanInputs, name: str) -> dict[str, str]:
    return dict(getattr(inputs.facts.hosts["host1"], name))


def described(inputs: PlanInputs, **sizes: int) -> PlanInputs:
    site = inputs.site.replace(sizes=inputs.site.sizes.replace(**sizes))
    return dataclasses.replace(inputs, site=site, site_digest=site.digest())


def by_hand(inputs: PlanInputs, path: str, content: str | None) -> PlanInputs:
    files = {**facts(inputs, "files"), path: make.sha(content or "")}
    if content is None:
        del files[path]
    return make.with_facts(inputs, files=files)


def other_package(inputs: PlanInputs, version: str) -> PlanInputs:
    return make.with_facts(inputs, packages={**facts(inputs, "packages"), "haproxy": version})


def other_unit(inputs: PlanInputs, unit: str, state: str) -> PlanInputs:
    return make.with_facts(inputs, units={**facts(inputs, "units"), unit: state})


def other_secret(inputs: PlanInputs) -> PlanInputs:
    return make.with_facts(inputs, secrets={**facts(inputs, "secrets"), "/etc/bastide/ca.pem": "x"})


CASES = [
    (
        installed(),
        lambda i: described(i, queue_seconds=33),
        "site.yaml has changed: sizes.queue_seconds is 33, it was 30 when planned",
    ),
    (
        installed(),
        lambda i: dataclasses.replace(i, bundle=make.sha("other")),
        f" when planned, starter-2026.11.0 ({make.sha('other')[:12]}) now",
    ),
    (
        installed(),
        lambda i: by_hand(i, "etc/llm.json", "by hand"),
        "host1: file etc/llm.json has another content; it was as wanted when planned",
    ),
    (
        installed(),
        lambda i: by_hand(i, "etc/llm.json", None),
        "host1: file etc/llm.json is missing; it was as wanted when planned",
    ),
    (
        upgraded(),
        lambda i: other_package(i, "2.6.12-1+deb12u1"),
        "host1: package haproxy is 2.6.12-1+deb12u1 now, it was 2.6.12-1+deb12u3 when planned",
    ),
    (
        installed(),
        lambda i: other_package(i, "2.0"),
        "host1: package haproxy is 2.0 now, it was the wanted version or a newer one",
    ),
    (
        installed(),
        lambda i: other_unit(i, "bastide-llm.service", "failed"),
        "host1: unit bastide-llm.service does not run now, it was active when planned",
    ),
    (
        installed(),
        lambda i: make.with_facts(i, generation=4),
        "host1: its generation is 4 now, it was 1 when planned",
    ),
    (
        installed(),
        lambda i: make.with_facts(i, models={}),
        "host1: it has to fetch chat (chat-1.0.gguf), which it had when planned",
    ),
    (
        installed(),
        lambda i: make.with_facts(i, users=("root",)),
        "host1: user bastide-llm is missing now, it was there when planned",
    ),
    (
        installed(),
        other_secret,
        "host1: secret /etc/bastide/ca.pem is not up to date now, it was when planned",
    ),
    (
        installed(),
        lambda i: dataclasses.replace(i, agent=make.sha("newer")),
        f"host1: {AGENT} would be written now (the host agent), it would not when planned",
    ),
    (
        installed(),
        lambda i: dataclasses.replace(i, trees={"host1": make.make_tree(SERVING, "x")}),
        "; Bastide itself is probably another version",
    ),
]


@pytest.mark.parametrize(("before", "happens", "words"), CASES, ids=[c[2][:60] for c in CASES])
def test_a_refusal_says_what_changed(before: PlanInputs, happens: object, words: str) -> None:
    assert callable(happens)
    reasons = is_stale(make_plan(before), make_plan(happens(before)))
    assert any(reason.endswith(words) for reason in reasons), reasons


def test_a_secret_rotated_since_the_plan_makes_it_stale() -> None:
    inputs = make.make_inputs()
    rotated = {**inputs.secrets.by_name, "api_key": "f" * 16}
    later = dataclasses.replace(inputs, secrets=Fingerprints("salt", rotated))
    assert is_stale(make_plan(inputs), make_plan(later)) == (
        "host1: secret /etc/bastide/secrets/api_key is another one now than when planned",
    )


def test_a_certificate_made_anew_by_the_apply_was_planned() -> None:
    inputs = installed()
    coming = {**inputs.secrets.by_name, "gateway_pem": ""}
    made = {**inputs.secrets.by_name, "gateway_pem": "e" * 16}
    plan = make_plan(dataclasses.replace(inputs, secrets=Fingerprints("salt", coming)))
    fresh = make_plan(dataclasses.replace(inputs, secrets=Fingerprints("salt", made)))
    assert is_stale(plan, fresh) == ()


def test_many_changed_keys_are_cut_short() -> None:
    inputs = make.make_inputs()
    hosts = {f"host{n}": (Group.LLM,) for n in range(2, 9)}
    site = make.make_site({"host1": SERVING, **hosts})
    reasons = is_stale(make_plan(inputs), make_plan(make.make_inputs(site)))
    told = [reason for reason in reasons if reason.startswith("site.yaml")]
    assert len(told) == 9
    assert told[-1] == "site.yaml has changed: 6 more keys"
