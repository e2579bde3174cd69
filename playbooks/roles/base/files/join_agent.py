"""Joins the host agent's modules into one Python program.

Ansible gets it by the lookup plugin ``host_agent``; the control node reads this file when it asks
hosts over plain SSH. Both load it by its path, because it lies in no package of theirs.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

PACKAGE = Path(__file__).resolve().parent / "bastide_host"
_PROGRAM = '''\
#!/usr/bin/python3
"""The host agent, joined from the modules of the package bastide_host: do not edit."""
import importlib.abc
import importlib.util
import marshal
import sys
import zlib

DIGEST = "{digest}"
SOURCES = {{
{sources}
}}


def kept_code():
    """Return the modules compiled, as `prepare` has left them beside this file for this Python."""
    try:
        with open(__file__.removesuffix(".py") + ".code", "rb") as file:
            content = file.read()
    except (NameError, OSError):
        return {{}}
    mark = importlib.util.MAGIC_NUMBER + DIGEST.encode()
    code = content[len(mark) + 4 :]
    whole = content[: len(mark) + 4] == mark + zlib.crc32(code).to_bytes(4, "big")
    return marshal.loads(code) if whole else {{}}


CODE = kept_code()


class Joined(importlib.abc.MetaPathFinder, importlib.abc.InspectLoader):
    def find_spec(self, name, path=None, target=None):
        if name in SOURCES:
            return importlib.util.spec_from_loader(name, self, is_package=self.is_package(name))
        return None

    def is_package(self, name):
        return name == "bastide_host"

    def get_source(self, name):
        return SOURCES[name]

    def get_code(self, name):
        return CODE.get(name) or super().get_code(name)


sys.meta_path.insert(0, Joined())
from bastide_host.main import main

sys.exit(main())
'''


def join(package: Path = PACKAGE) -> str:
    """Return the modules of ``package`` as the text of one Python program; always the same."""
    names = {path: f"bastide_host.{path.stem}" for path in package.glob("*.py")}
    names[package / "__init__.py"] = "bastide_host"
    lines = (f"    {name!r}: {path.read_text()!r}," for path, name in sorted(names.items()))
    sources = "\n".join(lines)
    digest = hashlib.sha256(sources.encode()).hexdigest()
    return _PROGRAM.format(digest=digest, sources=sources)
