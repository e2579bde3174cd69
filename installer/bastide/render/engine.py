"""Jinja2, set up so that a value from outside cannot change the meaning of a file.

Templates use ``[[ ]]``, ``[% %]`` and ``[# #]``, so that an emitted ``{{ }}`` stays as it is. An
undefined name is an error. A bare ``[[ value ]]`` takes only harmless text (names, addresses,
paths, numbers); everything else must pass a filter that quotes it for the file's format.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jinja2
import yaml
from markupsafe import Markup

from bastide.errors import ConfigError

BAD_TEMPLATE = "BAS-2060"

# Letters, digits and what addresses, paths, versions and digests are made of: nothing that can
# end a line, a string, a word or a comment in YAML, JSON, systemd units or haproxy.cfg.
_HARMLESS = re.compile(r"[A-Za-z0-9._:/@+=,~\[\]-]*")


class UnsafeValueError(ValueError):
    """A value that could break out of its place in a file was put out without a filter."""


def _finalize(value: Any) -> Any:  # noqa: ANN401 - Jinja2 hands over anything
    """Let a bare ``[[ value ]]`` through only if it cannot be mistaken for syntax."""
    if isinstance(value, Markup | jinja2.Undefined):
        return value  # already quoted by a filter; or Jinja2's own error, with the name in it
    if isinstance(value, int | float) and not isinstance(value, bool):
        return Markup(value)  # noqa: S704 - digits only
    if isinstance(value, str) and _HARMLESS.fullmatch(value):
        return Markup(value)  # noqa: S704 - just checked
    raise UnsafeValueError(f"{value!r} needs a filter such as to_json, to_yaml or to_systemd here")


def to_json(value: Any) -> Markup:  # noqa: ANN401 - any plain value
    """Return ``value`` as JSON on one line; every non-ASCII and control character escaped."""
    return Markup(json.dumps(value, sort_keys=True))  # noqa: S704 - quoted by json


def to_nice_json(value: Any) -> Markup:  # noqa: ANN401 - any plain value
    """Return ``value`` as indented JSON, for files that people read too."""
    return Markup(json.dumps(value, sort_keys=True, indent=2))  # noqa: S704 - quoted by json


def to_yaml(value: Any) -> Markup:  # noqa: ANN401 - any plain value
    """Return ``value`` as block YAML, quoted where YAML needs it."""
    text = yaml.safe_dump(value, sort_keys=True, allow_unicode=False, default_flow_style=False)
    return Markup(text.removesuffix("...\n"))  # noqa: S704 - quoted by yaml


def to_systemd(value: Any) -> Markup:  # noqa: ANN401 - any scalar
    """Return ``value`` as one quoted word of a systemd unit; specifiers and variables are inert."""
    text = str(value)
    if any(ord(character) < 32 or ord(character) == 127 for character in text):
        raise UnsafeValueError(f"{text!r} has a control character; a unit file cannot carry it")
    for plain, inert in (("\\", "\\\\"), ('"', '\\"'), ("%", "%%"), ("$", "$$")):
        text = text.replace(plain, inert)
    return Markup(f'"{text}"')  # noqa: S704 - quoted above


def strict_environment(root: Path) -> jinja2.Environment:
    """Return the one dialect of our templates: ``[[ ]]``, nothing undefined, values escaped."""
    return jinja2.Environment(
        loader=jinja2.FileSystemLoader(root),
        undefined=jinja2.StrictUndefined,
        variable_start_string="[[",
        variable_end_string="]]",
        block_start_string="[%",
        block_end_string="%]",
        comment_start_string="[#",
        comment_end_string="#]",
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=True,
    )


class TemplateFolder:
    """The templates below one folder.

    Args:
        root: The folder; template names are paths below it, and nothing outside it is read.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        # autoescape only so that macros mark their output as done: see _finalize
        self._environment = strict_environment(root)
        self._environment.finalize = _finalize
        self._environment.filters.update(
            to_json=to_json, to_nice_json=to_nice_json, to_yaml=to_yaml, to_systemd=to_systemd
        )

    def render(self, name: str, context: Mapping[str, Any]) -> bytes:
        """Return template ``name`` filled with ``context``, as UTF-8.

        Raises:
            ConfigError: It does not exist, is wrong, uses a name that is not in the context, or
                puts out a value that needs a filter; the message names file and line.
        """
        try:
            return self._environment.get_template(name).render(context).encode()
        except jinja2.TemplateSyntaxError as error:
            raise _wrong(f"{self.root / name}:{error.lineno}", error.message or "wrong") from error
        except jinja2.TemplateNotFound as error:
            raise _wrong(str(self.root / name), f"template {error.name} does not exist") from error
        except (jinja2.TemplateError, UnsafeValueError, TypeError, ValueError) as error:
            raise _wrong(f"{self.root / name}{_line_of(error)}", str(error)) from error


def _line_of(error: Exception) -> str:
    """Return ``:<line>`` of the template line that raised; Jinja2 rewrites tracebacks so."""
    line = ""
    trace = error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename.endswith(".py"):
            trace = trace.tb_next
            continue
        line = f":{trace.tb_lineno}"
        trace = trace.tb_next
    return line


def _wrong(where: str, what: str) -> ConfigError:
    return ConfigError(
        f"{where}: {what}",
        code=BAD_TEMPLATE,
        hint="this is a mistake in a template of the release, not in site.yaml: report it",
    )
