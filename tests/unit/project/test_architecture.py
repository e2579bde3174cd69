"""The dependency rule of docs/architecture.md, read from the imports themselves."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import bastide

ROOT = Path(bastide.__file__).parent
MODULES = sorted(path for path in ROOT.rglob("*.py") if "_data" not in path.parts)

BOTTOM = {"__version__", "errors", "layout", "resources", "progress", "host", "schema"}
MIDDLE = {"bundle", "store", "plan", "render", "run", "verify", "lab", "site"}
MIDDLE |= {"advice", "ledger", "costing", "sizing", "evaluation", "backup", "support", "vectors"}
LIBRARY = {"sources", "trust"}
ALLOWED = {
    "schema": {"errors", "schema"},
    "host": {"errors", "host"},
    "trust": BOTTOM | {"trust"},
    "sources": BOTTOM | LIBRARY,
    # Pure decisions; store and run hand them values.
    "plan": {"errors", "layout", "schema", "plan", "sizing"},
    "ledger": {"errors", "host", "schema", "ledger"},
    "sizing": {"errors", "schema", "sizing"},
    "advice": {"errors", "schema", "sizing", "advice"},
    "costing": {"errors", "schema", "costing"},
    **dict.fromkeys(
        MIDDLE - {"advice", "plan", "ledger", "sizing", "costing"}, BOTTOM | LIBRARY | MIDDLE
    ),
    # Drives the others on lab hosts; none of them knows of it.
    "rehearsal": BOTTOM | LIBRARY | MIDDLE | {"rehearsal"},
    "cli": BOTTOM | LIBRARY | MIDDLE | {"rehearsal", "cli"},
}
ONLY = {
    "click": {"cli"},
    "rich": {"cli"},
    "jinja2": {"render"},
    "ansible_runner": {"run"},
    "testinfra": {"verify"},
    "subprocess": {"host"},
}


def package_of(path: Path) -> str:
    parts = path.relative_to(ROOT).parts
    return parts[0] if len(parts) > 1 else parts[0].removesuffix(".py")


def imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module == "bastide":
            yield from (f"bastide.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_follow_the_dependency_rule(path: Path) -> None:
    package = package_of(path)
    for name in imports(path):
        top, _, rest = name.partition(".")
        if top == "bastide" and package in ALLOWED:
            assert rest.partition(".")[0] in ALLOWED[package], f"{package} must not import {name}"
        if top in ONLY and path.name != "bootstrap.py":  # a program of its own, before any install
            assert package in ONLY[top], f"only {ONLY[top]} may import {top}, not {package}"


def _graph() -> dict[str, set[str]]:
    graph: dict[str, set[str]] = {}
    for path in MODULES:
        parts = path.relative_to(ROOT).with_suffix("").parts
        name = ".".join(("bastide", *parts)).removesuffix(".__init__")
        graph[name] = {each for each in imports(path) if each.startswith("bastide")}
    return graph


def test_no_module_imports_itself_through_others() -> None:
    graph = _graph()
    done: set[str] = set()

    def visit(name: str, above: tuple[str, ...]) -> None:
        assert name not in above, f"circular import: {' → '.join((*above, name))}"
        if name in done:
            return
        for each in sorted(graph.get(name, ())):
            visit(each, (*above, name))
        done.add(name)

    for name in graph:
        visit(name, ())
