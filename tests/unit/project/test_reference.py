"""The reference pages say what the code does."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from click import Command, Context, Group

from bastide import errors
from bastide.cli.main import VERBS, main

ROOT = Path(__file__).resolve().parents[3]
REFERENCE = ROOT / "docs" / "reference"
CODE = re.compile(r"BAS-\d{4}")


def families() -> list[type[errors.BastideError]]:
    return [errors.BastideError, *errors.BastideError.__subclasses__()]


def used_codes() -> set[str]:
    places = [ROOT / "installer", ROOT / "playbooks", ROOT / "templates", ROOT / "services"]
    return {
        code
        for place in places
        for path in place.rglob("*")
        if path.is_file() and path.suffix in {".py", ".yml", ".yaml", ".j2"}
        for code in CODE.findall(path.read_text(errors="ignore"))
    }


def listed_codes() -> list[str]:
    text = (REFERENCE / "errors.md").read_text()
    return [row.group() for row in re.finditer(r"(?<=^\| )BAS-\d{4}(?= \|)", text, re.MULTILINE)]


def test_every_code_is_listed_and_every_listed_code_exists() -> None:
    assert used_codes() == set(listed_codes())


def test_no_code_is_listed_twice() -> None:
    codes = listed_codes()
    assert sorted(set(codes)) == sorted(codes)


def test_exit_codes_are_documented() -> None:
    text = (REFERENCE / "exit-codes.md").read_text()
    for family in {*families()}:
        if family.__module__ == errors.__name__:
            assert re.search(
                rf"^\| {family.exit_code} \| .*`{family.__name__}`", text, re.MULTILINE
            )


def commands(group: Group, path: str = "bastide") -> list[tuple[str, Command]]:
    found: list[tuple[str, Command]] = []
    context = Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        found.append((f"{path} {name}", command))
        if isinstance(command, Group):
            found += commands(command, f"{path} {name}")
    return found


@pytest.mark.parametrize(("path", "command"), commands(main))
def test_every_command_and_option_has_help(path: str, command: Command) -> None:
    assert command.help, path
    for parameter in command.params:
        if parameter.param_type_name == "option":
            assert getattr(parameter, "help", None), f"{path} {parameter.name}"


@pytest.mark.parametrize(("path", "command"), commands(main))
def test_every_command_speaks_json(path: str, command: Command) -> None:
    passes_through = {"bastide lab exec", "bastide schema"}
    if not isinstance(command, Group) and path not in passes_through:
        assert "as_json" in {parameter.name for parameter in command.params}, path


def test_verbs_are_in_the_readme_or_the_docs() -> None:
    pages = [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]
    text = "".join(page.read_text() for page in pages)
    for verb in VERBS:
        assert f"bastide {verb}" in text, verb
