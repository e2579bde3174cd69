"""Byte code of a generation's Python files: made once, shared by all generations with a file."""

from __future__ import annotations

import os
from pathlib import Path

from bastide_host.host import Paths, run


def compile_python(paths: Paths, target: Path) -> None:
    """Give every Python file of a new generation its byte code.

    uv links an unchanged file to the one that earlier generations have. Its byte code is linked,
    too, instead of made and kept once more: it is most of what a further generation would take.
    The paths in it lead through ``current``, as the units do, so that it is the same for all.

    Args:
        paths: The host's paths.
        target: The generation's folder, with its ``venv`` and ``lib``.
    """
    live = paths.current.resolve()
    if live != target and live.is_dir():
        _link_unchanged(live, target)
    folders = [str(target / name) for name in ("venv/lib", "lib")]
    names = ["-s", str(target), "-p", str(paths.current)]
    # Files that are no good Python, such as tests of syntax errors, are left as they are.
    run([str(target / "venv/bin/python"), "-m", "compileall", "-q", "-j0", *names, *folders])


def _link_unchanged(live: Path, target: Path) -> None:
    for cached in (live / "venv/lib").rglob("__pycache__/*.pyc"):
        module = cached.name.partition(".")[0] + ".py"
        source = cached.parent.parent / module
        twin = target / source.relative_to(live)
        try:
            same = source.samefile(twin)
        except FileNotFoundError:
            continue
        if same:
            place = target / cached.relative_to(live)
            place.parent.mkdir(exist_ok=True)
            os.link(cached, place)
