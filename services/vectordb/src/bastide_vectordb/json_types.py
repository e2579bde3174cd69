"""Names for values whose type only their content tells."""

from __future__ import annotations

from typing import Any, TypeAlias

Json: TypeAlias = Any  # a parsed JSON value, of any shape until it was checked
EdgeValue: TypeAlias = Any  # an object of Qdrant Edge's; its own type stubs are not exact
