"""The HTML page: complete, escaped, and in need of nothing."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser

import pytest
import verify_factories as make

from bastide.render.report import html, seconds
from bastide.schema.verification import VerificationReport
from bastide.verify.results import read

EVIL = "<script>alert('x')</script>"


def page(*events: dict[str, object]) -> str:
    return html(report(*events))


def report(*events: dict[str, object]) -> VerificationReport:
    return read(make.lines(*events), make.make_expectations(), started="2026-11-01", seconds=75.0)


def whole_page() -> str:
    return page(
        make.check(1, properties=[["first_answer", json.dumps(make.FIRST_ANSWER)]]),
        make.check(2, "failed", message=EVIL, area=EVIL, title=EVIL, host=EVIL),
        make.check(3, "skipped", properties=[["detail", EVIL]]),
    )


class Collector(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes.extend(attrs)


def test_it_refers_to_nothing_outside() -> None:
    text = whole_page()
    collected = Collector()
    collected.feed(text)
    assert not {"script", "link", "img", "iframe", "object", "a"} & set(collected.tags)
    assert not {"src", "href", "srcset", "data"} & {name for name, _ in collected.attributes}
    style = re.findall(r"<style>(.*?)</style>", text, re.DOTALL)
    assert "url(" not in "".join(style)
    assert "@import" not in "".join(style)


def test_texts_are_escaped() -> None:
    text = whole_page()
    assert EVIL not in text
    assert "&lt;script&gt;" in text
    assert "How high is &lt;b&gt;the&lt;/b&gt; mast?" in text
    assert "12 metres high &amp; white" in text


def test_it_shows_everything() -> None:
    text = whole_page()
    for expected in ("plant", "starter-1", "ab" * 32, "10.0.0.11", "Check 1 holds", "12 metres"):
        assert expected in text
    assert "not proved" in text


def test_a_good_site_is_proved() -> None:
    text = page(make.check(1))
    assert "not proved" not in text
    assert "What failed" not in text
    assert "The first answer" not in text  # none was asked for


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0042, "4 ms"), (1.26, "1.3 s"), (125.0, "2 min 5 s"), (119.7, "2 min 0 s")],
)
def test_durations_are_for_people(value: float, text: str) -> None:
    assert seconds(value) == text
