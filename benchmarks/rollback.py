"""How long `bastide rollback` takes on one lab host, beside what its models take to load.

    sudo python benchmarks/rollback.py --rounds 3 --work /var/tmp/rollback

Each round: an apply with other settings of both model servers and the gateway, then the rollback,
timed by its own summary. Afterwards the host restarts each model server by itself, timed there from
the stop to its answer: that is the load, which no rollback can save. Needs root, a lab's tools and
about 3 GB; the lab goes at the end.
"""

from __future__ import annotations

import argparse
import json
import re
import statistics
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests/torture"))

from upgrade_site import OLD, Site, make_bundles  # noqa: E402 - see above

UNITS = ("bastide-llm.service", "bastide-embeddings.service")
GOAL = 10.0  # seconds beside the load
RESTART = """
import json, subprocess, time
begun = time.monotonic()
argv = ["python3", "/opt/bastide/bin/bastide_host.py", "restart", "--answers", "--unit={unit}"]
subprocess.run(argv, check=True, stdout=subprocess.DEVNULL)
print(json.dumps(time.monotonic() - begun))
"""


def want(site: Site, *, other: bool) -> None:
    """Let ``site.yaml`` ask for the first or for other settings of models and gateway."""
    path = site.folder / "site.yaml"
    text = re.sub(r"(?m)^( *spin:) .*", rf"\1 {100 if other else 200}", path.read_text())
    path.write_text(re.sub(r"(?m)^( *max_request_megabytes:) .*", rf"\1 {32 + other}", text))


def raise_site(site: Site) -> None:
    """Make bundle, lab host and site, and install."""
    site.work.mkdir(parents=True, exist_ok=True)
    make_bundles(site)
    site.bastide("lab", "up", "--hosts", "1")
    if not (site.folder / "site.yaml").exists():
        site.bastide("init", "site", "--lab", "--release", OLD)
    want(site, other=False)
    site.bastide("apply", "--site", "site", "--yes", inside=True)


def roll_back(site: Site) -> dict[str, float]:
    """Apply other settings and take them back; return the rollback's seconds and fetched bytes."""
    want(site, other=True)
    site.bastide("apply", "--site", "site", "--yes", inside=True)
    want(site, other=False)
    begun = time.monotonic()
    site.bastide("rollback", "--site", "site", "--yes", inside=True)
    whole = time.monotonic() - begun
    run = max((site.folder / "runs").iterdir())
    summary = json.loads((run / "summary.json").read_text())
    fetched = sum(host["pulled"] for host in summary["hosts"])
    return {"run": summary["elapsed"], "command": whole, "bytes": fetched}


def load_seconds(site: Site) -> float:
    """Return how long the model servers take from their stop to their answer, together."""
    return sum(
        float(site.on_host("host1", "python3 -", RESTART.replace("{unit}", unit))) for unit in UNITS
    )


def main() -> int:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--lab", default="rollback", help="the lab's name")
    parser.add_argument("--work", type=Path, default=Path("/var/tmp/bastide-rollback"))
    options = parser.parse_args()
    site = Site(options.work.resolve(), options.lab, settings=True)
    raise_site(site)
    try:
        rounds = [roll_back(site) | {"load": load_seconds(site)} for _ in range(options.rounds)]
    finally:
        site.bastide("lab", "down", check=False)
    middle = {key: statistics.median(each[key] for each in rounds) for key in rounds[0]}
    beside = middle["run"] - middle["load"]
    print(f"{options.rounds} rounds, medians")
    print(f"| rollback, as its summary says      | {middle['run']:6.1f} s |")
    print(f"| as a whole command                 | {middle['command']:6.1f} s |")
    print(f"| both models, from stop to answer   | {middle['load']:6.1f} s |")
    print(f"| rollback without the load          | {beside:6.1f} s | goal {GOAL:.0f} s |")
    print(f"| payload bytes fetched              | {middle['bytes']:6.0f}   | goal 0 |")
    return 0


if __name__ == "__main__":
    sys.exit(main())
