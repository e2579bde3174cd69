"""The published worked example comes out to the cent, and each difference has its cause."""

from __future__ import annotations

from decimal import Decimal

import pytest

from bastide import resources
from bastide.costing.catalogue import Library
from bastide.costing.estimate import cents
from bastide.costing.report import CostReport, ScenarioReport, report

LIBRARY = Library(resources.catalogue())


@pytest.fixture(scope="module")
def answer() -> CostReport:
    workload = LIBRARY.workload(None, "annual-reports")
    return report(workload, LIBRARY.prices(workload.prices))


def scenario(answer: CostReport, name: str) -> ScenarioReport:
    return next(each for each in answer.scenarios if each.name == name)


def line(answer: CostReport, place: tuple[str, str, str]) -> Decimal:
    option = next(o for o in scenario(answer, place[0]).options if o.name == place[1])
    return next(each.amount for each in option.lines if each.name == place[2])


GPT, LLAMA = "GPT-3.5-turbo", "Llama 2 as a service"


@pytest.mark.parametrize(
    ("option", "name", "amount"),
    [
        (GPT, "annual reports", "6729.38"),
        (GPT, "quarterly reports", "5047.03"),
        (GPT, "summaries of calls", "1236.75"),
        (GPT, "sentiment of calls", "1236.75"),
        (LLAMA, "annual reports", "1872.59"),
        (LLAMA, "quarterly reports", "1404.44"),
        (LLAMA, "summaries of calls", "343.31"),
        (LLAMA, "sentiment of calls", "343.31"),
    ],
)
def test_lines_to_the_cent(answer: CostReport, option: str, name: str, amount: str) -> None:
    assert cents(line(answer, ("reports", option, name))) == Decimal(amount)


@pytest.mark.parametrize(
    ("option", "one", "total"), [(GPT, "0.12", "14250.02"), (LLAMA, "0.03", "3963.67")]
)
def test_published_totals_are_ours_and_one_report_more(
    answer: CostReport, option: str, one: str, total: str
) -> None:
    found = next(o for o in scenario(answer, "reports").options if o.name == option)
    unit = found.lines[0].unit
    assert unit is not None
    assert cents(unit) == Decimal(one)
    assert cents(found.total) != Decimal(total)
    assert cents(found.total + unit) == Decimal(total)


def test_the_published_75_000_tokens_a_report() -> None:
    workload = LIBRARY.workload(None, "annual-reports")
    batch = workload.scenarios[0].batches[0]
    each = batch.input.in_tokens(workload.tokens_per_word)
    assert each + batch.output.in_tokens(workload.tokens_per_word) == 75_000


def test_retrieval_and_fine_tuning(answer: CostReport) -> None:
    api = "GPT-3.5-turbo with a hosted store"
    assert line(answer, ("rag", api, "prompts")) == 7000
    assert line(answer, ("rag", api, "embeddings, first time")) == Decimal("0.50")
    assert line(answer, ("rag", api, "embeddings, made again")) == Decimal("182.50")
    assert line(answer, ("rag", api, "vector store")) == 1440
    rented = "two rented A100"
    assert line(answer, ("fine-tuning", rented, "fine-tuning")) == Decimal("85.92")
    assert line(answer, ("fine-tuning", rented, "rented GPUs")) == Decimal("31360.80")


def test_what_should_be_exact_is_and_what_differs_says_why(answer: CostReport) -> None:
    figures = [each for found in answer.scenarios for each in found.published]
    assert len(figures) == 19
    for each in figures:
        assert each.agrees == each.exact, each
        assert each.agrees or each.explanation, each


def test_example_prices_say_so_and_every_value_is_listed(answer: CostReport) -> None:
    assert answer.example_prices
    listed = {each.where: each.value for each in answer.assumptions}
    assert listed["workload: tokens_per_word"] == "1.25"
    assert listed["workload: scenarios[reports].batches[annual reports].documents"] == "58200"
    assert listed["prices: api.gpt-3.5-turbo.output_per_million"] == "2.0"
    assert listed["prices: servers.two-gpu-server.watts"] == "900"
