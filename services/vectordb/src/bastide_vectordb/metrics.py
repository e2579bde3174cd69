"""Counters of the service in Prometheus' text format."""

from __future__ import annotations

import os
import resource
from bisect import bisect_left
from collections import defaultdict
from pathlib import Path
from typing import Any

from bastide_vectordb import __version__

_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)


def _quote(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


class Metrics:
    """Counts requests by endpoint."""

    def __init__(self) -> None:
        self._responses: defaultdict[tuple[str, str, int], int] = defaultdict(int)
        self._counts: defaultdict[tuple[str, str], list[int]] = defaultdict(
            lambda: [0] * (len(_BUCKETS) + 1)
        )
        self._seconds: defaultdict[tuple[str, str], float] = defaultdict(float)
        self.optimizations = 0
        self.optimizations_failed = 0

    def observe(self, method: str, endpoint: str, status: int, seconds: float) -> None:
        """Count one response.

        Args:
            method: HTTP method.
            endpoint: The route's template, never the path: names stay few.
            status: HTTP status.
            seconds: Time taken.
        """
        self._responses[method, endpoint, status] += 1
        self._counts[method, endpoint][bisect_left(_BUCKETS, seconds)] += 1
        self._seconds[method, endpoint] += seconds

    def render(self, collections: dict[str, dict[str, Any]], pids: list[int]) -> str:
        """All metrics.

        Args:
            collections: Last known info of each collection by name.
            pids: Engine processes, whose memory is counted with ours.
        """
        lines = [
            "# TYPE app_info gauge",
            f'app_info{{name="bastide-vectordb",version="{__version__}"}} 1',
            "# TYPE collections_total gauge",
            f"collections_total {len(collections)}",
        ]
        for metric, key in (
            ("collection_points", "points_count"),
            ("collection_vectors_indexed", "indexed_vectors_count"),
            ("collection_segments", "segments_count"),
        ):
            lines.append(f"# TYPE {metric} gauge")
            lines += [
                f'{metric}{{id="{_quote(name)}"}} {info[key]}'
                for name, info in collections.items()
                if key in info
            ]
        running = sum(info.get("status") == "yellow" for info in collections.values())
        lines += [
            "# TYPE collection_running_optimizations gauge",
            f"collection_running_optimizations {running}",
            "# TYPE bastide_vectordb_optimizations_total counter",
            f'bastide_vectordb_optimizations_total{{outcome="done"}} {self.optimizations}',
            f'bastide_vectordb_optimizations_total{{outcome="failed"}} {self.optimizations_failed}',
        ]
        return "\n".join([*lines, *self._rest(), *_process(pids), ""])

    def _rest(self) -> list[str]:
        lines = ["# TYPE rest_responses_total counter"]
        lines += [
            f'rest_responses_total{{method="{m}",endpoint="{e}",status="{s}"}} {n}'
            for (m, e, s), n in self._responses.items()
        ]
        lines.append("# TYPE rest_responses_duration_seconds histogram")
        for (method, endpoint), counts in self._counts.items():
            labels = f'method="{method}",endpoint="{endpoint}"'
            total = 0
            for bound, number in zip((*map(str, _BUCKETS), "+Inf"), counts, strict=True):
                total += number
                lines.append(
                    f'rest_responses_duration_seconds_bucket{{{labels},le="{bound}"}} {total}'
                )
            name = "rest_responses_duration_seconds"
            lines.append(f"{name}_sum{{{labels}}} {self._seconds[method, endpoint]:.6f}")
            lines.append(f"{name}_count{{{labels}}} {total}")
        return lines


def _resident(pid: int | str) -> int:
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1])
    except (OSError, ValueError, IndexError):
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")


def _process(pids: list[int]) -> list[str]:
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return [
        "# TYPE memory_resident_bytes gauge",
        f"memory_resident_bytes {_resident('self') + sum(map(_resident, pids))}",
        "# TYPE process_open_fds gauge",
        f"process_open_fds {sum(1 for _ in Path('/proc/self/fd').iterdir())}",
        "# TYPE process_max_fds gauge",
        f"process_max_fds {most}",
    ]
