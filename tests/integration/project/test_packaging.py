"""The wheel carries what git tracks, and works where there is no checkout."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

pytestmark = pytest.mark.integration

ROOT = Path(__file__).resolve().parents[3]
DATA = ("playbooks", "templates", "models_manifest", "tests/verification", "services/vectordb")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("wheel")
    command = ["uv", "build", "--wheel", "--quiet", "--out-dir", str(out), str(ROOT)]
    subprocess.run(command, check=True)
    (built,) = out.glob("bastide-*.whl")
    return built


def tracked(*folders: str) -> set[str]:
    command = ["git", "-C", str(ROOT), "ls-files", "-z", "--", *folders]
    listed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return {name for name in listed.split("\0") if name and (ROOT / name).exists()}


def test_the_wheel_carries_exactly_the_tracked_data(wheel: Path) -> None:
    inside = {
        name.removeprefix("bastide/_data/")
        for name in zipfile.ZipFile(wheel).namelist()
        if name.startswith("bastide/_data/") and "__pycache__" not in name
    }
    assert inside == tracked(*DATA)


def test_nothing_is_importable_but_bastide(wheel: Path) -> None:
    tops = {name.split("/")[0] for name in zipfile.ZipFile(wheel).namelist()}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"bastide"}


def test_the_command_finds_its_data_without_a_checkout(wheel: Path, tmp_path: Path) -> None:
    zipfile.ZipFile(wheel).extractall(tmp_path)
    code = "from bastide import resources; print(resources.catalogue())"
    # -S hides the editable install's .pth; the dependencies are named by PYTHONPATH instead.
    site_packages = next(path for path in sys.path if path.endswith("site-packages"))
    done = subprocess.run(
        [sys.executable, "-S", "-c", code],
        check=True,
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": f"{tmp_path}:{site_packages}"},
    )
    assert done.stdout.strip() == str(tmp_path / "bastide/_data/models_manifest")
