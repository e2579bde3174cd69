"""Ansible lookup ``host_agent``: the host agent's modules, joined into one Python file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ansible.plugins.lookup import LookupBase

DOCUMENTATION = """
name: host_agent
short_description: The host agent as one file
description:
  - Joins the modules of C(roles/base/files/bastide_host) into one Python program, to be copied to
    a host or fed to C(python3 -). The same modules give the same bytes.
options: {}
"""

_PACKAGE = Path(__file__).resolve().parent.parent / "roles" / "base" / "files" / "bastide_host"
_PROGRAM = '''\
#!/usr/bin/python3
"""The host agent, joined from the modules of the package bastide_host: do not edit."""
import importlib.abc
import importlib.util
import sys

SOURCES = {{
{sources}
}}


class Joined(importlib.abc.MetaPathFinder, importlib.abc.InspectLoader):
    def find_spec(self, name, path=None, target=None):
        if name in SOURCES:
            return importlib.util.spec_from_loader(name, self, is_package=self.is_package(name))
        return None

    def is_package(self, name):
        return name == "bastide_host"

    def get_source(self, name):
        return SOURCES[name]


sys.meta_path.insert(0, Joined())
from bastide_host.main import main

sys.exit(main())
'''


def join(package: Path = _PACKAGE) -> str:
    """Return the modules of ``package`` as the text of one Python program."""
    names = {path: f"bastide_host.{path.stem}" for path in package.glob("*.py")}
    names[package / "__init__.py"] = "bastide_host"
    sources = (f"    {name!r}: {path.read_text()!r}," for path, name in sorted(names.items()))
    return _PROGRAM.format(sources="\n".join(sources))


class LookupModule(LookupBase):  # type: ignore[misc]  # Ansible has no types
    """What Ansible calls."""

    def run(self, terms: Any, variables: Any = None, **kwargs: Any) -> list[str]:  # noqa: ANN401, ARG002
        """Return one item: the program's text."""
        return [join()]
