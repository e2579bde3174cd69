"""Recommendations fit, satisfy every wish, say why, and give a fragment that site.yaml takes."""

from __future__ import annotations

import pytest
import yaml
from a_site import a_site
from hypothesis import given, settings
from hypothesis import strategies as st

from bastide import resources
from bastide.advice.load import Load, pace
from bastide.advice.recommendation import Recommendation, recommend
from bastide.advice.selection import Wish, missing
from bastide.bundle.catalogue import Catalogue
from bastide.schema.model_card import LicenceClass, Task
from bastide.schema.site import Site
from bastide.sizing.fit import Room
from bastide.sizing.speed import Machine
from bastide.sizing.subject import from_card

CARDS = [entry.value for entry in Catalogue(resources.catalogue()).cards()]
BY_NAME = {card.name: card for card in CARDS}
MACHINE = Machine(bandwidth=40e9, flops=5e11)
GB = 10**9


def ask(
    task: Task = Task.CHAT,
    *,
    room: Room | None = None,
    users: int = 4,
    latency: float | None = None,
    wish: Wish | None = None,
    machine: Machine = MACHINE,
) -> Recommendation:
    load = Load(task, users, 4096, 500, 250, latency)
    return recommend(CARDS, wish or Wish(task=task), load, room or Room(ram=16 * GB), machine)


def site_with(fragment: str) -> Site:
    return a_site(**yaml.safe_load(fragment))


@given(ram=st.integers(1, 400), users=st.integers(1, 64))
@settings(max_examples=25)
def test_what_is_recommended_fits_and_every_model_is_accounted_for(ram: int, users: int) -> None:
    found = ask(room=Room(ram=ram * GB), users=users)
    assert all(choice.needed <= choice.available for choice in found.choices)
    told = len(found.choices) + len(found.fell_out) + found.other_tasks
    assert told == len(CARDS)
    assert all(each.reasons for each in found.fell_out)


def test_the_largest_that_fits_comes_first() -> None:
    found = ask(room=Room(ram=16 * GB))
    dense = [BY_NAME[choice.name] for choice in found.choices]
    sizes = [card.parameters for card in dense if card.active_parameters == "unknown"]
    assert sizes == sorted(sizes, key=lambda size: -int(size))
    assert ask(room=Room(ram=2 * GB)).choices[0].needed < 2 * GB


def test_wishes_bind() -> None:
    wish = Wish(task=Task.CHAT, language="de", licence_class=LicenceClass.PERMISSIVE)
    found = ask(wish=wish, room=Room(ram=64 * GB))
    assert found.choices
    assert not any(missing(BY_NAME[choice.name], wish) for choice in found.choices)
    reasons = {each.name: each.reasons for each in found.fell_out}
    assert any("is conditional, not permissive" in r for r in reasons["llama-3.1-8b-instruct"])


def test_too_slow_falls_out_with_the_time_it_would_take() -> None:
    found = ask(room=Room(ram=128 * GB), latency=5.0)
    assert all(c.seconds is not None and c.seconds <= 5 for c in found.choices)
    reasons = {each.name: each.reasons[0] for each in found.fell_out}
    assert reasons["llama-3.3-70b-instruct"].startswith("an answer takes ")
    assert reasons["llama-3.3-70b-instruct"].endswith("not 5 s")


def test_nothing_fits() -> None:
    found = ask(room=Room(ram=1000))
    assert found.choices == ()
    assert found.site is None
    assert all("are free" in each.reasons[0] for each in found.fell_out if len(each.reasons) == 1)


def test_gpus_hold_what_main_memory_does_not() -> None:
    found = ask(room=Room(vram=160 * GB, cards=1), machine=Machine(2e12, 1e14))
    assert found.choices[0].name in {"llama-3.3-70b-instruct", "qwen2.5-72b-instruct"}


@pytest.mark.parametrize("task", [Task.CHAT, Task.CODE, Task.VISION, Task.EMBEDDING])
def test_the_fragment_is_a_site(task: Task) -> None:
    found = ask(task, room=Room(ram=256 * GB), users=300)
    assert found.site is not None
    site = site_with(found.site)
    chosen = found.choices[0].name
    if task is Task.EMBEDDING:
        assert site.models.embeddings == chosen
        assert BY_NAME[site.models.llm].task is Task.CHAT
    else:
        assert site.models.llm == chosen
        assert site.sizes.llm.parallel == 256
        assert any("queue" in note for note in found.notes)


def test_a_reranker_has_no_place_in_site_yaml_and_that_is_said() -> None:
    found = ask(Task.RERANK, room=Room(ram=4 * GB))
    assert found.choices
    assert found.site is None
    assert any("no reranker" in note for note in found.notes)


def test_embeddings_go_by_their_published_average() -> None:
    wish = Wish(task=Task.EMBEDDING, language="en")
    names = [c.name for c in ask(Task.EMBEDDING, wish=wish).choices]
    assert names.index("bge-base-en-v1.5") < names.index("gte-base")
    assert names.index("gte-base") < names.index("all-minilm-l6-v2-q8_0")


def test_what_binds_or_is_not_pinned_is_minded() -> None:
    found = {c.name: c for c in ask(room=Room(ram=16 * GB)).choices}
    assert any("conditions bind" in note for note in found["llama-3.1-8b-instruct"].mind)
    assert any("pinned" in note for note in found["llama-3.1-8b-instruct"].mind)
    assert found["smollm2-135m-instruct-q4_1"].pinned
    assert found["smollm2-135m-instruct-q4_1"].format == "Q4_1", "its pinned file's"


@given(users=st.integers(1, 500))
def test_more_users_are_never_faster(users: int) -> None:
    subject = from_card(BY_NAME["mixtral-8x7b-instruct"], "Q4_K_M")
    one = pace(subject, MACHINE, Load(Task.CHAT, users, 4096, 500, 250))
    more = pace(subject, MACHINE, Load(Task.CHAT, users + 1, 4096, 500, 250))
    assert one.seconds is not None
    assert more.seconds is not None
    assert more.seconds >= one.seconds
    assert (more.tokens_per_second or 0) <= (one.tokens_per_second or 0)


def test_without_a_rate_of_reading_the_time_counts_writing_only() -> None:
    subject = from_card(BY_NAME["phi-4"], "Q4_K_M")
    blind = pace(subject, Machine(40e9), Load(Task.CHAT, 1, 4096, 500, 250))
    seeing = pace(subject, MACHINE, Load(Task.CHAT, 1, 4096, 500, 250))
    assert blind.seconds is not None
    assert seeing.seconds is not None
    assert blind.seconds < seeing.seconds
