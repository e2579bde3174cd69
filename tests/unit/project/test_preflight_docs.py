"""docs/preflight.md and docs/reference/errors.md list the checks that there are."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from bastide.plan.preflight import CHECKS, error_rows, table

DOCS = Path(__file__).resolve().parents[3] / "docs"


def test_the_page_has_the_table_of_all_checks() -> None:
    page = (DOCS / "preflight.md").read_text()
    _, _, rest = page.partition("<!-- checks -->\n")
    generated, _, _ = rest.partition("<!-- end of checks -->")
    assert generated == table()


def test_the_error_codes_say_what_the_checks_say() -> None:
    text = (DOCS / "reference/errors.md").read_text()
    for row in error_rows():
        assert row in text, row


def test_the_page_counts_right() -> None:
    page = (DOCS / "preflight.md").read_text()
    of_hosts = sum(check.is_of_hosts for check in CHECKS)
    assert f"{len(CHECKS)} checks of a site with one host" in page
    assert f"and {of_hosts} for each further one" in page


def test_every_check_says_what_it_is() -> None:
    assert len({check.name for check in CHECKS}) == len(CHECKS)
    for check in CHECKS:
        assert check.title, check
        assert check.cause, check
        assert check.fix, check


def test_one_code_is_one_kind_of_finding() -> None:
    causes = {check.code: {c.cause for c in CHECKS if c.code == check.code} for check in CHECKS}
    assert all(len(found) == 1 for found in causes.values())
    shared = {code for code, count in Counter(c.code for c in CHECKS).items() if count > 1}
    assert shared == {"BAS-5008", "BAS-5009"}  # two ports, two versions: one kind each
