"""What a host tells of itself: the text, the notes, certificates as clients see them."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import plan_factories as make
import pytest
from bastide_host import telemetry
from bastide_host.host import AgentError, Paths
from tls_server import local_site, serving

from bastide.site import pki

NOW = datetime.now(UTC)


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    found = Paths(tmp_path)
    generation = found.generations / "4"
    (generation / "etc").mkdir(parents=True)
    (generation / "etc/llm.json").write_text("{}")
    record = {
        "digest": "d",
        "release": "starter-2026.12.0",
        "files": {"etc/llm.json": telemetry_digest("{}")},
        "models": [{"name": "chat", "sha256": "a" * 64}],
    }
    (generation / "generation.json").write_text(json.dumps(record))
    found.current.symlink_to("generations/4")
    found.etc.mkdir(parents=True)
    (found.state / "models").mkdir(parents=True)
    (found.state / "models" / f"{'a' * 64}.gguf").write_bytes(b"GGUF")
    (found.etc / "host.json").write_text('{"site": "plant", "host": "a \\"b\\""}')
    return found


def telemetry_digest(text: str) -> str:
    return make.sha(text)


def value(paths: Paths, series: str) -> float | None:
    """Return the value of one series; None if it is not told."""
    for line in telemetry.exposition(paths, 1_800_000_000.5).splitlines():
        name, _, number = line.rpartition(" ")
        if name == series:
            return float(number)
    return None


def test_a_host_tells_what_it_runs(paths: Paths) -> None:
    assert value(paths, "bastide_generation") == 4
    assert value(paths, "bastide_drift_files") == 0
    assert value(paths, "bastide_models_missing") == 0
    assert value(paths, "bastide_metrics_written_timestamp_seconds") == 1_800_000_000.5
    text = telemetry.exposition(paths, 0)
    assert 'bastide_info{site="plant",host="a \\"b\\"",release="starter-2026.12.0"} 1' in text


def test_a_generation_is_good_once_it_is_marked_so(paths: Paths) -> None:
    assert value(paths, "bastide_generation_good") == 0
    paths.good.write_text(json.dumps({"good": [{"number": 4, "content": "d"}]}))
    assert value(paths, "bastide_generation_good") == 1
    paths.good.write_text(json.dumps({"good": [{"number": 3, "content": "other"}]}))
    assert value(paths, "bastide_generation_good") == 0


def test_what_was_changed_by_hand_or_is_gone_is_counted(paths: Paths) -> None:
    (paths.current / "etc/llm.json").write_text("changed")
    (paths.current / "etc/more.json").write_text("not ours")
    (paths.state / "models" / f"{'a' * 64}.gguf").unlink()
    assert value(paths, "bastide_drift_files") == 2
    assert value(paths, "bastide_models_missing") == 1


def test_an_open_transition_is_told(paths: Paths) -> None:
    assert value(paths, "bastide_transition_open") == 0
    paths.transition.write_text('{"format": "bastide.transition/1", "run": "x"}')
    assert value(paths, "bastide_transition_open") == 1


def test_units_tell_their_state_restarts_and_last_end(
    paths: Paths, monkeypatch: pytest.MonkeyPatch
) -> None:
    states: dict[str, dict[str, str]] = {
        "bastide-llm.service": {"ActiveState": "failed", "NRestarts": "5", "Result": "oom-kill"},
        "bastide-gateway.service": {"ActiveState": "active", "NRestarts": "0", "Result": "success"},
    }
    monkeypatch.setattr(telemetry, "unit_properties", lambda _paths: states)
    assert value(paths, 'bastide_unit_active{unit="bastide-llm.service"}') == 0
    assert value(paths, 'bastide_unit_active{unit="bastide-gateway.service"}') == 1
    assert value(paths, 'bastide_unit_restarts_total{unit="bastide-llm.service"}') == 5
    assert value(paths, 'bastide_unit_oom_killed{unit="bastide-llm.service"}') == 1


def test_notes_are_told_once_there_are_any(paths: Paths) -> None:
    assert value(paths, "bastide_last_backup_timestamp_seconds") is None
    given = {"what": "backup", "unix_time": 1_700_000_000, "ok": True}
    assert telemetry.note(paths, given) == {"changed": True}
    assert telemetry.note(paths, given) == {"changed": False}
    assert value(paths, "bastide_last_backup_timestamp_seconds") == 1_700_000_000
    assert value(paths, "bastide_last_backup_ok") == 1
    telemetry.note(paths, {**given, "ok": False})
    assert value(paths, "bastide_last_backup_ok") == 0


@pytest.mark.parametrize("what", ["", "../etc/passwd", "restore"])
def test_nothing_else_is_noted(paths: Paths, what: str) -> None:
    with pytest.raises(AgentError) as caught:
        telemetry.note(paths, {"what": what, "unix_time": 1, "ok": True})
    assert caught.value.code == "BAS-6120"
    assert not (paths.state / "notes").exists()


@pytest.mark.parametrize("age_days", [0, 3000], ids=["valid", "ended long ago"])
def test_a_certificate_is_looked_at_as_clients_see_it(
    paths: Paths, tmp_path: Path, age_days: int
) -> None:
    then = NOW - timedelta(days=age_days)
    authority = pki.make_authority("plant", then)
    (paths.etc / "ca.pem").write_text(authority.certificate_pem)
    with serving(pki.issue_gateway(authority, local_site(), then), tmp_path) as port:
        services: dict[str, Any] = {
            "bastide-gateway.service": f"https://127.0.0.1:{port}/healthz",
            "bastide-llm.service": "http://127.0.0.1:1/healthz",
        }
        place = paths.current / "etc/host.json"
        place.write_text(json.dumps({"services": services}))
        found = dict(telemetry.certificates(paths))
    assert set(found) == {"ca", "gateway"}
    assert (found["gateway"] < NOW.timestamp()) == (age_days > 0)
    assert found["ca"] > found["gateway"]


def test_a_gateway_that_is_silent_has_no_certificate_and_breaks_nothing(paths: Paths) -> None:
    (paths.etc / "ca.pem").write_text(pki.make_authority("plant", NOW).certificate_pem)
    services = {"bastide-gateway.service": "https://127.0.0.1:1/healthz"}
    (paths.current / "etc/host.json").write_text(json.dumps({"services": services}))
    assert [name for name, _ in telemetry.certificates(paths)] == ["ca"]


def test_the_cas_that_clients_trust_are_one_series_which_ends_with_the_first(paths: Paths) -> None:
    ends = [NOW - timedelta(days=days) for days in (0, 100)]
    made = [pki.make_authority(name, at) for name, at in zip(("plant", "corp"), ends, strict=True)]
    (paths.etc / "ca.pem").write_text("".join(each.certificate_pem for each in made))
    ((name, ends_at),) = telemetry.certificates(paths)
    assert name == "ca"
    assert ends_at == pki.valid_until(made[1].certificate_pem).timestamp()


def test_the_file_is_written_whole(paths: Paths) -> None:
    folder = paths.state / "metrics"
    folder.mkdir()
    telemetry.write_metrics(paths, 5.0)
    assert [path.name for path in folder.iterdir()] == [telemetry.FILE]
    assert (folder / telemetry.FILE).stat().st_mode & 0o777 == 0o644
