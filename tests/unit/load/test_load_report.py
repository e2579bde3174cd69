"""What a load counts as good, and what requests add up to."""

from __future__ import annotations

import json

import pytest
from load_report import Line, Outcome, Stream, failures, longest_gap, percentile, summarise

PIECE = 'data: {"choices": [{"delta": {"content": "x"}, "finish_reason": null}]}'
LAST = 'data: {"choices": [{"delta": {}, "finish_reason": "stop"}]}'
DONE = "data: [DONE]"


def line(time: float, outcome: Outcome = Outcome.GOOD, **more: object) -> Line:
    values = {"kind": "query", "status": 200, "latency": 0.5, **more}
    return Line(time=time, outcome=outcome, **values)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("lines", "fault"),
    [
        ([PIECE, "", LAST, DONE], ""),
        ([": comment", PIECE, LAST, DONE], ""),
        ([PIECE, LAST], "the stream ended without [DONE]"),
        ([PIECE, DONE], "the stream ended without a finish_reason"),
        ([], "the stream ended without a finish_reason"),
        ([PIECE, 'data: {"cho', DONE], "an event that is not one of a chat"),
        ([PIECE, "data: 7", DONE], "an event that is not one of a chat"),
        ([PIECE, 'data: {"error": "broke"}'], "an error in the stream: broke"),
    ],
)
def test_a_stream_is_good_only_if_it_is_complete(lines: list[str], fault: str) -> None:
    stream = Stream()
    for each in lines:
        stream.take(each)
    assert stream.verdict() == fault


def test_pieces_of_text_are_counted() -> None:
    stream = Stream()
    for each in (PIECE, PIECE, LAST, DONE):
        stream.take(each)
    assert stream.tokens == 2


def test_the_gap_reaches_from_the_beginning_to_the_end() -> None:
    assert longest_gap([12.0, 11.0], began=10.0, ended=20.0) == 8.0
    assert longest_gap([14.0], began=10.0, ended=15.0) == 4.0
    assert longest_gap([], began=10.0, ended=20.0) == 10.0
    assert longest_gap([21.0, 25.0], began=20.0, ended=22.0) == 4.0, "answers after the end count"


def test_percentiles() -> None:
    values = [float(n) for n in range(1, 101)]
    assert (percentile(values, 0.5), percentile(values, 0.99)) == (50.0, 99.0)
    assert percentile([3.0], 0.99) == 3.0
    assert percentile([], 0.5) is None


def test_a_summary_counts_by_kind_and_only_good_answers_end_a_gap() -> None:
    found = summarise(
        [
            line(11.0),
            line(13.0, Outcome.FAILED, status=502, error="broke"),
            line(14.0, Outcome.FAILED, status=502, error="broke"),
            line(19.0, latency=6.0),
            line(15.0, Outcome.REFUSED, kind="write", status=503, retries=2),
        ],
        began=10.0,
        ended=20.0,
    )
    query, write = found["query"], found["write"]
    assert (query.requests, query.good, query.failed, query.refused) == (4, 2, 2, 0)
    assert (query.longest, query.longest_gap, query.errors) == (6.0, 8.0, {"broke": 2})
    assert (write.requests, write.good, write.failed, write.refused) == (1, 0, 0, 1)
    assert (write.retries, write.longest, write.p99, write.longest_gap) == (2, None, None, 10.0)
    assert failures(found) == 2


def test_a_line_of_the_log_is_json() -> None:
    written = json.loads(line(1.0, first_byte=0.25).to_json())
    assert (written["outcome"], written["first_byte"], written["time"]) == ("good", 0.25, 1.0)
