"""Values for tests of verification: expectations, and what the plugin writes."""

from __future__ import annotations

import json
from typing import Any

from bastide.schema.expectations import Expectations, ExpectedGateway, ExpectedHost
from bastide.schema.site import SERVING

FIRST_ANSWER = {
    "question": "How high is <b>the</b> mast?",
    "passage_id": "HB-1",
    "passage_title": "Masts",
    "passage": "The mast is 12 metres high & white.",
    "score": 0.71,
    "answer": "12 metres",
    "fact": "12 metres",
    "embed_seconds": 0.01,
    "search_seconds": 0.002,
    "first_token_seconds": 0.3,
    "answer_seconds": 0.9,
    "tokens": 7,
}


def make_expectations() -> Expectations:
    return Expectations(
        site="plant",
        release="starter-1",
        bundle="ab" * 32,
        gateway=ExpectedGateway(
            url="https://10.0.0.11:8443",
            address="10.0.0.11",
            port=8443,
            name="bastide.internal",
            authority="/site/ca.pem",
        ),
        chat_model="chat",
        embedding_model="embed",
        dimensions=384,
        parallel=4,
        hosts={
            "host1": ExpectedHost(
                address="10.0.0.11", groups=SERVING, units=(), listeners=(), models=()
            )
        },
    )


def check(number: int = 1, outcome: str = "passed", **more: Any) -> dict[str, Any]:
    return {
        "event": "check",
        "id": f"test_x.py::test_{number}",
        "area": "Network",
        "title": f"Check {number} holds",
        "host": "host1",
        "seconds": 0.25,
        "outcome": outcome,
        "message": "" if outcome == "passed" else "expected this, found that",
        "properties": [],
        **more,
    }


def lines(*events: dict[str, Any]) -> list[str]:
    return [json.dumps(each) for each in ({"event": "collected", "count": len(events)}, *events)]
