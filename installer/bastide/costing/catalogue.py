"""Finds workloads and price books: files that a person names, or shipped ones by name."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from pathlib import Path

from bastide.errors import ConfigError
from bastide.schema.loading import load_yaml
from bastide.schema.prices import PriceBook
from bastide.schema.workload import Workload

WRONG_FILE = "BAS-2050"
NOT_CHOSEN = "BAS-2051"


@dataclass(frozen=True)
class Library:
    """The shipped workloads and price books, below ``models_manifest``."""

    root: Path

    def workload(self, path: Path | None, example: str | None) -> Workload:
        """Return the workload of a file, or a shipped example.

        Raises:
            ConfigError: Neither or both are given, there is none of that name, or it is wrong.
        """
        if (path is None) == (example is None):
            what = "two workloads are given" if path else "no workload is given"
            raise ConfigError(
                what,
                code=NOT_CHOSEN,
                hint="name one file, or give --example with one of: "
                + ", ".join(self._names("workloads")),
            )
        if path is None:
            path = self._shipped("workloads", example or "", "example workload")
        return load_yaml(path, Workload, code=WRONG_FILE)

    def prices(self, name: str, *, beside: Path | None = None) -> PriceBook:
        """Return a price book: a file, one beside the workload's file, or a shipped one.

        Raises:
            ConfigError: There is none, or it is wrong.
        """
        candidates = [Path(name)] if "/" in name or name.endswith((".yaml", ".yml")) else []
        if beside is not None:
            candidates.append(beside.parent / f"{name}.yaml")
        found = next((path for path in candidates if path.is_file()), None)
        if found is None and candidates and "/" in name:
            found = candidates[0]  # load_yaml says why it cannot be read
        path = found or self._shipped("prices", name, "price book")
        return load_yaml(path, PriceBook, code=WRONG_FILE)

    def _names(self, folder: str) -> list[str]:
        return sorted(path.stem for path in (self.root / folder).glob("*.yaml"))

    def _shipped(self, folder: str, name: str, what: str) -> Path:
        names = self._names(folder)
        if name in names:
            return self.root / folder / f"{name}.yaml"
        close = difflib.get_close_matches(name, names, n=1)
        raise ConfigError(
            f"there is no {what} '{name}'; shipped: {', '.join(names) or 'none'}",
            code=NOT_CHOSEN,
            hint=f"did you mean '{close[0]}'?" if close else "name a file by its path",
        )
