from __future__ import annotations

import pytest

from bastide.errors import ConfigError
from bastide.schema.site import Group, ModelChoices, Ssh
from bastide.site.proposal import Answers, parse_host, propose_site


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a=10.0.0.1", ("a", "10.0.0.1", ())),
        ("a=10.0.0.1:llm,gateway", ("a", "10.0.0.1", (Group.LLM, Group.GATEWAY))),
        ("a=fd00::1", ("a", "fd00::1", ())),
        ("a=[fd00::1]:llm", ("a", "fd00::1", (Group.LLM,))),
        ("a=fd00::1:llm", ("a", "fd00::1", (Group.LLM,))),
    ],
)
def test_host_options(text: str, expected: tuple[str, str, tuple[Group, ...]]) -> None:
    assert parse_host(text) == expected


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a", "expected name=address"),
        ("=10.0.0.1", "expected name=address"),
        ("a=", "expected name=address"),
        ("a=gpu.example", "'gpu.example' is not an IP address"),
        ("a=10.0.0.300:llm", "'10.0.0.300' is not an IP address"),
        ("a=10.0.0.1:lmm", "no group 'lmm'; did you mean 'llm'?"),
        ("a=10.0.0.1:", "no group ''"),
    ],
)
def test_wrong_host_options(text: str, words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_host(text)
    assert words in str(caught.value)
    assert caught.value.code == "BAS-2022"


def answers(hosts: dict[str, tuple[str, tuple[Group, ...]]], name: str = "plant") -> Answers:
    return Answers(
        name=name,
        release="starter",
        target="debian12-x86_64",
        hosts=hosts,
        control_address="10.0.0.1",
        ssh=Ssh(private_key="k", known_hosts="h"),
        models=ModelChoices(llm="chat", embeddings="embed"),
        gateway_name="bastide.internal",
    )


def test_without_groups_the_first_host_does_everything() -> None:
    site = propose_site(answers({"a": ("10.0.0.2", ()), "b": ("10.0.0.3", ())}))
    assert site.hosts["a"].groups == tuple(Group)
    assert site.hosts["b"].groups == (Group.LLM, Group.EMBEDDINGS)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (answers({"a": ("10.0.0.2", (Group.LLM,))}), "no host is in group"),
        (answers({"a": ("10.0.0.2", ())}, name="Not A Name"), "should match pattern"),
        (answers({"a": ("10.0.0.2", ()), "b": ("10.0.0.2", ())}), "more than one host"),
    ],
)
def test_answers_that_make_no_site(given: Answers, words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        propose_site(given)
    assert words in caught.value.problems[0].what
