"""Disturbs installations, upgrades and rollbacks of two lab hosts at random moments.

    python tests/torture/upgrade_points.py --points 200 --seed 1 --work DIR

Each point: an operation begins, a fault strikes at a moment drawn uniformly from the operation's
measured duration, its cause is removed, and the operation is run once more, plainly. Then every
host must be in a declared good state, old or new, and the data equal to what was acknowledged, or
to the snapshot that was put back. Needs root, a lab's tools and about 8 GB. The results file gets
one JSON line a point; a stopped program goes on with it.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict
from pathlib import Path

from upgrade_faults import KINDS
from upgrade_judge import table
from upgrade_site import Site, set_up, tear_down
from upgrade_torture import Torture


def main() -> int:
    """Read the options, run and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--points", type=int, default=200, help="in all, those done included")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--lab", default="torture", help="the lab's name")
    parser.add_argument("--work", type=Path, default=Path("/var/tmp/bastide-upgrade-points"))
    parser.add_argument("--resume", type=Path, help="results file; WORK/results.jsonl if not given")
    parser.add_argument("--json", action="store_true", help="print the results as JSON")
    parser.add_argument("--keep", action="store_true", help="leave the lab as it is at the end")
    parser.add_argument("--table", action="store_true", help="only print what the file holds")
    options = parser.parse_args()
    file: Path = options.resume or options.work / "results.jsonl"
    results = [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []
    if not options.table and len(results) < options.points:
        site = Site(options.work.resolve(), options.lab)
        set_up(site)
        try:
            torture = Torture(site, options.seed)
            torture.calibrate()
            for number in range(len(results) + 1, options.points + 1):
                result = torture.disturb(number)
                results.append(asdict(result))
                with file.open("a") as stream:
                    stream.write(json.dumps(results[-1]) + "\n")
                print(json.dumps(results[-1]), file=sys.stderr, flush=True)
                if not result.ok:
                    torture.repair()
        finally:
            if not options.keep:
                tear_down(site)
    print(json.dumps(results, indent=2) if options.json else table(results, KINDS))
    return 0 if all(each["ok"] for each in results) else 1


if __name__ == "__main__":
    sys.exit(main())
