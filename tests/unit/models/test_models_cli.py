"""``bastide models`` as a person or a program meets it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from bastide.cli.main import main


def run(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["models", *arguments], catch_exceptions=False)


def answer(*arguments: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(run(*arguments, "--json").stdout)
    return found


def test_help_lists_every_verb_without_importing_it() -> None:
    text = run("--help").stdout
    for verb in ("list", "show", "compare", "recommend", "pin", "accept"):
        assert verb in text


def test_list_as_json() -> None:
    result = answer("list", "--task", "code", "--sort", "parameters")["result"]
    names = [row["name"] for row in result["models"]]
    assert names[0] == "qwen2.5-coder-1.5b-instruct"
    assert result["of"] >= 25


def test_show_names_sources_and_what_is_unknown() -> None:
    text = run("show", "mixtral-8x7b-instruct-v0.1").stdout
    assert "46.7 B" in text
    assert "unknown" in text
    assert "https://" in text


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("show", "mixtrl-8x7b-instruct"), "BAS-2011", 'did you mean "mixtral-8x7b-instruct"?'),
        (("compare", "phi-4"), "BAS-2036", "2 to 6 different models"),
        (("compare", "phi-4", "phi-4"), "BAS-2036", "1 named"),
        (("list", "--memory=-5GB"), "BAS-2040", "found '-5GB'"),
        (("list", "--memory", "much"), "BAS-2040", "found 'much'"),
        (("recommend", "--task", "chat"), "BAS-2037", "which memory"),
        (("recommend", "--task", "chat", "--ram", "1GB", "--vram", "1GB"), "BAS-2037", "either"),
        (("recommend", "--task", "chat", "--ram", "8GB", "--latency=-1s"), "BAS-2037", "-1s"),
        (
            ("recommend", "--task", "chat", "--ram", "8GB", "--prompt", "9999"),
            "BAS-2037",
            "(9999 + 250)",
        ),
        (("recommend", "--task", "chat", "--ram", "0GB"), "BAS-2040", "0GB"),
        (("recommend", "--task", "chat", "--ram", "8GB", "--flops", "1"), "BAS-2040", "flops"),
    ],
)
def test_absurd_wishes_are_told(arguments: tuple[str, ...], code: str, words: str) -> None:
    result = run(*arguments)
    assert result.exit_code == 2
    assert code in result.stderr
    assert words in result.stderr.replace("\n", " ")


@pytest.mark.parametrize("arguments", [("list", "--context", "-1"), ("list", "--task", "poetry")])
def test_options_have_ranges(arguments: tuple[str, ...]) -> None:
    assert run(*arguments).exit_code == 2


def test_compare_writes_one_page(tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    result = run("compare", "phi-4", "gemma-2-9b-it", "--html", str(page))
    assert result.exit_code == 0
    assert "Phi-4" in result.stdout
    assert page.read_text().startswith("<!doctype html>")
    bad = run("compare", "phi-4", "gemma-2-9b-it", "--html", str(tmp_path / "no" / "page.html"))
    assert bad.exit_code == 2
    assert "BAS-2036" in bad.stderr


def test_recommend_explains_and_gives_the_lines_of_site_yaml() -> None:
    text = run("recommend", "--task", "chat", "--ram", "16GB", "--language", "de").stdout
    assert "site.yaml, for the first:" in text
    assert "Fell out:" in text
    found = answer("recommend", "--task", "chat", "--ram", "16GB")["result"]
    assert found["choices"][0]["needed"] <= found["choices"][0]["available"]


def test_accept_writes_the_record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BASTIDE_HOME", str(tmp_path / "home"))
    terms = tmp_path / "terms.txt"
    terms.write_text("The terms.\n")
    given = ("accept", "gemma-3-270m-it", "--by", "A. Architect", "--reason", "pilot")
    result = run(*given, "--terms", str(terms))
    assert result.exit_code == 0
    assert "Accepted: Gemma" in result.stdout
    record = json.loads((tmp_path / "home" / "acceptances.json").read_text())
    assert record["acceptances"][0]["licence"] == "Gemma"
    assert len(record["acceptances"][0]["terms_sha256"]) == 64
    for bad in (tmp_path / "none", tmp_path):
        assert run(*given, "--terms", str(bad)).exit_code == 2
    terms.write_text("  \n")
    assert "BAS-2034" in run(*given, "--terms", str(terms)).stderr


def test_pin_refuses_a_name_that_is_none(tmp_path: Path) -> None:
    result = run("pin", "phi-4", "x.gguf", "--catalogue", str(tmp_path / "c"), "--as", "../evil")
    assert result.exit_code == 2
    assert "BAS-2033" in result.stderr
    assert not (tmp_path / "c").exists()


def test_compare_with_a_suite_says_which_model_has_no_file_to_ask() -> None:
    models = ["smollm2-135m-instruct", "gemma-3-270m-it"]
    done = CliRunner().invoke(main, ["models", "compare", *models[::-1], "--suite", "handbook"])
    assert done.exit_code == 2
    assert "BAS-2057" in done.stderr
    assert "gemma-3-270m-it" in done.stderr


def test_compare_with_an_unknown_suite_says_what_there_is() -> None:
    models = ["smollm2-135m-instruct", "gemma-3-270m-it"]
    done = CliRunner().invoke(main, ["models", "compare", *models, "--suite", "handbok"])
    assert done.exit_code == 2
    assert "handbook" in done.stderr
