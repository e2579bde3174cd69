"""What is asked on a terminal: passphrases, unseen and twice, and the fingerprint."""

from __future__ import annotations

import os
import pty
import select
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.integration
COMMAND = "from bastide.cli.main import main; main()"
PATIENCE = 60.0  # seconds without a word after which a prompt counts as missing


def converse(home: Path, arguments: Sequence[object], answers: dict[str, str]) -> tuple[int, str]:
    """Run a command on a terminal of its own; answer each prompt once it appears."""
    ours, theirs = pty.openpty()
    environment = {k: v for k, v in os.environ.items() if k != "BASTIDE_TRUST_PASSPHRASE"}
    with subprocess.Popen(
        [sys.executable, "-c", COMMAND, *(str(each) for each in arguments)],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env={**environment, "BASTIDE_HOME": str(home), "TERM": "dumb"},
        start_new_session=True,
    ) as process:
        os.close(theirs)
        said, waiting = "", list(answers.items())
        while select.select([ours], [], [], PATIENCE)[0]:
            try:
                block = os.read(ours, 4096)
            except OSError:  # the terminal's other end was closed
                break
            said += block.decode(errors="replace")
            if waiting and waiting[0][0] in said:
                os.write(ours, waiting.pop(0)[1].encode() + b"\n")
        os.close(ours)
        assert not waiting, said
    return process.returncode, " ".join(said.split())


def test_a_new_passphrase_is_asked_twice_and_never_shown(
    machine: Callable[[str], Any], make_bundle: Callable[..., Path]
) -> None:
    secret, home, bundle = "purple monkey dishwasher", machine("acme").home, make_bundle()
    answers = {"Passphrase of": secret, "Repeat": secret}
    code, said = converse(home, ["trust", "init", "--owner", "alice"], answers)
    assert code == 0, said
    assert secret not in said
    assert "is in force" in said
    code, said = converse(home, ["trust", "sign", bundle], {"Passphrase of": secret})
    assert code == 0, said
    assert secret not in said
    code, said = converse(home, ["trust", "sign", bundle], {"Passphrase of": "wrong passphrase"})
    assert code == 4
    assert "BAS-4031" in said


def test_the_fingerprint_is_typed_as_words(
    machine: Callable[[str], Any], make_bundle: Callable[..., Path]
) -> None:
    acme, site, bundle = machine("acme"), machine("site"), make_bundle()
    acme("trust", "init", "--development")
    acme("trust", "sign", bundle)
    words = acme("trust", "fingerprint")["result"]["words"]
    typed = " ".join(word[:4] for word in words)
    code, said = converse(site.home, ["trust", "pin", bundle], {"Fingerprint that": typed})
    assert code == 0, said
    assert "is trusted from now on" in said
    assert words[0] not in said.partition("Fingerprint that")[0]
