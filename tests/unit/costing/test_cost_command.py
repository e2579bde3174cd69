"""``bastide cost``: table, JSON and page; mistakes get clear errors."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

from bastide import resources
from bastide.cli.main import main

BOOK = resources.catalogue() / "prices" / "example-2026-11.yaml"
OFFICE: dict[str, Any] = {
    "name": "office",
    "title": "Questions <of> an office",
    "prices": "ours",
    "tokens_per_word": 1.3,
    "scenarios": [
        {
            "name": "chat",
            "title": "Chat",
            "users": [
                {
                    "count": 200,
                    "requests_per_day": 10,
                    "days_per_year": 220,
                    "input": {"tokens": 1000},
                    "output": {"tokens": 300},
                }
            ],
            "options": [
                {"kind": "api", "name": "service", "price": "big"},
                {
                    "kind": "on-prem",
                    "name": "own",
                    "price": "box",
                    "prefill_tokens_per_second": 100,
                    "decode_tokens_per_second": 50,
                    "utilisation": 0.25,
                },
            ],
        }
    ],
}
PRICES: dict[str, Any] = {
    "name": "ours",
    "date": "2026-11-01",
    "currency": "EUR",
    "api": {
        "big": {
            "title": "big",
            "input_per_million": 5,
            "output_per_million": 15,
            "source": "an offer",
            "date": "2026-10-01",
        }
    },
    "servers": {
        "box": {
            "title": "box",
            "purchase": 10000,
            "years": 5,
            "watts": 500,
            "pue": 1.5,
            "kwh": 0.2,
            "maintenance": 0.1,
            "hosting_per_month": 10,
            "staff_hours_per_month": 1,
            "staff_per_hour": 50,
            "source": "an offer",
            "date": "2026-10-01",
        }
    },
}


def run(tmp_path: Path, workload: dict[str, Any], *more: str) -> Any:
    (tmp_path / "office.yaml").write_text(yaml.safe_dump(workload))
    (tmp_path / "ours.yaml").write_text(yaml.safe_dump(PRICES).replace("'", ""))
    return CliRunner().invoke(main, ["cost", str(tmp_path / "office.yaml"), *more])


def test_a_workload_of_ones_own(tmp_path: Path) -> None:
    done = run(tmp_path, OFFICE, "--json")
    assert done.exit_code == 0, done.output
    result = json.loads(done.stdout)["result"]
    service, own = result["scenarios"][0]["options"]
    # 440,000 requests x (1,000 x 5 + 300 x 15) ÷ 1,000,000
    assert float(service["total"]) == 4180
    # (440,000 x (1,000 ÷ 100 + 300 ÷ 50)) s ÷ (31,536,000 s x 0.25) = 0.89 servers
    assert own["machines"] == 1
    # 2,000 + 0.5 kW x 8,760 h x 1.5 x 0.2 + 1,000 + 120 + 600
    assert float(own["total"]) == 2000 + 1314 + 1000 + 120 + 600
    assert result["currency"] == "EUR"
    assert not result["example_prices"]


def test_the_page_needs_nothing_and_escapes(tmp_path: Path) -> None:
    page = tmp_path / "cost.html"
    done = run(tmp_path, OFFICE, "--html", str(page))
    assert done.exit_code == 0, done.output
    text = page.read_text()
    assert "Questions &lt;of&gt; an office" in text
    assert text.count("<polyline") == 2
    for forbidden in ("http://", "https://", "<script", "url(", "@import"):
        assert forbidden not in text
    assert "not a quotation" not in text


def test_the_shipped_example_prints_both_figures() -> None:
    done = CliRunner().invoke(main, ["cost", "--example", "annual-reports"])
    assert done.exit_code == 0, done.output
    for text in ("14,250.02", "14,249.91", "3,963.67", "3,963.64", "EXAMPLE prices"):
        assert text in done.output


def changed(path: str, value: Any) -> dict[str, Any]:
    copy: dict[str, Any] = json.loads(json.dumps(OFFICE))
    place: Any = copy
    *way, last = path.split(".")
    for part in way:
        place = place[int(part) if part.isdigit() else part]
    place[last] = value
    return copy


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        ("scenarios.0.users.0.count", -1, "greater than or equal to 0"),
        ("scenarios.0.users.0.days_per_year", 400, "less than or equal to 366"),
        ("scenarios.0.users.0.input", {"tokens": 1, "words": 2}, '"words" or "tokens"'),
        ("scenarios.0.users.0.requests", 3, "unknown key"),
        ("scenarios.0.options.1.utilisation", 0, "greater than 0"),
        ("scenarios.0.options.1.decode_tokens_per_second", -5, "greater than 0"),
        ("tokens_per_word", 0, "greater than 0"),
        ("scenarios", [], "at least 1 item"),
    ],
)
def test_absurd_values_are_named_with_their_line(
    tmp_path: Path, path: str, value: Any, words: str
) -> None:
    done = run(tmp_path, changed(path, value))
    assert done.exit_code == 2
    assert "BAS-2050" in done.output
    assert "office.yaml:" in done.output
    assert words in done.output


def test_an_unknown_price_names_the_nearest(tmp_path: Path) -> None:
    done = run(tmp_path, changed("scenarios.0.options.0.price", "bigg"))
    assert done.exit_code == 2
    assert "BAS-2052" in done.output
    assert "did you mean 'big'?" in done.output


def test_a_published_figure_of_no_line(tmp_path: Path) -> None:
    figure = {"option": "service", "figure": "amount", "line": "x", "amount": 1, "exact": True}
    done = run(tmp_path, changed("scenarios.0.published", [figure]))
    assert done.exit_code == 2
    assert "BAS-2053" in done.output


@pytest.mark.parametrize(
    "words", [[], ["--example", "anual-reports"], ["x.yaml", "--example", "annual-reports"]]
)
def test_exactly_one_known_workload(words: list[str]) -> None:
    done = CliRunner().invoke(main, ["cost", *words])
    assert done.exit_code == 2
    assert "BAS-2051" in done.output
    assert "annual-reports" in done.output
