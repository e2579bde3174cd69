"""Ansible lookup ``host_agent``: the host agent's modules, joined into one Python file."""

from __future__ import annotations

import runpy
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

_JOIN = Path(__file__).resolve().parent.parent / "roles" / "base" / "files" / "join_agent.py"


class LookupModule(LookupBase):  # type: ignore[misc]  # Ansible has no types
    """What Ansible calls."""

    def run(self, terms: Any, variables: Any = None, **kwargs: Any) -> list[str]:  # noqa: ANN401, ARG002
        """Return one item: the program's text."""
        return [runpy.run_path(str(_JOIN))["join"]()]
