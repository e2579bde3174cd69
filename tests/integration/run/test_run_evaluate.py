"""Evaluating hosts: the real host agent, behind an ``ssh`` that runs its command right here."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from plan_factories import make_site

from bastide import resources
from bastide.errors import VerifyError
from bastide.evaluation.suites import load_suite
from bastide.run.ask import Line
from bastide.run.evaluate import evaluate_host

pytestmark = pytest.mark.integration
HERE = '#!/bin/sh\nfor last; do :; done\nexec sh -c "$last"\n'
DOWN = "#!/bin/sh\ncat > /dev/null\necho 'No route to host' >&2\nexit 255\n"


@pytest.mark.parametrize(
    ("ssh", "code", "words"),
    [(HERE, "BAS-7030", "runs no generation"), (DOWN, "BAS-7032", "No route to host")],
)
def test_a_host_that_gives_no_answers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ssh: str, code: str, words: str
) -> None:
    program = tmp_path / "ssh"
    program.write_text(ssh)
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    line = Line(make_site(), tmp_path)
    loaded = load_suite(resources.catalogue() / "suites/handbook.yaml")
    with pytest.raises(VerifyError, match=words) as caught:
        evaluate_host(line, next(iter(line.site.hosts)), loaded)
    assert caught.value.code == code
