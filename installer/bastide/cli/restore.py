"""``bastide restore``: a backup onto the same or other hosts, proved."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from bastide.backup.codes import NOT_RESTORED, OTHER_SITE
from bastide.backup.control_files import open_control
from bastide.backup.keys import RecoveryKey
from bastide.backup.opening import Opened, known_signers, open_backup
from bastide.backup.restore_config import RestoredConfig, has_config, restore_config
from bastide.backup.restore_data import RestoredData, restore_data
from bastide.cli import apply as apply_command
from bastide.cli.backup_key import key_options, need_key
from bastide.cli.context import SiteContext, load_context, site_option
from bastide.cli.gates import SiteKeeper
from bastide.cli.live import watching
from bastide.cli.output import plain, progress, reports, stdout
from bastide.cli.recording import recorded
from bastide.errors import ApplyError, BastideError, ConfigError
from bastide.host.files import write_atomic
from bastide.layout import Home, SiteFolder
from bastide.run.apply import apply
from bastide.run.session import Order
from bastide.run.summary import ApplyResult

CONFIG, DATA = "config", "data"


@dataclass(frozen=True)
class RestoreResult:
    """What a restore did, and what was proved. A true ``error`` makes the command fail.

    Args:
        backup: The backup's name.
        created: When it was made.
        signer: Where the key that signed it is known from.
        config: What was put back on the control node; None if the site's folder was there.
        apply: What was done on the hosts before their data came; None if nothing was.
        data: What each host proved.
        report: The same as a file; None if no data was restored.
    """

    backup: str
    created: str
    signer: str
    config: RestoredConfig | None = None
    apply: ApplyResult | None = None
    data: tuple[RestoredData, ...] = ()
    report: Path | None = None

    @property
    def error(self) -> BastideError | None:
        """What makes the command fail; None if all is restored."""
        failed = self.apply.error if self.apply else None
        if failed is None:
            return None
        return ApplyError(
            f"the hosts could not be brought to where the data can be restored: {failed}",
            code=NOT_RESTORED,
            hint=f"{failed.hint}; then restore again: the site's folder is there already",
            problems=failed.problems,
        )


def _view(result: RestoreResult) -> None:
    console = stdout()
    console.print(f"backup {result.backup} of {result.created}", markup=False)
    if result.config is not None:
        config = result.config
        console.print(
            f"{config.files} files of the control node into {config.folder}", markup=False
        )
        for line in config.kept:
            console.print(f"note: {line}", markup=False)
    if result.apply is not None:
        apply_command.show(result.apply)
    for each in result.data:
        points = ", ".join(f"{name} {count}" for name, count in each.points.items()) or "none"
        console.print(f"{each.host}: points: {points}", markup=False)
        proved = (
            f"counts equal, {each.probes} searches give the same answers"
            if each.asked
            else "the backup has no counts: its vector DB did not run"
        )
        console.print(f"{each.host}: {each.files} files have the digests that were saved; {proved}",
                      markup=False)  # fmt: skip
        if each.aside:
            console.print(f"{each.host}: the data before is kept in {each.aside}", markup=False)
    if result.report:
        console.print(f"report {result.report}", markup=False)


def _about(result: RestoreResult) -> dict[str, str]:
    aside = [f"{each.host}:{each.aside}" for each in result.data if each.aside]
    hosts = ", ".join(each.host for each in result.data)
    return {"id": result.backup, "data_of": hosts, "aside": ", ".join(aside)}


@click.command("restore")
@click.argument("backup", type=click.Path(path_type=Path, file_okay=False))
@site_option
@key_options(required=True)
@click.option(
    "--with-site",
    type=click.Path(path_type=Path, dir_okay=False),
    help="A site.yaml to take instead of the backup's: the same site on other hosts.",
)
@click.option("--only", type=click.Choice([CONFIG, DATA]),
              help="config: only the control node's files. data: only vector data, onto hosts as "
              "they are.")  # fmt: skip
@click.option(
    "--replace-data",
    is_flag=True,
    help="Let the backup's vector data take the place of live data, which is kept aside.",
)
@click.option("--yes", is_flag=True, help="Do not ask about the plan.")
@reports(_view)
@recorded("restore", _about)
def command(
    backup: Path,
    site_dir: Path,
    with_site: Path | None,
    only: str | None,
    *,
    replace_data: bool,
    yes: bool,
    **given: Any,  # noqa: ANN401 - options
) -> RestoreResult:
    """Restore BACKUP: the site's folder and keys, the hosts, their vector data; and prove it.

    The whole backup is checked first. If the folder of --site holds no site yet, it is written
    from the backup, with keys, trust and ledger; a folder that holds the site stays as it is. Then
    a plan is made, shown, and carried out. Then the vector data goes to its hosts, beside what is
    live, where every file is compared with its saved digest; the two are exchanged in one step
    while writes are refused; the service must come up with the saved number of points and give the
    saved answers to the saved searches. If it does not, the data before is live again.

    Live data is never replaced without --replace-data, and stays aside on the host either way.
    The release's bundle must be in the store: `bastide import` it first on a new control node.

    \b
    Exit codes: 0 all is restored and proved; 2 usage, or it does not fit this folder; 4 the backup
    is damaged, changed, or not the site's; 5, 7, 8 as of apply; 6 hosts or data could not be
    restored, the message says what is live; 9 another run holds the site.
    """  # noqa: D301 - click wants the real character
    if not yes and only != CONFIG:
        apply_command.require_somebody()
    root = site_dir.parent if site_dir.is_file() else site_dir
    folder, home = SiteFolder(root.resolve()), Home.default()
    key, signer = need_key(given)
    opened = open_backup(backup, key, known_signers(home, key, signer), progress())
    base = RestoreResult(
        opened.header.id, opened.header.created.isoformat(timespec="seconds"), opened.signer
    )
    config = _config(opened, key, folder, with_site, only)
    if only == CONFIG:
        return RestoreResult(**{**vars(base), "config": config})
    context = load_context(folder.root)
    applied = None if only == DATA else _apply(context, yes=yes)
    result = RestoreResult(**{**vars(base), "config": config, "apply": applied})
    if result.error:
        return result
    data = restore_data(opened, key, context.site, folder, progress(), replace=replace_data)
    return _reported(RestoreResult(**{**vars(result), "data": data}), folder)


def _config(
    opened: Opened, key: RecoveryKey, folder: SiteFolder, with_site: Path | None, only: str | None
) -> RestoredConfig | None:
    """Write the site's folder unless it is there; return what was written."""
    if has_config(folder, opened.header.site):
        if with_site is None:
            return None
        raise ConfigError(
            f"{folder.root} holds the site already, so --with-site has no place",
            code=OTHER_SITE,
            hint="edit the site.yaml there, or name a new folder with --site",
        )
    if only == DATA:
        raise ConfigError(
            f"{folder.root} holds no site",
            code=OTHER_SITE,
            hint="name the site's folder with --site, or leave --only out",
        )
    saved = open_control(opened.folder, opened.header, opened.contents, key)
    site_yaml = with_site.read_bytes() if with_site else None
    return restore_config(saved, folder, Home.default(), site_yaml, opened.header.id)


def _apply(context: SiteContext, *, yes: bool) -> ApplyResult:
    with watching(context.bundle.root.release) as watcher:
        order = Order(
            folder=context.folder,
            home=context.home,
            wanted=context.wanted,
            approve=(lambda _: True) if yes else (lambda plan: apply_command.ask(plan, watcher)),
            keeper=SiteKeeper(context),
        )
        return apply(order, watcher)


def _reported(result: RestoreResult, folder: SiteFolder) -> RestoreResult:
    """Write what was proved into the site's reports."""
    place = folder.reports / f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}-restore"
    place.mkdir(mode=0o700, parents=True, exist_ok=True)
    report = place / "restore.json"
    text = json.dumps({"format": "bastide.restored/1", **plain(result)}, indent=2)
    write_atomic(report, text.encode() + b"\n", mode=0o600)
    return RestoreResult(**{**vars(result), "report": report})
