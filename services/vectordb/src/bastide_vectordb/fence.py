"""The fence: while a file exists, writes are refused.

The file is the truth, so that a fence survives a restart and needs nobody to poll: it is looked for
at every write. Whoever raises it is told by ``GET /bastide/fence`` when nothing changes any more.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import hmac
import logging
from collections.abc import Awaitable, Iterator
from pathlib import Path

import orjson

from bastide_vectordb.errors import FencedError

PASS = b"x-bastide-pass"
_LOOK_SECONDS = 0.5
_log = logging.getLogger(__name__)


class Fence:
    """Lets writes pass, or refuses them, and knows how many are under way.

    Used by one event loop only: between the look at the file and the count of a write nothing
    else runs, so that whoever sees the fence also sees every write that slipped through before.

    Args:
        path: ``storage.fence_path``; None: there is never a fence.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self.running = 0

    def up(self) -> bool:
        """Whether writes are refused; also where the file cannot be looked at."""
        if self._path is None:
            return False
        try:
            self._path.stat()
        except (FileNotFoundError, NotADirectoryError):
            return False
        except OSError as error:
            _log.warning("%s: %s: writes are refused", self._path, error)
        return True

    def check(self, offered: bytes) -> None:
        """Let a write pass, or refuse it.

        Args:
            offered: The request's ``x-bastide-pass``, empty without it.

        Raises:
            FencedError: the fence is up, and the pass is not the fence's own.
        """
        if self.up() and not (offered and self._opens(offered)):
            raise FencedError

    def _opens(self, offered: bytes) -> bool:
        digest = hashlib.sha256(offered).hexdigest()
        try:
            wanted = orjson.loads(self._path.read_bytes())["pass_sha256"] if self._path else ""
            return hmac.compare_digest(digest, wanted)
        except FileNotFoundError:
            return True  # lifted this moment
        except (OSError, ValueError, KeyError, TypeError):
            return False

    @contextlib.contextmanager
    def writing(self, offered: bytes) -> Iterator[None]:
        """Count a write as under way until the block ends.

        Raises:
            FencedError: it is refused.
        """
        self.check(offered)
        self.running += 1
        try:
            yield
        finally:
            self.running -= 1

    async def unless_raised(self, work: Awaitable[None], offered: bytes) -> None:
        """Await work that a client may draw out for ever; end it if a fence is raised meanwhile.

        Raises:
            FencedError: it was ended.
        """
        task = asyncio.ensure_future(work)
        try:
            while not (await asyncio.wait({task}, timeout=_LOOK_SECONDS))[0]:
                self.check(offered)
        finally:
            task.cancel()
            await asyncio.wait({task})
        task.result()
        self.check(offered)
