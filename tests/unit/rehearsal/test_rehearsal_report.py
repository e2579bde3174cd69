"""What was measured, what the plans say, and the report of it."""

from __future__ import annotations

import html.parser
from pathlib import Path

import pytest
from a_site import a_site
from hypothesis import given
from hypothesis import strategies as st

from bastide.errors import ConfigError
from bastide.rehearsal.comparison import compare, expected_interruption, require_same_goal
from bastide.rehearsal.control import read_answer
from bastide.rehearsal.disk import Watch, look, used
from bastide.rehearsal.honesty import differences
from bastide.rehearsal.machine import memory
from bastide.rehearsal.measure import Sample, services
from bastide.render.rehearsal_page import html as page
from bastide.schema.artifact import Component
from bastide.schema.plan import FileChange, HostPlan, Plan, Pull
from bastide.schema.rehearsal import (
    DiskUse,
    Failure,
    GateSeen,
    HostPair,
    HostWork,
    Machine,
    Rehearsal,
    RehearsedStep,
    Service,
)
from bastide.schema.site import SERVING, Site

ALPHA = {"alpha": ("10.0.0.11", SERVING)}
SHA = "a" * 64
EXPECTED = {Component.LLM: 5, Component.VECTORDB: 2}


def every(seconds: float, service: str, status: int, begin: float, end: float) -> list[Sample]:
    count = int((end - begin) / seconds)
    return [Sample(service, begin + n * seconds, 0.05, status) for n in range(count)]


# --- measuring -------------------------------------------------------------------------------
def test_no_interruption_is_none() -> None:
    (seen,) = services(every(0.25, "chat", 200, 0, 20), 0, 20, EXPECTED)
    assert (seen.failed, seen.refused, seen.rejected) == (0, 0, 0)
    assert seen.silence < 0.3
    assert not seen.longer


def test_an_outage_is_measured_from_answer_to_answer() -> None:
    samples = every(0.25, "chat", 200, 0, 10) + every(0.25, "chat", 0, 10, 18)
    (seen,) = services([*samples, *every(0.25, "chat", 200, 18, 30)], 0, 30, EXPECTED)
    assert seen.silence == pytest.approx(8.0, abs=0.3)
    assert seen.failed == 32
    assert seen.longer  # the plan says 5 s


def test_a_request_that_was_held_has_waited() -> None:
    held = Sample("chat", 10.0, 6.0, 200)
    samples = [*every(0.25, "chat", 200, 0, 10), held, *every(0.25, "chat", 200, 16, 30)]
    (seen,) = services(samples, 0, 30, EXPECTED)
    assert seen.failed == 0
    assert seen.silence == pytest.approx(6.0, abs=0.3)
    assert seen.slowest == 6.0


def test_refusals_and_rejections_are_told_apart() -> None:
    samples = [Sample("vector write", n, 0.1, s) for n, s in enumerate((200, 503, 429, 404, 502))]
    (seen,) = services(samples, 0, 9, EXPECTED)
    assert (seen.refused, seen.rejected, seen.failed) == (2, 1, 1)
    assert seen.expected is None  # refused on purpose: the plan has no figure for writes


def test_a_gateway_that_says_unwell_is_there_itself() -> None:
    (seen,) = services(every(0.25, "health", 503, 0, 10), 0, 10, {Component.GATEWAY: 5})
    assert (seen.failed, seen.refused) == (0, 40)
    assert seen.silence < 0.5


def test_a_service_that_never_answers_is_silent_all_the_time() -> None:
    (seen,) = services(every(0.25, "chat", 0, 0, 10), 0, 10, {})
    assert seen.silence == 10


@given(
    st.lists(
        st.tuples(st.floats(0, 100), st.floats(0, 30), st.sampled_from([0, 200, 404, 429, 503])),
        max_size=60,
    )
)
def test_counts_add_up_and_silence_is_within_the_step(
    raw: list[tuple[float, float, int]],
) -> None:
    seen = services([Sample("chat", *each) for each in raw], 0, 100, EXPECTED)
    for each in seen:
        good = each.answers.get("200", 0)
        assert good + each.failed + each.refused + each.rejected == each.asked == len(raw)
        assert 0 <= each.silence <= 131


def test_samples_of_another_step_do_not_count() -> None:
    assert services(every(1, "chat", 0, 0, 10), 20, 30, {}) == ()


# --- disk ------------------------------------------------------------------------------------
def test_disk_counts_a_file_with_two_names_once(tmp_path: Path) -> None:

    (tmp_path / "opt").mkdir()
    (tmp_path / "opt" / "a").write_bytes(b"x" * 50_000)
    alone = used(tmp_path / "opt")
    (tmp_path / "opt" / "b").hardlink_to(tmp_path / "opt" / "a")
    assert used(tmp_path / "opt") == alone >= 50_000
    assert used(tmp_path / "nothing") == 0


def test_disk_peak_is_seen(tmp_path: Path) -> None:

    (tmp_path / "opt").mkdir()
    watch = Watch({"host1": tmp_path})
    with watch.watching():
        (tmp_path / "opt" / "a").write_bytes(b"x" * 50_000)
    uses = {use.path: use for use in watch.uses({})}
    assert uses["/opt"].after - uses["/opt"].before >= 50_000
    assert uses["/opt"].peak == uses["/opt"].after
    assert uses["/opt"].planned is None
    assert look({"host1": tmp_path})["host1", "/etc"] == 0


# --- plans -----------------------------------------------------------------------------------
def make_plan(*pulls: str, site: Site | None = None, **host: object) -> Plan:
    pulled = tuple(
        Pull(name=name, filename=name, sha256=SHA, size=1000, destination=f"/x/{name}")
        for name in pulls
    )
    only = HostPlan(
        host="alpha",
        address="10.0.0.11",
        groups=SERVING,
        generation_before=1,
        generation_after=2,
        generation_digest=SHA,
        tree_sha256=SHA,
        pulls=pulled,
        files=(FileChange(path="etc/llm.json", action="update", sha256=SHA),),
    ).replace(**host)
    return Plan(
        site="plant",
        release="starter-2026.12.0",
        bundle=SHA,
        site_digest=site.digest() if site else SHA,
        facts_digest=SHA,
        created="now",
        hosts=(only,),
    )


def test_same_work_has_no_notes() -> None:
    lab = make_plan("model", address="10.213.1.11", generation_after=9, tree_sha256="b" * 64)
    assert compare(make_plan("model"), lab) == ()


def test_other_work_is_told() -> None:
    (note,) = compare(make_plan("model", "wheel"), make_plan("model"))
    assert (note.host, note.what) == ("alpha", "artifacts fetched")
    assert "wheel" in note.production
    assert "none" in note.lab


def test_a_host_that_the_lab_lacks_is_told() -> None:
    production = make_plan("model")
    lab = production.replace(hosts=())
    assert [note.what for note in compare(production, lab)] == ["the whole host"]


def test_expected_interruption_is_the_plans_else_the_releases() -> None:
    plan = make_plan("model")
    assert expected_interruption(plan, {Component.LLM: 9}) == {Component.LLM: 9}
    said = make_plan("model", interruption={Component.LLM: 3})
    assert expected_interruption(said, {Component.LLM: 9}) == {Component.LLM: 3}


def test_a_plan_for_another_site_or_bundle_is_refused() -> None:
    site = a_site(ALPHA)
    plan = make_plan("model", site=site)
    require_same_goal(plan, site, plan.release, plan.bundle)
    with pytest.raises(ConfigError, match="store has"):
        require_same_goal(plan, site, plan.release, "b" * 64)
    with pytest.raises(ConfigError, match=r"site\.yaml has changed"):
        require_same_goal(plan, site.replace(release="other"), plan.release, plan.bundle)


# --- what commands say -----------------------------------------------------------------------
def test_an_envelope_is_read() -> None:
    text = (
        '{"result": null, "error": {"code": "BAS-7040", "message": "no", "hint": "do",'
        ' "problems": [{"where": "alpha", "what": "sad"}]}}'
    )
    answer = read_answer("bastide apply", text)
    assert answer.failure == Failure(
        code="BAS-7040", message="no", hint="do", problems=("alpha: sad",)
    )


def test_no_envelope_is_a_failure() -> None:
    answer = read_answer("bastide apply", "Traceback")
    assert answer.failure is not None
    assert "Traceback" in answer.failure.message


def test_memory_is_read() -> None:
    text = "MemTotal:       24679444 kB\nMemAvailable:   20000000 kB\nHugePages_Total:  0\n"
    assert memory(text) == {"memory": 24679444 * 1024, "memory_free": 20000000 * 1024}


# --- the page --------------------------------------------------------------------------------
def make_report(*, good: bool = True) -> Rehearsal:
    failure = Failure(code="BAS-7051", message="<b>gate</b> refused", hint="look")
    seen = Service(
        service="chat",
        component=Component.LLM,
        asked=80,
        failed=3,
        refused=0,
        rejected=0,
        silence=7.5,
        slowest=1.0,
        expected=5,
    )
    disk = DiskUse(host="alpha", path="/opt", before=10, peak=90, after=80, planned=100)
    upgrade = RehearsedStep(
        name="upgrade",
        title="upgrade",
        command="bastide apply",
        good=good,
        seconds=60.0,
        phases={"stage": 20.0, "switch": 9.0},
        hosts=(HostWork(host="alpha", outcome="changed", changed=4, pulled=5_000_000),),
        gates=(GateSeen(gate="verification", passed=good, words="61 checks passed"),),
        services=(seen,),
        disk=(disk,),
        failure=None if good else failure,
    )
    machine = Machine(cpus=2, memory=8 * 10**9, memory_free=4 * 10**9)
    pair = HostPair(host="alpha", address="10.0.0.11", groups=SERVING, lab_host="host1",
                    lab_address="10.213.1.11")  # fmt: skip
    return Rehearsal(
        site="plant",
        release="starter-2026.12.0",
        bundle=SHA,
        coming_from="starter-2026.11.0",
        present_run="20261126",
        lab="rehearsal",
        started="2026-11-26T09:00:00+00:00",
        seconds=200.0,
        machine=machine,
        hosts=(pair,),
        plan=SHA,
        differences=differences(a_site(ALPHA), make_plan("model"), machine, 64),
        steps=(upgrade,),
        failure=None if good else failure,
    )


class Reader(html.parser.HTMLParser):
    """Gathers what the page shows, and what it would load."""

    def __init__(self) -> None:
        super().__init__()
        self.words: list[str] = []
        self.loads: list[str] = []
        self.tags: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.loads += [str(value) for name, value in attrs if name in {"src", "href"}]

    def handle_data(self, data: str) -> None:
        self.words.append(data)


def read(report: Rehearsal) -> tuple[str, Reader]:
    reader = Reader()
    reader.feed(page(report))
    return " ".join(" ".join(reader.words).split()), reader


def test_the_page_tells_all_and_loads_nothing() -> None:
    text, reader = read(make_report())
    assert not reader.loads
    assert "script" not in reader.tags
    for said in (
        "rehearsed well",
        "Production was not touched",
        "starter-2026.11.0",
        "longer than planned",
        "61 checks passed",
        "host1",
        "5.0 MB",
        "In what the lab is not production",
    ):
        assert said in text


def test_the_page_of_a_failure_says_why_and_escapes() -> None:
    text, reader = read(make_report(good=False))
    assert "did not go well" in text
    assert "<b>gate</b> refused" in text  # as text, not as a tag of the page's own
    assert "b" not in reader.tags
    assert "What to expect in production" not in text  # nothing can be said of it


def test_the_report_survives_json() -> None:
    report = make_report(good=False)
    assert Rehearsal.model_validate_json(report.model_dump_json()) == report
    assert not report.good
