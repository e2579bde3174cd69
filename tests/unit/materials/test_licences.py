from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from license_expression import get_spdx_licensing

from bastide.errors import TrustError
from bastide.schema.artifact import ArtifactKind
from bastide.schema.policy import Decision, LicenceFamily, LicencePolicy, LicenceRule
from bastide.trust.acceptance import Acceptance
from bastide.trust.licences import LicenceGate, Subject, load_policy
from bastide.trust.spdx import AllOf, AnyOf, OneLicence, spdx_expression, understand

NOW = datetime(2026, 11, 22, tzinfo=UTC)
MODEL, WHEEL, DEB = ArtifactKind.MODEL, ArtifactKind.WHEEL, ArtifactKind.OS_PACKAGE


def accepted(licence: str) -> Acceptance:
    return Acceptance(licence=licence, by="M. Ortiz", reason="evaluation", at=NOW)


def decide(
    licence: str,
    use: ArtifactKind = MODEL,
    *acceptances: Acceptance,
    policy: LicencePolicy | None = None,
) -> Decision:
    gate = LicenceGate(policy or load_policy(), acceptances)
    return gate.judge(Subject("x", use, licence)).decision


@pytest.mark.parametrize(
    ("label", "spdx"),
    [
        ("MIT", "MIT"),
        ("mit", "MIT"),
        ("Expat", "MIT"),
        ("GPL-2", "GPL-2.0-only"),
        ("GPL-2+", "GPL-2.0-or-later"),
        ("LGPL-2.1+", "LGPL-2.1-or-later"),
        ("BSD-2-clause AND Expat", "BSD-2-Clause AND MIT"),
        ("MPL-2.0 AND (Apache-2.0 OR MIT)", "MPL-2.0 AND (Apache-2.0 OR MIT)"),
        ("GPL-2.0-only WITH Classpath-exception-2.0", "GPL-2.0-only WITH Classpath-exception-2.0"),
        ("3-Clause BSD License", "BSD-3-Clause"),
        ("BSD License", None),
        ("Gemma", None),
        ("MIT AND Gemma", None),
        ("GPL-3 by reference", None),
        ("unknown", None),
        ("", None),
        ("(", None),
    ],
)
def test_spdx_of_a_label(label: str, spdx: str | None) -> None:
    assert spdx_expression(label) == spdx


def test_families() -> None:
    def family(label: str) -> LicenceFamily:
        one = understand(label)
        assert isinstance(one, OneLicence)
        return one.family

    assert family("Apache-2.0") is LicenceFamily.PERMISSIVE
    assert family("LGPL-3+") is LicenceFamily.WEAK_COPYLEFT
    assert family("AGPL-3.0-only") is LicenceFamily.STRONG_COPYLEFT
    assert family("GPL-2+ with OpenSSL exception") is LicenceFamily.STRONG_COPYLEFT
    assert family("GPL-3 by reference") is LicenceFamily.STRONG_COPYLEFT
    assert family("CC-BY-NC-4.0") is LicenceFamily.RESTRICTED
    assert family("public-domain") is LicenceFamily.PUBLIC_DOMAIN
    assert family("My Own Licence") is LicenceFamily.UNKNOWN


def test_structure() -> None:
    assert isinstance(understand("MIT AND (BSD-3-Clause OR Gemma)"), AllOf)
    assert isinstance(understand("MIT OR Gemma"), AnyOf)


@given(
    st.text(max_size=80)
    | st.lists(st.sampled_from(["MIT", "AND", "OR", "WITH", "(", ")", "x y", ""])).map(" ".join)
)
@example("(AND'AND'")  # the parser's own assertion
def test_any_label_is_understood(label: str) -> None:
    expression = spdx_expression(label)
    if expression is not None:
        get_spdx_licensing().parse(expression, validate=True, strict=True)
    assert decide(label) in Decision


# --- the policy that ships --------------------------------------------------------------------
@pytest.mark.parametrize(
    ("licence", "use", "expected"),
    [
        ("Apache-2.0", MODEL, Decision.ALLOW),
        ("GPL-2+ AND LGPL-2.1 AND Expat", DEB, Decision.ALLOW),
        ("GPL-3.0-or-later", WHEEL, Decision.ALLOW),
        ("GPL-3.0-or-later", MODEL, Decision.ASK),
        ("Gemma", MODEL, Decision.ASK),
        ("MIT AND Gemma", MODEL, Decision.ASK),
        ("MIT OR Gemma", MODEL, Decision.ALLOW),
        ("CC-BY-NC-4.0", MODEL, Decision.ASK),
        ("unknown", WHEEL, Decision.ASK),
        ("", WHEEL, Decision.ASK),
    ],
)
def test_shipped_policy(licence: str, use: ArtifactKind, expected: Decision) -> None:
    assert decide(licence, use) is expected


def test_gemma_is_refused_until_somebody_accepts() -> None:
    subject = Subject("model gemma (gemma.gguf)", MODEL, "Gemma", "gemma.yaml: licence")
    with pytest.raises(TrustError) as caught:
        LicenceGate(load_policy()).require([subject])
    assert caught.value.code == "BAS-4053"
    (problem,) = caught.value.problems
    assert problem.code == "BAS-4053"
    assert "declared in gemma.yaml: licence" in problem.what
    assert "Gemma Terms of Use" in problem.what
    assert "'Gemma'" in problem.hint
    gate = LicenceGate(load_policy(), (accepted("Gemma"),))
    gate.require([subject])
    verdict = gate.judge(subject)
    assert verdict.reasons[0].acceptance == accepted("Gemma")
    LicenceGate(load_policy(), (accepted("Gemma"),)).require([subject])
    with pytest.raises(TrustError):
        LicenceGate(load_policy(), (accepted("Llama"),)).require([subject])


# --- any policy ------------------------------------------------------------------------------
POLICY = LicencePolicy(
    name="strict",
    rules=(
        LicenceRule(licences=("GPL-3.0-only",), decision=Decision.DENY, because="counsel said so"),
        LicenceRule(
            licences=("permissive",), uses=(WHEEL,), decision=Decision.ALLOW, because="fine"
        ),
        LicenceRule(licences=("Gemma",), uses=(MODEL,), decision=Decision.DENY, because="never"),
    ),
    otherwise=Decision.ASK,
)


def test_denied_is_not_to_be_accepted_away() -> None:
    assert decide("Gemma", MODEL, accepted("Gemma"), policy=POLICY) is Decision.DENY
    subject = Subject("m", MODEL, "Gemma")
    with pytest.raises(TrustError) as caught:
        LicenceGate(POLICY, (accepted("Gemma"),)).require([subject, Subject("w", WHEEL, "x")])
    assert caught.value.code == "BAS-4052"
    assert [problem.code for problem in caught.value.problems] == ["BAS-4052", "BAS-4053"]


def test_the_first_fitting_rule_decides_and_uses_matter() -> None:
    assert decide("MIT", WHEEL, policy=POLICY) is Decision.ALLOW
    assert decide("MIT", MODEL, policy=POLICY) is Decision.ASK
    assert decide("GPL-3.0-only", WHEEL, policy=POLICY) is Decision.DENY
    assert decide("GPL-3.0-only WITH GCC-exception-3.1", WHEEL, policy=POLICY) is Decision.DENY
    assert decide("GPL-3.0-or-later", WHEEL, policy=POLICY) is Decision.ASK


def test_all_bind_or_one_may_be_chosen() -> None:
    assert decide("MIT AND GPL-3.0-only", WHEEL, policy=POLICY) is Decision.DENY
    assert decide("MIT OR GPL-3.0-only", WHEEL, policy=POLICY) is Decision.ALLOW
    assert decide("Gemma OR GPL-3.0-only", WHEEL, policy=POLICY) is Decision.ASK


def test_the_expression_as_a_whole_can_be_accepted() -> None:
    assert decide("MIT AND X", MODEL, accepted("MIT AND X"), policy=POLICY) is Decision.ALLOW
    assert decide("MIT AND X", MODEL, accepted("X"), policy=POLICY) is Decision.ASK


def test_a_wrong_policy_is_refused_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "licences.yaml"
    path.write_text(
        "name: mine\nrules:\n  - licences: [MIT]\n    decision: perhaps\n    because: x\n"
    )
    with pytest.raises(TrustError) as caught:
        load_policy(path)
    assert caught.value.code == "BAS-4054"
    assert "licences.yaml:4" in caught.value.problems[0].where
    with pytest.raises(TrustError):
        load_policy(tmp_path / "none.yaml")
