"""Reads ``site.yaml``, and writes a first one with every field explained."""

from __future__ import annotations

import math
import re
import textwrap
from enum import Enum
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from bastide.layout import SiteFolder
from bastide.schema.loading import load_yaml
from bastide.schema.site import Site
from bastide.site.codes import SITE_WRONG

WIDTH = 92

_HEADER = """\
One isolated installation, as you want it to be. Edit this file; then `bastide plan` shows what
would change on which host, and `bastide apply` does it. Fields that show their default may be
left out. Secrets are not here: they are in secrets.vault.yaml, encrypted with Ansible Vault.
"""

# YAML reads these words, unquoted, as text and as nothing else.
_PLAIN = re.compile(r"[A-Za-z_/][A-Za-z0-9_./-]*|[0-9]{1,3}(\.[0-9]{1,3}){3}")
_NOT_TEXT = frozenset({"null", "true", "false", "yes", "no", "on", "off", "y", "n"})


def load_site(path: Path) -> Site:
    """Return the site that ``path``, a ``site.yaml`` or its folder, describes.

    Raises:
        ConfigError: It cannot be read or has mistakes; all are listed, each with file, line,
            field and the field's meaning.
    """
    file = SiteFolder(path).config if path.is_dir() else path
    return load_yaml(file, Site, code=SITE_WRONG)


def site_text(site: Site) -> str:
    """Return a ``site.yaml`` that says what ``site`` says, every field with its meaning."""
    lines = [*_comment(_HEADER, ""), *_mapping(site, "")]
    return "\n".join(lines) + "\n"


def _mapping(value: BaseModel, indent: str) -> list[str]:
    lines: list[str] = []
    for name, field in type(value).model_fields.items():
        lines += [] if indent else [""]  # paragraphs at the top level
        lines += _comment(_meaning(name, field, value), indent)
        lines += _entry(name, getattr(value, name), indent)
    return lines


def _entry(name: str, value: Any, indent: str) -> list[str]:  # noqa: ANN401 - fields of any type
    deeper = indent + "  "
    if isinstance(value, BaseModel):
        return [f"{indent}{name}:", *_mapping(value, deeper)]
    if isinstance(value, dict):
        lines = [f"{indent}{name}:" if value else f"{indent}{name}: {{}}"]
        for number, (key, item) in enumerate(value.items()):
            inner = _mapping(item, deeper + "  ")
            if number:  # the fields' meaning once is enough
                inner = [line for line in inner if not line.lstrip().startswith("#")]
            lines += [f"{deeper}{_scalar(key)}:", *inner]
        return lines
    return [f"{indent}{name}: {_inline(value)}"]


def _meaning(name: str, field: FieldInfo, holder: BaseModel) -> str:
    value = getattr(holder, name)
    text = field.description or ""
    if not text and isinstance(value, BaseModel):
        text = (type(value).__doc__ or "").splitlines()[0]
    if name == "groups":
        text += " Any of: llm, embeddings, vectordb, gateway, monitoring (at most one host)."
    plain = not isinstance(value, BaseModel | dict)
    if plain and not field.is_required():
        text += f" Default: {_inline(field.get_default())}."
    return text


def _comment(text: str, indent: str) -> list[str]:
    width = WIDTH - len(indent) - 2
    return [f"{indent}# {line}" for line in textwrap.wrap(" ".join(text.split()), width)]


def _inline(value: Any) -> str:  # noqa: ANN401 - scalars and lists of them
    if isinstance(value, tuple | list):
        return f"[{', '.join(_scalar(item) for item in value)}]"
    return _scalar(value)


def _scalar(value: Any) -> str:  # noqa: ANN401 - any scalar
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return str(value)
    text = str(value.value) if isinstance(value, Enum) else str(value)
    if _PLAIN.fullmatch(text) and text.lower() not in _NOT_TEXT:
        return text
    return yaml.safe_dump(text, default_style='"', width=math.inf).rstrip("\n")
