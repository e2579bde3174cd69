"""The JSON Schemas that are published in ``docs/reference/schemas``."""

from __future__ import annotations

from typing import Any

from bastide.schema.artifact import BundleRoot, Manifest
from bastide.schema.base import Value
from bastide.schema.chunks import Chunks
from bastide.schema.delta import Delta
from bastide.schema.expectations import Expectations
from bastide.schema.isolation_report import IsolationReport
from bastide.schema.ledger import Entry
from bastide.schema.lock import Lock
from bastide.schema.model_card import CatalogueCard
from bastide.schema.plan import Plan
from bastide.schema.policy import LicencePolicy
from bastide.schema.prices import PriceBook
from bastide.schema.receipt import Receipt
from bastide.schema.rehearsal import Rehearsal
from bastide.schema.release import Release
from bastide.schema.scores import GenerationScores
from bastide.schema.site import Site
from bastide.schema.suite import Suite
from bastide.schema.target import Target
from bastide.schema.verification import VerificationReport
from bastide.schema.volume import Volume
from bastide.schema.workload import Workload

SCHEMAS: dict[str, type[Value]] = {
    "bundle": BundleRoot,
    "chunks": Chunks,
    "delta": Delta,
    "expectations": Expectations,
    "isolation": IsolationReport,
    "ledger": Entry,
    "lock": Lock,
    "manifest": Manifest,
    "model": CatalogueCard,
    "plan": Plan,
    "policy": LicencePolicy,
    "prices": PriceBook,
    "receipt": Receipt,
    "rehearsal": Rehearsal,
    "release": Release,
    "scores": GenerationScores,
    "site": Site,
    "suite": Suite,
    "target": Target,
    "verification": VerificationReport,
    "volume": Volume,
    "workload": Workload,
}


def json_schema(name: str) -> dict[str, Any]:
    """Return the JSON Schema of a kind of file.

    Args:
        name: A key of `SCHEMAS`.
    """
    schema = SCHEMAS[name].model_json_schema(by_alias=True)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}
