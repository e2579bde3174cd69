"""What README and docs point to exists: files, headings, commands and their options."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
from click import Command, Context, Group

from bastide.cli.main import main

ROOT = Path(__file__).resolve().parents[3]
PAGES = [*sorted(ROOT.glob("*.md")), *sorted(ROOT.glob("docs/**/*.md"))]
FENCE = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
INLINE = re.compile(r"`(bastide [^`]+)`")
LINK = re.compile(r"\]\((?!\w+:)([^)\s]*)\)")


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


def anchors(text: str) -> set[str]:
    """Return the names of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", FENCE.sub("", text), re.MULTILINE)
    plain = (re.sub(r"[^\w\- ]", "", heading.strip().lower()) for heading in headings)
    return {each.replace(" ", "-") for each in plain}


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_lead_somewhere(page: Path) -> None:
    for link in LINK.findall(FENCE.sub("", page.read_text())):
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), link
        if anchor:
            assert anchor in anchors(target.read_text()), link


def test_the_index_of_decisions_is_whole() -> None:
    """A new one adds ``- N · [Title](file)`` to docs/adr/README.md."""
    folder = ROOT / "docs" / "adr"
    made = [re.fullmatch(r"# (\d+)\. (.+)", page.read_text().splitlines()[0])
            for page in sorted(folder.glob("0*.md"))]  # fmt: skip
    titles = [f"{found[1]} · [{found[2]}]" for found in made if found]
    assert len(titles) == len(made)
    rows = re.findall(r"^- (\d+ · \[.+\])\(", (folder / "README.md").read_text(), re.MULTILINE)
    assert rows == titles


def shown(text: str) -> Iterator[str]:
    """Yield the lines that begin with ``bastide`` in code blocks, and commands in a sentence."""
    for language, block in FENCE.findall(text):
        if language in {"", "sh", "console"}:
            for line in block.replace("\\\n", " ").splitlines():
                if (command := line.strip().removeprefix("$ ")).startswith("bastide "):
                    yield command
    yield from INLINE.findall(FENCE.sub("", text))


def words_of(line: str) -> list[str]:
    """Return a command line's words up to a comment, a pipe or another command."""
    line = re.sub(r"\$\([^)]*\)", "X", line)
    line = re.split(r"\s#|\s\||\s[<>&]|;|\s…|\s—", line)[0]
    return shlex.split(line)


def complaint(words: list[str]) -> str:
    """Return what is wrong with a command line; empty if it could be typed."""
    command: Command = main
    while isinstance(command, Group) and words and not words[0].startswith("-"):
        found = command.get_command(Context(command), words[0])
        if found is None:
            return f"{command.name} has no command {words[0]}"
        command, words = found, words[1:]
    if command.name == "exec" and "--" in words:  # what follows runs in the lab
        inner = words[words.index("--") + 1 :]
        words = words[: words.index("--")]
        if inner[:1] == ["bastide"] and (wrong := complaint(inner[1:])):
            return wrong
    known = {"--help", "-h"}.union(*(each.opts + each.secondary_opts for each in command.params))
    options = [word.partition("=")[0] for word in words if re.match(r"--?[a-z]", word)]
    unknown = [option for option in options if option not in known]
    return f"{command.name} has no {', '.join(unknown)}" if unknown else ""


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("bastide plan --site site  # a comment", ""),
        ("bastide plan --details", "plan has no --details"),
        ("bastide bundle paint", "bundle has no command paint"),
        ("bastide lab exec -- bastide plan --fast", "plan has no --fast"),
    ],
)
def test_what_cannot_be_typed_is_found(line: str, said: str) -> None:
    assert complaint(words_of(line)[1:]) == said


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_commands_can_be_typed(page: Path) -> None:
    told = {line: complaint(words_of(line)[1:]) for line in shown(page.read_text())}
    assert {line: said for line, said in told.items() if said} == {}
