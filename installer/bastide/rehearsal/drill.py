"""A restore drill: a backup onto lab hosts, proved, and the lab taken away again."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bastide.backup.control_files import SavedFiles, open_control
from bastide.backup.keys import RecoveryKey
from bastide.backup.opening import Opened
from bastide.backup.restore_config import saved_site
from bastide.errors import BastideError, VerifyError
from bastide.host.files import write_atomic
from bastide.host.lock import exclusive_lock
from bastide.layout import Home, RehearsalFolder
from bastide.progress import Progress
from bastide.rehearsal import stage
from bastide.rehearsal.control import Answer, Control
from bastide.rehearsal.machine import this_machine
from bastide.rehearsal.scene import MEMORY_SHARE, bounded, lab_release, set_scene, site_in_lab
from bastide.schema.model_card import ModelCard
from bastide.schema.rehearsal import Failure, HostPair
from bastide.schema.site import Site
from bastide.schema.target import Target
from bastide.site.config import site_text
from bastide.site.vault import label_of

FAILED = "BAS-7070"


@dataclass(frozen=True)
class Known:
    """What the store knows of a site: the target of its hosts and the cards of its models."""

    target: Target
    cards: dict[str, ModelCard]


@dataclass(frozen=True)
class Order:
    """What is to be drilled.

    Args:
        opened: The backup, checked.
        key: What opens it.
        words: How a command is given the recovery key.
        home: The operator's home.
        lab: The lab's name.
        keep: Leave the lab standing.
        know: Looks up a site's release in the store.
    """

    opened: Opened
    key: RecoveryKey
    words: tuple[str, ...]
    home: Home
    lab: str
    keep: bool
    know: Callable[[Site], Known]


@dataclass(frozen=True)
class DrillResult:
    """What a drill came to. A true ``error`` makes the command fail.

    Args:
        backup: The backup's name.
        hosts: Who played whom.
        seconds: How long each part took.
        data: What each host proved, as `bastide restore` says it.
        verified: Whether the restored site has passed `bastide verify`.
        failure: What went wrong; None if nothing did.
        kept: The lab's site folder, if the lab was left standing; empty if not.
    """

    backup: str
    hosts: tuple[HostPair, ...]
    seconds: dict[str, float]
    data: tuple[dict[str, Any], ...] = ()
    verified: bool = False
    failure: Failure | None = None
    kept: str = ""

    @property
    def error(self) -> BastideError | None:
        """What makes the command fail; None if the backup was restored and proved."""
        if self.failure is None:
            return None
        return VerifyError(
            f"the drill failed: {self.failure.code} {self.failure.message}. Production was not "
            "touched",
            code=FAILED,
            hint=self.failure.hint or "run it again with --keep, and look at the lab",
        )


def drill(order: Order, progress: Progress) -> DrillResult:
    """Restore a backup onto a lab of its own, which is gone afterwards; return what was proved.

    Raises:
        ConfigError: The drill cannot begin.
        TrustError: The backup is damaged.
        LabError: The lab cannot be raised on this machine.
        LockedError: Another drill or rehearsal of that name is under way.
    """
    opened = order.opened
    saved = open_control(opened.folder, opened.header, opened.contents, order.key)
    site = saved_site(saved)
    known = order.know(site)
    scene = set_scene(order.lab, site, None)
    release = lab_release(site, known.target.distribution, known.target.version)
    machine = this_machine()
    small = bounded(site, known.cards, int(machine.memory_free * MEMORY_SHARE), machine.cpus)
    in_lab = site_in_lab(small, scene, stage.ssh_of(order.home, order.lab))
    lock = order.home.rehearsal(order.lab).lock
    lock.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with exclusive_lock(lock, f"restore drill of site {site.name}"):
        folder = stage.claim(order.home, order.lab, progress)
        try:
            started = time.monotonic()
            lab = stage.raise_lab(order.home, order.lab, release, len(scene.hosts), progress)
            own = stage.furnish_home(folder, order.home)
            control = Control(lab, own, folder.site, _password(own, saved))
            raised = round(time.monotonic() - started, 1)
            result = _play(order, control, folder, in_lab, progress)
            return DrillResult(
                backup=opened.header.id,
                hosts=scene.hosts,
                kept=str(folder.site.root) if order.keep else "",
                **{**result, "seconds": {"lab": raised, **result["seconds"]}},
            )
        finally:
            if not order.keep:
                stage.strike(order.home, order.lab, progress)


def _password(own: Home, saved: SavedFiles) -> Path:
    """Return where the restore will have put the vault's password."""
    sealed, _ = saved.below("site")["secrets.vault.yaml"]
    label = label_of(sealed, where="secrets.vault.yaml of the backup")
    return own.vault_passwords / f"{Path(label).name}.txt"


def _play(
    order: Order, control: Control, folder: RehearsalFolder, site: Site, progress: Progress
) -> dict[str, Any]:
    """Restore, then verify; return what they came to."""
    with_site = folder.root / "site-in-lab.yaml"
    write_atomic(with_site, site_text(site).encode(), mode=0o600)
    backup = str(order.opened.folder.root)
    words = ("restore", backup, *order.words, "--with-site", str(with_site), "--yes")
    restored, seconds = _timed(control, "restore onto lab hosts", words, progress)
    found: dict[str, Any] = {"seconds": {"restore": seconds}, "failure": restored.failure}
    if restored.failure is None:
        found["data"] = tuple(dict(each) for each in restored.result["data"])
        proved, took = _timed(control, "verify the restored site", ("verify",), progress)
        found["seconds"]["verify"] = took
        found |= {"failure": proved.failure, "verified": proved.failure is None}
    return found


def _timed(
    control: Control, title: str, words: tuple[str, ...], progress: Progress
) -> tuple[Answer, float]:
    begin = time.monotonic()
    with progress.task(title, unit="steps") as task:

        def tell(line: str) -> None:
            task.describe(line)
            task.advance(1)

        answer = control.bastide(*words, tell=tell)
    return answer, round(time.monotonic() - begin, 1)
