"""What locking and building work with."""

from __future__ import annotations

import urllib.parse
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from bastide.progress import Progress
from bastide.schema.lock import Container
from bastide.sources.cache import Cache
from bastide.sources.fetch import Fetcher, Pin
from bastide.trust.licences import LicenceGate

PARALLEL = 4  # downloads at once: many are small, and servers answer slowly


@dataclass(frozen=True)
class Workshop:
    """The builder's cache and network, and whom to tell.

    Args:
        fetcher: Brings files into its cache.
        progress: Told what advances.
        licences: Refuses artifacts whose licence the organisation does not want; None asks
            nobody.
    """

    fetcher: Fetcher
    progress: Progress
    licences: LicenceGate | None = None

    @property
    def cache(self) -> Cache:
        """Files by digest."""
        return self.fetcher.cache

    def fetch(self, label: str, pins: Sequence[Pin]) -> list[Path]:
        """Bring files in, some at once, and return their paths in the same order.

        Raises:
            FetchError: One of them cannot be had; the others are kept for the next run.
        """
        missing = [pin for pin in pins if not self.cache.has(pin.sha256)]
        if missing:
            self._bring(label, missing)
        return [self.cache.path(pin.sha256) for pin in pins]

    def _bring(self, label: str, pins: Sequence[Pin]) -> None:
        sizes = [pin.size for pin in pins]
        total = None if None in sizes else sum(size or 0 for size in sizes)
        with (
            self.progress.task(label, total=total) as task,
            ThreadPoolExecutor(max_workers=PARALLEL) as pool,
        ):
            try:
                list(pool.map(lambda pin: self.fetcher.fetch(pin, task), pins))
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise

    def container(self, pin: Pin) -> tuple[Path, Container]:
        """Bring one file in; return its path and what a lock says about it."""
        (path,) = self.fetch(f"fetch {pin.label}", [pin])
        size = path.stat().st_size
        return path, Container(url=public_url(pin.url), sha256=pin.sha256, size=size)


def public_url(url: str) -> str:
    """Return ``url`` without user name and password: locks and bundles are shown to others."""
    parts = urllib.parse.urlsplit(url)
    return urllib.parse.urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))
