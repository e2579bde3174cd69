"""Every metric that dashboards, rules and alerts ask for is one that the site's programs give."""

from __future__ import annotations

import contextlib
import json
import re
import subprocess
import sys
import time
import types
import urllib.request
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml
from bastide_host import telemetry
from bastide_host.host import Paths
from gateway_stand import Stand, free_port, short_folder
from haproxy_program import haproxy
from monitored_site import make_site, render

from bastide import resources
from bastide.render.engine import TemplateFolder
from bastide.site import pki
from bastide_vectordb.metrics import Metrics

pytestmark = pytest.mark.integration
GRAFANA = Path(__file__).resolve().parents[3] / "docs/grafana/bastide.json"
NAME = re.compile(r"(?<![\w:\"=~./])([a-zA-Z_:][\w:]*)(?=[\s{\[)]|$)")
# Of PromQL: what looks like a metric's name and is none.
WORDS = frozenset({
    "sum", "min", "max", "avg", "count", "rate", "increase", "histogram_quantile", "time", "abs",
    "absent", "vector", "scalar", "timestamp", "predict_linear", "by", "on", "and", "or", "unless",
    "without", "bool",
})  # fmt: skip
# Made by Prometheus itself for each target, or first after something went wrong.
ALWAYS = frozenset({"up", "ALERTS"})
# The engine's own, as llama_server.py of llama-cpp-python 0.3.36 writes them.
ENGINE = frozenset({"llamacpp:tokens_predicted_total"})
# Debian's Alertmanager wants its templates below /usr/share, so it runs only where it is installed.
ALERTMANAGER = frozenset({"alertmanager_notifications_failed_total"})
# Noted by runs: a host that has not been backed up or verified has none of them.
NOTED = frozenset(
    f"bastide_last_{what}_{kind}"
    for what in telemetry.NOTES
    for kind in ("timestamp_seconds", "ok")
)


def names_in(exposition: str) -> set[str]:
    """Return the names of all series of a text exposition."""
    return set(re.findall(r"^([a-zA-Z_:][\w:]*)[{ ]", exposition, re.MULTILINE))


def asked_in(expression: str) -> set[str]:
    """Return the metrics that a PromQL expression asks for."""
    bare = re.sub(r"\{[^}]*\}", "{}", expression)  # labels
    bare = re.sub(r"\b(?:by|on|without|ignoring)\s*\([^)]*\)", "", bare)
    bare = re.sub(r"\[[^\]]*\]", "[]", bare)
    return set(NAME.findall(bare)) - WORDS


def get(url: str) -> str:
    with urllib.request.urlopen(url, timeout=10) as answer:  # noqa: S310 - of this machine
        return str(answer.read().decode())


@contextlib.contextmanager
def running(*argv: str | Path, url: str, until: str = "") -> Iterator[str]:
    """Run a program until it answers, and says ``until``; yield what it answers."""
    with subprocess.Popen([str(part) for part in argv], stderr=subprocess.DEVNULL) as process:
        try:
            deadline = time.monotonic() + 30
            told = ""
            while not told or until not in told:
                assert time.monotonic() < deadline, f"{argv[0]} does not answer"
                assert process.poll() is None, f"{argv[0]} ended"
                with contextlib.suppress(OSError):
                    told = get(url)
            yield told
        finally:
            process.terminate()


def model_server() -> str:
    """Return what the wrapped engine tells after one request, with the engine's part left out."""
    text = TemplateFolder(resources.templates()).render("lib/genai_metrics.py.j2", {})
    module = types.ModuleType("genai_metrics")
    sys.modules["genai_metrics"] = module
    exec(compile(text, "genai_metrics.py", "exec"), module.__dict__)  # noqa: S102 - our own

    class CompletionScheduler:
        model = types.SimpleNamespace(model_alias="chat", n_ctx=2048)
        sequence_history = types.SimpleNamespace(size=7)
        requests: dict[str, Any] = {}  # noqa: RUF012 - of one test

        def submit_request(self, request: Any) -> None:
            self.requests[request.id] = request

        def handle_completion_token(self, completion: Any) -> None:
            completion.completion_tokens.append(1)

        def finalize_request_if_ready(self, request: Any) -> None:
            del self.requests[request.id]

        def fail_request(self, request: Any, _exc: BaseException) -> None:
            del self.requests[request.id]

    class CompletionService:
        scheduler = CompletionScheduler()

        def create_embedding(self, payload: Any) -> Any:
            return types.SimpleNamespace(usage=types.SimpleNamespace(prompt_tokens=len(payload)))

        def render_prometheus_metrics(self) -> str:
            return ""

    server = types.SimpleNamespace(
        CompletionScheduler=CompletionScheduler,
        CompletionService=CompletionService,
        CompletionRequestCancelledError=KeyboardInterrupt,
    )
    module.attach(server)
    scheduler = CompletionService.scheduler
    for number, error in enumerate((None, ValueError("no"), KeyboardInterrupt())):
        completion = types.SimpleNamespace(request_id=str(number), completion_tokens=[])
        request = types.SimpleNamespace(
            id=str(number), prompt_tokens=[1, 2, 3], completions=[completion]
        )
        scheduler.submit_request(request)
        scheduler.handle_completion_token(completion)
        scheduler.handle_completion_token(completion)
        if error is None:
            scheduler.finalize_request_if_ready(request)
        else:
            scheduler.fail_request(request, error)
    CompletionService().create_embedding("four")
    return str(CompletionService().render_prometheus_metrics())


def host_metrics(folder: Path) -> str:
    """Return what the host agent tells of a host with one generation and one unit."""
    paths = Paths(folder)
    generation = paths.generations / "3"
    (generation / "etc").mkdir(parents=True)
    (generation / "generation.json").write_text('{"digest": "d", "models": []}')
    paths.current.symlink_to("generations/3")
    paths.etc.mkdir(parents=True)
    (paths.etc / "host.json").write_text('{"site": "plant", "host": "host1"}')
    authority = pki.make_authority("plant", datetime(2026, 11, 1, tzinfo=UTC))
    (paths.etc / "ca.pem").write_text(authority.certificate_pem)
    (paths.etc / "certificates.prom").write_text(
        'bastide_certificate_due_timestamp_seconds{certificate="a",renewal="plan"} 1\n'
    )
    (generation / "etc/syslog.json").write_text("{}")
    (paths.state / "syslog").mkdir(parents=True)
    (paths.state / "syslog/state.json").write_text('{"connected": true, "sent": 1}')
    states = {"bastide-llm.service": {"ActiveState": "active", "NRestarts": "1", "Result": ""}}
    with pytest.MonkeyPatch.context() as patched:  # there is no systemd to ask
        patched.setattr(telemetry, "unit_properties", lambda _paths: states)
        return telemetry.exposition(paths, 1_800_000_000)


def gateway() -> str:
    """Return what HAProxy tells with the release's configuration."""
    with short_folder() as folder:
        stand = Stand(folder)
        with stand.running():
            text = (folder / "haproxy.cfg").read_text()
            port = re.findall(r"frontend metrics\n    bind \S+:(\d+)", text)[0]
            return get(f"http://127.0.0.1:{port}/metrics")


@pytest.fixture(scope="module")
def given(programs: Path, tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    """Return the names of everything that the site's programs give."""
    if not haproxy():
        pytest.skip("no HAProxy can be had here")
    folder = tmp_path_factory.mktemp("given")
    node, prometheus = free_port(), free_port()
    texts = [host_metrics(folder / "host"), model_server(), gateway(), Metrics().render({}, [])]
    counted = Metrics()
    counted.observe("POST", "/collections/{collection}/points/query", 200, 0.004)
    info = {"points_count": 1, "indexed_vectors_count": 1, "segments_count": 1, "status": "green"}
    texts.append(counted.render({"a": info}, []))
    unit = render(make_site(), folder / "site").parent / "units/bastide-node-exporter.service"
    options = re.findall(r"(--(?:no-)?collector\.[\w.-]+)(?=[\s\\])", unit.read_text())
    collectors = [each for each in options if "directory" not in each]
    with running(programs / "prometheus-node-exporter", f"--web.listen-address=127.0.0.1:{node}",
                 *collectors, url=f"http://127.0.0.1:{node}/metrics") as told:  # fmt: skip
        texts.append(told)
    (folder / "site/etc/alone.yml").write_text(
        "rule_files: [prometheus-rules.yml, prometheus-alerts.yml]\n"
        'alerting: {alertmanagers: [{static_configs: [{targets: ["127.0.0.1:1"]}]}]}\n'
    )
    with running(programs / "prometheus", f"--config.file={folder}/site/etc/alone.yml",
                 f"--storage.tsdb.path={folder}/data",
                 f"--web.listen-address=127.0.0.1:{prometheus}",
                 url=f"http://127.0.0.1:{prometheus}/metrics",
                 until="prometheus_notifications_errors_total{") as told:  # fmt: skip
        texts.append(told)
    return {name for text in texts for name in names_in(text)}


def rules(folder: Path) -> list[dict[str, Any]]:
    etc = render(make_site(backups_hours=24), folder)
    found = []
    for name in ("prometheus-rules.yml", "prometheus-alerts.yml"):
        groups = yaml.safe_load((etc / name).read_text())["groups"]
        found += [rule for group in groups for rule in group["rules"]]
    return found


def asked(folder: Path) -> dict[str, set[str]]:
    """Return what rules, dashboard and Grafana ask for, each with its name."""
    script = (resources.templates() / "dashboard/dashboard.js").read_text()
    queries = re.findall(r"^  \w+: ([\"'`])(.+)\1,$", script, re.MULTILINE)
    queries += re.findall(r"^  \[\"[^\"]+\", ([\"'`])(.+?)\1, ", script, re.MULTILINE)
    served = "llm|embeddings|vectordb"
    lines = [text.replace("${SERVED}", served) for _, text in queries]
    lines.append(re.findall(r"^const UP = `(.+)`;", script, re.MULTILINE)[0])
    panels = json.loads(GRAFANA.read_text())["panels"]
    targets = [each["expr"] for panel in panels for each in panel.get("targets", ())]
    found = {f"dashboard: {line}": asked_in(line) for line in lines}
    found |= {f"Grafana: {line}": asked_in(line) for line in targets}
    for rule in rules(folder):
        found[rule.get("alert") or rule["record"]] = asked_in(rule["expr"])
    return found


def test_nothing_is_asked_for_that_nobody_gives(given: set[str], tmp_path: Path) -> None:
    recorded = {rule["record"] for rule in rules(tmp_path / "a") if "record" in rule}
    known = given | recorded | ENGINE | ALERTMANAGER | NOTED | ALWAYS
    missing = {
        what: sorted(names - known)
        for what, names in asked(tmp_path / "b").items()
        if not names <= known
    }
    assert missing == {}


def test_the_search_for_names_finds_them(tmp_path: Path) -> None:
    found = asked(tmp_path)
    assert len([each for each in found if each.startswith("dashboard")]) > 25
    without = {what for what, names in found.items() if not names}
    assert without == {"bastide:llm_requests:limit"}  # a number
    assert found["bastide:memory_available:ratio"] == {
        "node_memory_MemAvailable_bytes",
        "node_memory_MemTotal_bytes",
    }
    assert asked_in('sum by (a) (rate(x_total{b="c"}[5m])) / time() > 0.1') == {"x_total"}


def test_times_and_tokens_of_the_model_server() -> None:
    told = model_server()
    labels = 'gen_ai_operation_name="chat",gen_ai_request_model="chat"'
    assert f"gen_ai_server_time_to_first_token_seconds_count{{{labels}}} 3" in told
    assert f"gen_ai_server_time_per_output_token_seconds_count{{{labels}}} 3" in told
    assert f"gen_ai_server_request_duration_seconds_count{{{labels}}} 1" in told
    for error in ("ValueError", "cancelled"):
        line = f'gen_ai_server_request_duration_seconds_count{{{labels},error_type="{error}"}} 1'
        assert line in told
    assert f'gen_ai_client_token_usage_sum{{{labels},gen_ai_token_type="input"}} 9' in told
    assert f'gen_ai_client_token_usage_sum{{{labels},gen_ai_token_type="output"}} 6' in told
    embedded = 'gen_ai_operation_name="embeddings",gen_ai_request_model="chat"'
    assert f'gen_ai_client_token_usage_sum{{{embedded},gen_ai_token_type="input"}} 4' in told
    assert "bastide_context_tokens 2048" in told
    assert "bastide_context_tokens_held 7" in told
