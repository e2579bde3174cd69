"""Which plan is carried out: what is left of the approved one, or none."""

import pytest

from bastide.errors import PreflightError
from bastide.run.settle import settle, what_is_left
from bastide.schema.plan import HostPlan, PackageChange, Plan

SHA = "a" * 64


def make_plan(*packages: str, site_digest: str = SHA, created: str = "then") -> Plan:
    changes = tuple(PackageChange(name=name, before=None, after="1") for name in packages)
    host = HostPlan(
        host="host1",
        address="10.0.0.2",
        groups=(),
        generation_before=1,
        generation_after=2,
        generation_digest=SHA,
        tree_sha256=SHA,
        packages=changes,
    )
    return Plan(
        site="try",
        release="starter-2026.11.0",
        bundle=SHA,
        site_digest=site_digest,
        facts_digest=SHA,
        created=created,
        hosts=(host,),
    )


def refuse(_plan: Plan) -> bool:
    raise AssertionError("nobody should be asked")


def test_the_fresh_form_of_an_approved_plan_is_carried_out() -> None:
    approved, fresh = make_plan("a", "b"), make_plan("b", created="now")
    assert settle(approved, fresh, refuse) is fresh
    assert what_is_left(approved, fresh) == "1 of this plan's 2 changes are left to do"
    assert "done already" in what_is_left(approved, make_plan())
    assert what_is_left(approved, approved) == ""


def test_a_stale_plan_is_refused_with_what_changed() -> None:
    with pytest.raises(PreflightError) as caught:
        settle(make_plan("a"), make_plan("a", site_digest="b" * 64), refuse)
    assert caught.value.code == "BAS-5065"
    assert caught.value.exit_code == 5
    assert "site.yaml has changed" in str(caught.value)


def test_without_a_plan_somebody_is_asked() -> None:
    fresh = make_plan("a")
    assert settle(None, fresh, lambda plan: plan is fresh) is fresh
    with pytest.raises(PreflightError) as caught:
        settle(None, fresh, lambda _: False)
    assert caught.value.code == "BAS-5066"
