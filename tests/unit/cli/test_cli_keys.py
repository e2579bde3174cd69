"""What programs may rely on in the answers of ``bastide keys`` and ``bastide audit``."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from bastide.cli.audit import Audit, joined, parse_since
from bastide.cli.keys import Clients
from bastide.cli.keys_change import ChangedKey
from bastide.cli.output import envelope
from bastide.errors import ConfigError
from bastide.run.gateways import AuditAnswer, GatewayKeys
from bastide.schema.access import Role
from bastide.schema.client_key import OwnLimits
from bastide.site.keystore import new_client

NOW = datetime(2026, 11, 26, 12, tzinfo=UTC)
CLIENT = new_client("app", Role.USER, OwnLimits(tokens_per_day=9), "ab" * 32, NOW, None)
AS_JSON = {
    "name": "app",
    "role": "user",
    "limits": {
        "requests_per_minute": None,
        "vectordb_requests_per_minute": None,
        "concurrent_requests": None,
        "tokens_per_day": 9,
    },
    "digests": [{"sha256": "ab" * 32, "created": "2026-11-26T12:00:00Z", "expires": None}],
}
ROW = {"day": "2026-11-26", "identity": "app", "requests": 3, "refused": 1, "failed": 0,
       "inexact": 0, "bytes_in": 10, "bytes": 20, "prompt_tokens": 30, "completion_tokens": 40,
       "total_ms": 50}  # fmt: skip


def result(value: Any) -> Any:
    return envelope("x", value, None)["result"]


def test_a_change_says_client_key_and_gateways() -> None:
    gateways = (GatewayKeys("gw1", "live"), GatewayKeys("gw2", "pending", "no route"))
    assert result(ChangedKey(CLIENT, "bst_x", None, gateways)) == {
        "client": AS_JSON,
        "key": "bst_x",
        "key_file": None,
        "gateways": [
            {"host": "gw1", "state": "live", "why": ""},
            {"host": "gw2", "state": "pending", "why": "no route"},
        ],
        "error": None,
    }


def test_a_list_says_every_client() -> None:
    assert result(Clients((CLIENT,))) == {"clients": [AS_JSON]}


def test_an_audit_of_two_gateways_is_one() -> None:
    entry = {"at": 5, "identity": "app"}
    later = {"at": 6, "identity": "app"}
    found = joined(
        NOW,
        NOW + timedelta(hours=1),
        [
            AuditAnswer("gw1", (later,), (ROW,), 0),
            AuditAnswer("gw2", (entry,), ({**ROW, "requests": 4},), 2),
            AuditAnswer("gw3", why="no route"),
        ],
        10,
    )
    assert result(found) == {
        "since": str(NOW),
        "until": str(NOW + timedelta(hours=1)),
        "entries": [{**entry, "gateway": "gw2"}, {**later, "gateway": "gw1"}],
        "usage": [
            {name: 2 * value if isinstance(value, int) else value for name, value in ROW.items()}
            | {"requests": 7}
        ],
        "lost": {"gw1": 0, "gw2": 2},
        "silent": {"gw3": "no route"},
        "error": None,
    }
    assert found.error is None


def test_an_audit_that_nobody_answers_fails() -> None:
    found: Audit = joined(NOW, NOW, [AuditAnswer("gw1", why="no route")], 1)
    assert found.error is not None
    assert found.error.code == "BAS-2116"


@pytest.mark.parametrize(
    ("text", "begin"),
    [
        ("2h", NOW - timedelta(hours=2)),
        ("2026-11-01", datetime(2026, 11, 1, tzinfo=UTC)),
    ],
)
def test_since_is_a_time_ago_or_a_day(text: str, begin: datetime) -> None:
    assert parse_since(text, NOW) == begin


@pytest.mark.parametrize("text", ["", "yesterday", "2026-13-01", "-2h"])
def test_any_other_since_is_refused(text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_since(text, NOW)
    assert caught.value.code == "BAS-2113"
