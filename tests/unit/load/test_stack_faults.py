"""The faults of a running site: which there are, what clients saw, how it is told."""

from __future__ import annotations

from stack_faults import table
from stack_kinds import KINDS, Fault, faults_of
from stack_probe import Answer, seen

UNITS = {
    "host1": ["bastide-llm.service", "bastide-firewall.service"],
    "host2": ["bastide-gateway.service", "bastide-prometheus.service"],
}


def test_what_clients_saw_is_summed_up_within_a_time() -> None:
    answers = [
        Answer(0.0, 1.0, 200),
        Answer(10.0, 10.5, 200),
        Answer(11.0, 11.1, 503),
        Answer(12.0, 27.0, 0, "no answer in 15 s"),
        Answer(28.0, 29.0, 200),
        Answer(40.0, 41.0, 503),
    ]
    found = seen(answers, 10.0, 30.0)
    assert (found.asked, found.gap) == (4, 18.5)
    assert found.bad == {"503": 1, "no answer in 15 s": 1}
    assert seen(answers, 31.0, 39.0).gap == 8.0  # nobody was answered at all


def test_every_service_host_link_disk_and_clock_has_its_fault() -> None:
    found = faults_of(UNITS, KINDS)
    assert Fault("kill", "host1", "bastide-llm.service") in found
    assert not [each for each in found if each.unit == "bastide-firewall.service"]
    assert [each.kind for each in found if not each.unit] == ["power"] * 2 + ["link"] * 2 + [
        "disk"
    ] * 2
    clocks = [each.unit for each in found if each.kind == "clock"]
    assert clocks == ["bastide-llm.service"] * 2 + ["bastide-gateway.service"] * 2
    assert len({each.words for each in found}) == len(found)


def test_the_table_tells_what_was_lost() -> None:
    saw = {"asked": 9, "bad": {"503": 2}, "gap": 4.4}
    calm = {"asked": 9, "bad": {}, "gap": 0.6}
    line = {
        "fault": "host1 loses its power", "kind": "power", "held": 20.0, "healed": 7.6,
        "seen": {"chat": saw, "embeddings": calm, "search": calm},
        "alerts": ["HostDown"], "data": "kept", "why_not": [],
    }  # fmt: skip
    lost = {**line, "healed": None, "why_not": ["3 acknowledged points are gone, 7 to 9"]}
    text = table([line, lost])
    assert "| host1 loses its power | 2 x 503; 4 s | all good; 1 s | all good; 1 s | 8 s |" in text
    assert "| no | HostDown | 3 acknowledged points are gone, 7 to 9 |" in text
    assert text.endswith("1 of 2 came back by themselves with nothing lost.")
