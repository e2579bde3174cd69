"""Bastide's own wheels, built from this checkout with equal bytes for equal sources."""

from __future__ import annotations

from pathlib import Path

from bastide import resources
from bastide.errors import BundleError
from bastide.host.process import run
from bastide.sources.index import uv_program

RECIPE = "own-wheel/1"
EPOCH = "315532800"  # 1980, the zip format's first year; also what hatchling falls back to


def source_of(distribution: str) -> Path | None:
    """Return the source tree of one of our own distributions, None if it is not ours.

    Raises:
        BundleError: It is ours but this installation does not carry its source.
    """
    trees = {
        "bastide": resources.data_root(),
        "bastide-vectordb": resources.vectordb_source(),
    }
    tree = trees.get(distribution)
    if tree is not None and not (tree / "pyproject.toml").is_file():
        raise BundleError(
            f"this installation of Bastide does not carry the source of {distribution}",
            code="BAS-3028",
            hint="build bundles from a checkout of Bastide",
        )
    return tree


def build_own_wheel(source: Path, folder: Path) -> Path:
    """Build the wheel of the source tree and return its path below ``folder``.

    Raises:
        ProcessError: The build failed; the message holds its last words.
    """
    output = folder / source.name
    output.mkdir()
    command = [uv_program(), "build", "--quiet", "--wheel", "--out-dir", str(output), str(source)]
    run(command, env={"SOURCE_DATE_EPOCH": EPOCH, "UV_NO_PROGRESS": "1"})
    (wheel,) = output.glob("*.whl")
    return wheel
