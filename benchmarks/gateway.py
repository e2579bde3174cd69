"""What the gateway costs, and what the batched engine gains; measured on a site's own LLM host.

    bastide lab exec -- .venv/bin/python benchmarks/gateway.py --site DIR --wheels DIR

Compares, at 1 and at 8 clients, in turn and several times over:

    gateway   the TLS gateway, with an API key
    engine    the LLM server, reached directly on the same host
    stock     ``python -m llama_cpp.server`` on that host, with the site's model and packages
    limit     the engine without any server: one batch of 1 or 8 sequences (see llm.py)

Prints medians and the ratios that matter, of this one run. Everything runs on the host, the
clients too; the host must carry gateway and LLM. Its firewall, units and files stay as they are,
but for a folder below /tmp that is removed at the end.

``stock`` needs four packages that a site does not have. Fetch them where there is an index:

    pip download --no-deps -d DIR sse-starlette starlette-context pydantic-settings python-dotenv
"""

from __future__ import annotations

import argparse
import json
import shlex
import statistics
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path

from bastide.layout import HOST_CURRENT, HOST_ETC, HOST_SECRETS, SiteFolder
from bastide.schema.site import Group, Site
from bastide.site.config import load_site
from bastide.verify.access import ssh_config

SCRIPT = Path(__file__).with_name("llm.py")
FOLDER = "/tmp/bastide-benchmark"
STOCK_PORT = 18099
PYTHON = f"{HOST_CURRENT}/venv/bin/python"
BACKENDS = f"cd {HOST_CURRENT}/backends"


class Host:
    """The site's LLM host, by ssh."""

    def __init__(self, site: Site, root: Path, place: Path) -> None:
        self.name = site.hosts_in(Group.GATEWAY)[0]
        if self.name not in site.hosts_in(Group.LLM):
            raise SystemExit(f"{self.name} carries the gateway but no LLM: nothing to compare")
        self.address = str(site.hosts[self.name].address)
        # What the LLM's unit sets, so that all ways wait alike.
        self.environment = f"GOMP_SPINCOUNT={site.sizes.llm.spin} PYTHONDONTWRITEBYTECODE=1"
        config = place / "ssh_config"
        master = f"  ControlMaster auto\n  ControlPersist 60\n  ControlPath {place}/%C\n"
        config.write_text(ssh_config(site, root) + master)
        self._ssh = ["ssh", "-F", str(config), self.name]

    def run(self, command: str, content: bytes = b"") -> str:
        """Run a shell line on the host; return what it printed."""
        done = subprocess.run(
            [*self._ssh, command], input=content, capture_output=True, check=False
        )
        if done.returncode:
            raise SystemExit(f"{command}\nfailed on {self.name}:\n{done.stderr.decode()}")
        return done.stdout.decode()

    def measure(self, *words: str, python: str = "/usr/bin/python3") -> dict[str, float]:
        """Run llm.py on the host with these words; return what it measured."""
        line = f"{BACKENDS} && {self.environment} {python} {FOLDER}/llm.py {shlex.join(words)}"
        found: dict[str, float] = json.loads(self.run(line))
        return found

    def close(self) -> None:
        """End the kept connection."""
        subprocess.run([*self._ssh[:-1], "-O", "exit", self.name], capture_output=True, check=False)


def pack(wheels: Path) -> bytes:
    """Return llm.py and the wheels as one archive for the host; Python imports from wheels."""
    buffer = BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        archive.add(SCRIPT, "llm.py")
        for wheel in sorted(wheels.glob("*.whl")):
            archive.add(wheel, wheel.name)
    return buffer.getvalue()


@contextmanager
def stock_server(host: Host, model: str) -> Iterator[str]:
    """Run ``llama_cpp.server`` on the host, at its best: requests don't cut each other off."""
    config = {
        "host": "127.0.0.1",
        "port": STOCK_PORT,
        "interrupt_requests": False,
        "models": [
            {"model": model, "n_ctx": 2048, "logits_all": False, "use_mlock": False,
             "verbose": False, "n_threads": 0, "n_threads_batch": 0}
        ],
    }  # fmt: skip
    cores = int(host.run("nproc"))
    config["models"][0].update(n_threads=cores, n_threads_batch=cores)  # type: ignore[index]
    host.run(f"cat > {FOLDER}/stock.json", json.dumps(config).encode())
    server = (
        f"{BACKENDS} && PYTHONPATH=$(ls {FOLDER}/*.whl | paste -sd:) exec env {host.environment} "
        f"{PYTHON} -m llama_cpp.server --config_file {FOLDER}/stock.json"
    )
    line = f"setsid sh -c {shlex.quote(server)} >{FOLDER}/stock.log 2>&1 </dev/null & echo $!"
    process = host.run(line).strip()
    try:
        host.run(
            f"for i in $(seq 240); do ss -Hltn | grep -q :{STOCK_PORT} && exit 0; "
            f"kill -0 {process} || break; sleep 0.5; done; cat {FOLDER}/stock.log >&2; exit 1"
        )
        yield f"http://127.0.0.1:{STOCK_PORT}"
    finally:
        host.run(f"kill {process} || true")


def measure(
    host: Host, site: Site, options: argparse.Namespace
) -> dict[str, list[dict[str, float]]]:
    """Return each way's runs, by name and number of clients: ``gateway at 8``."""
    name = site.models.llm
    model = f"{HOST_CURRENT}/models/{name}.gguf"
    gateway = f"https://{host.address}:{site.network.gateway_port}"
    ways = {
        "gateway": ["--url", gateway, "--ca", f"{HOST_ETC}/ca.pem",
                    "--api-key-file", f"{HOST_SECRETS}/api_key"],
        "engine": ["--url", f"http://127.0.0.1:{site.network.llm_port}"],
    }  # fmt: skip
    found: dict[str, list[dict[str, float]]] = {}
    with stock_server(host, model) as url:
        ways["stock"] = ["--url", url]
        for turn in range(options.runs + 1):  # the first one warms up and is not counted
            for clients in (1, 8):
                size = ["--clients", str(clients), "--tokens", str(options.tokens)]
                # The order turns round, so that no way always follows the same other one.
                for way, words in sorted(ways.items(), reverse=bool(turn % 2)):
                    case = ["--model-name", name, "--case", str(time.time_ns())]
                    run = host.measure("load", *words, *case, *size)
                    keep(found, f"{way} at {clients}", run, turn)
                words = ["--model", model, "--batch", str(clients), "--tokens", size[-1]]
                run = host.measure("limit", *words, python=PYTHON)
                keep(found, f"limit at {clients}", run, turn)
    return found


def keep(
    found: dict[str, list[dict[str, float]]], name: str, run: dict[str, float], turn: int
) -> None:
    """Add a run to its list, unless it is the warm-up; say it."""
    shown = ", ".join(f"{key} {value:.3g}" for key, value in run.items())
    print(f"  {'warm-up' if turn == 0 else f'run {turn}'}  {name}: {shown}", file=sys.stderr)
    if turn:
        found.setdefault(name, []).append(run)


def medians(found: dict[str, list[dict[str, float]]]) -> dict[str, dict[str, float]]:
    """Return each way's medians."""
    return {
        name: {key: statistics.median(run[key] for run in runs) for key in runs[0]}
        for name, runs in found.items()
    }


def ratios(found: dict[str, list[dict[str, float]]]) -> dict[str, float]:
    """Return the ratios that matter: the median over the turns, each with its own neighbours."""
    pairs = {
        "gateway / engine, 1 client": ("gateway at 1", "engine at 1"),
        "gateway / engine, 8 clients": ("gateway at 8", "engine at 8"),
        "gateway / stock, 8 clients": ("gateway at 8", "stock at 8"),
        "gateway / limit, 8 clients": ("gateway at 8", "limit at 8"),
    }
    rate = "tokens_per_second"
    return {
        label: statistics.median(
            one[rate] / other[rate] for one, other in zip(found[a], found[b], strict=True)
        )
        for label, (a, b) in pairs.items()
    }


def table(result: dict[str, dict[str, float]], comparisons: dict[str, float]) -> None:
    """Print medians and ratios."""
    print(f"{'':16}{'tokens/s':>10}{'first token':>14}")
    for name, row in result.items():
        first = f"{row['first_token'] * 1000:.0f} ms" if "first_token" in row else ""
        print(f"{name:16}{row['tokens_per_second']:10.1f}{first:>14}")
    print()
    for label, value in comparisons.items():
        print(f"{label:32}{value:6.2f}")


def main() -> None:
    """Measure, print, clean up."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--site", type=Path, default=Path(), help="folder that holds site.yaml")
    parser.add_argument("--wheels", type=Path, required=True, help="packages for `stock`")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--tokens", type=int, default=96)
    parser.add_argument("--json", type=Path, help="also write the numbers to this file")
    options = parser.parse_args()
    site, folder = load_site(options.site), SiteFolder(options.site.resolve())
    with tempfile.TemporaryDirectory(prefix="bastide-bench-") as name:
        host = Host(site, folder.root, Path(name))
        try:
            host.run(f"mkdir -m 700 {FOLDER} && tar -xC {FOLDER}", pack(options.wheels))
            found = measure(host, site, options)
        finally:
            host.run(f"rm -rf {FOLDER}")
            host.close()
    result, comparisons = medians(found), ratios(found)
    table(result, comparisons)
    if options.json:
        record = {"runs": found, "medians": result, "ratios": comparisons}
        options.json.write_text(json.dumps(record, indent=2), encoding="utf-8")


if __name__ == "__main__":
    main()
