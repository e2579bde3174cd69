"""``bastide backup drill``: restore a backup onto lab hosts, prove it, take the lab down."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from bastide.backup.archive import read_header
from bastide.backup.opening import known_signers, open_backup
from bastide.cli.backup_key import key_options, need_key
from bastide.cli.context import find_bundle, read_cards, read_target
from bastide.cli.output import progress, reports, stdout
from bastide.cli.recording import recorded
from bastide.layout import Home
from bastide.rehearsal.drill import DrillResult, Known, Order, drill
from bastide.schema.site import Site
from bastide.store.local import Store

LAB = "drill"


def _view(result: DrillResult) -> None:
    console = stdout()
    for pair in result.hosts:
        console.print(f"{pair.host} is played by {pair.lab_host}", markup=False)
    for each in result.data:
        points = ", ".join(f"{name} {count}" for name, count in each["points"].items()) or "none"
        console.print(f"{each['host']}: points: {points}; {each['files']} files and "
                      f"{each['probes']} searches equal", markup=False)  # fmt: skip
    times = ", ".join(f"{name} {seconds:.0f} s" for name, seconds in result.seconds.items())
    console.print(f"times: {times}", markup=False)
    verdict = (
        "[bold red]drill failed[/]" if result.failure else "[bold green]restored and proved[/]"
    )
    console.print(f"{verdict}; production was not touched")
    if result.kept:
        console.print(f"the lab stands; its site is {result.kept}", markup=False)


def _know(store: Store, site: Site) -> Known:
    bundle = find_bundle(store, site)
    return Known(read_target(store, bundle), read_cards(store, bundle, site))


@click.command("drill")
@click.argument("backup", type=click.Path(path_type=Path, file_okay=False))
@key_options(required=True)
@click.option("--name", default=LAB, show_default=True, help="Of the lab that is raised for it.")
@click.option("--keep", is_flag=True, help="Leave the lab standing, to look at it.")
@reports(_view)
@recorded("backup drill", lambda result: {"id": result.backup})
def command(backup: Path, name: str, *, keep: bool, **given: Any) -> DrillResult:  # noqa: ANN401
    """Restore BACKUP onto lab hosts, prove that it is whole and works, and take the lab down.

    One lab host plays each host of the site. The site is restored there with `bastide restore`,
    from an empty control node, with its own secrets: counts, digests and searches must be as they
    were saved. Then `bastide verify` must pass. No host of the site is touched or asked.

    \b
    Exit codes: 0 restored and proved; 2 it could not begin; 4 the backup is damaged or not the
    site's; 7 it could not be restored, or does not work; 9 another drill is under way.
    """  # noqa: D301 - click wants the real character
    home = Home.default()
    key, signer = need_key(given)
    opened = open_backup(backup, key, known_signers(home, key, signer), progress())
    words = ["--key", str(given["key_file"].absolute()), "--signer", read_header(opened.folder).key]
    if given["passphrase_file"] is not None:
        words += ["--passphrase-file", str(given["passphrase_file"].absolute())]
    store = Store(home.store)
    order = Order(opened, key, tuple(words), home, name, keep, lambda site: _know(store, site))
    return drill(order, progress())
