"""``bastide receipt`` as a program: files, modes, and a QR code that a real reader reads."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner
from PIL import Image
from zxingcpp import read_barcodes

from bastide.cli.main import main

pytestmark = pytest.mark.integration


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("BASTIDE_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    return tmp_path / "home"


def run(*args: str) -> dict[str, object]:
    result = CliRunner().invoke(main, [*args, "--json"])
    return {**json.loads(result.stdout), "exit": result.exit_code}


def test_a_site_without_anything_has_a_receipt(home: Path, tmp_path: Path) -> None:
    answer = run("receipt", "export", "--out", "r.json")
    assert answer["ok"], answer
    shown = run("receipt", "show", "r.json")["result"]
    assert isinstance(shown, dict)
    assert (shown["site"], shown["bundles"], shown["blobs"]) == ("unnamed", [], 0)
    assert (home / "receipt-key.pem").stat().st_mode & 0o777 == 0o600
    text = (tmp_path / "r.json").read_text()
    assert str(home) not in text, "no path of the machine leaves it"


@pytest.mark.parametrize("kind", ["png"])
def test_the_qr_code_is_read_by_a_real_reader(home: Path, tmp_path: Path, kind: str) -> None:
    answer = run("receipt", "export", "--out", "r.json", "--qr", f"r.{kind}")
    assert answer["ok"], answer
    with Image.open(tmp_path / f"r.{kind}") as image:
        (code,) = read_barcodes(image)
    (tmp_path / "scanned.txt").write_text(code.text + "\n")
    shown = run("receipt", "show", "scanned.txt")["result"]
    exported = answer["result"]
    assert isinstance(shown, dict)
    assert isinstance(exported, dict)
    assert shown["key"] == exported["key"]
    assert exported["qr_text"] == code.text
    assert home.exists()


def test_the_qr_code_as_svg_is_drawn(home: Path, tmp_path: Path) -> None:
    assert run("receipt", "export", "--out", "r.json", "--qr", "r.svg")["ok"]
    assert "<svg" in (tmp_path / "r.svg").read_text()
    assert home.exists()


def test_another_kind_of_image_is_refused(home: Path) -> None:
    answer = run("receipt", "export", "--out", "r.json", "--qr", "r.jpg")
    assert answer["exit"] == 2
    assert [path.name for path in home.iterdir()] == ["ledger.jsonl"], "no key was made"


def test_a_folder_that_cannot_be_written_is_said_so(home: Path) -> None:
    answer = run("receipt", "export", "--out", "none/r.json")
    error = answer["error"]
    assert isinstance(error, dict)
    assert error["code"] == "BAS-3064"
    assert home.exists()


def test_show_refuses_a_forged_receipt(home: Path, tmp_path: Path) -> None:
    run("receipt", "export", "--out", "r.json")
    path = tmp_path / "r.json"
    path.write_text(path.read_text().replace('"unnamed"', '"north"'))
    answer = run("receipt", "show", "r.json")
    assert answer["exit"] == 4
    assert home.exists()


@pytest.mark.parametrize("option", [["--dry-run"], ["--receipt-key", "0" * 64]])
def test_options_of_a_delta_want_a_receipt(home: Path, option: list[str]) -> None:
    answer = run("bundle", "build", "--release", "starter", "--target", "t", "--out", "o", *option)
    error = answer["error"]
    assert isinstance(error, dict)
    assert error["code"] == "BAS-2077"
    assert not home.exists()
