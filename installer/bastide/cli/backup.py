"""``bastide backup``: sealed, signed copies of a site's data, configuration, keys and ledger."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from bastide.backup import archive, keys, make, opening, proof
from bastide.backup.codes import BAD_KEY, NO_BACKUP
from bastide.cli import backup_drill, backup_schedule
from bastide.cli.backup_key import key_options, read_key
from bastide.cli.context import require_ssh_files, site_option
from bastide.cli.output import progress, reports, stdout
from bastide.cli.recording import recorded
from bastide.errors import BastideError, ConfigError
from bastide.layout import BackupFolder, Home, SiteFolder
from bastide.progress import human_bytes
from bastide.schema.backup_archive import SignedHeader
from bastide.site.config import load_site
from bastide.store.receipt import receipt_key

CREATE = "create"


class WithDefault(click.Group):
    """A group whose first word may be left out: ``bastide backup --out DIR`` makes a backup."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Put the word in if there is none."""
        asks = {"-h", "--help"} & set(args[:1])
        if not asks and (not args or args[0].startswith("-")):
            args = [CREATE, *args]
        return super().parse_args(ctx, args)


@click.group("backup", cls=WithDefault)
def command() -> None:
    """Save a site so that it can be restored, on the same hosts or on others.

    \b
    bastide backup init --key-out /media/key/plant.key   once: a recovery key, kept off the site
    bastide backup                                       a backup into site.yaml's backup.folder
    bastide backup verify BACKUP                         every byte is as it was signed
    bastide backup drill BACKUP --key FILE               restore it onto lab hosts, and prove it

    A backup has the vector data as of one moment, the site's folder (secrets still encrypted), the
    vault password, keys, trust, the ledger, and the runs that a rollback can go back to. It is
    sealed to the recovery key (age) and signed with the site's receipt key. Models and packages
    are not in it: they come from the bundle. Writes to the vector DB are refused (503, try again)
    while its files are copied; reads go on. Without a further word, `bastide backup` makes one.
    """  # noqa: D301 - click's mark for text that it must not wrap


def _folder(site_dir: Path) -> SiteFolder:
    return SiteFolder((site_dir if site_dir.is_dir() else site_dir.parent).resolve())


@dataclass(frozen=True)
class Prepared:
    """What `bastide backup init` made.

    Args:
        recipients: All public keys that backups are sealed to now.
        key_file: The new private half; None if a public key was given.
        signer: The site's public receipt key, by which a restore knows the site.
    """

    recipients: tuple[str, ...]
    key_file: Path | None
    signer: str


def _view_prepared(result: Prepared) -> None:
    console = stdout()
    for each in result.recipients:
        console.print(f"sealed to    {each}", markup=False)
    console.print(f"signed by    {result.signer}", markup=False)
    if result.key_file:
        console.print(f"private half {result.key_file}", markup=False)
        console.print("Move that file off the site now, and keep two copies: without it no backup "
                      "opens, and with it every backup does.", markup=False)  # fmt: skip
    else:
        console.print("Note the line 'signed by': a restore on a new machine asks for it "
                      "(--signer).", markup=False)  # fmt: skip


@command.command("init")
@site_option
@click.option(
    "--key-out",
    type=click.Path(path_type=Path, dir_okay=False),
    help="New file for the private half, best on a medium that leaves the site.",
)
@click.option(
    "--recipient",
    metavar="AGE1…",
    help="A public key that was made elsewhere (age-keygen), instead of a new pair.",
)
@click.option("--passphrase", is_flag=True, help="Seal the private half with a passphrase.")
@click.option("--passphrase-file", type=click.Path(path_type=Path, dir_okay=False),
              help="File that holds this passphrase.")  # fmt: skip
@reports(_view_prepared)
@recorded("backup init", lambda result: {"recipients": ", ".join(result.recipients)})
def init(
    site_dir: Path,
    key_out: Path | None,
    recipient: str | None,
    passphrase_file: Path | None,
    *,
    passphrase: bool,
) -> Prepared:
    """Make the recovery key that backups are sealed to, and write its public half down.

    The private half is written to --key-out, and nowhere else: take it off the site. Or make the
    pair elsewhere with `age-keygen` and give its public half with --recipient, so that the private
    half never comes near. Several keys can be added; each opens later backups.
    """
    if (key_out is None) == (recipient is None):
        raise ConfigError(
            "give either --key-out FILE or --recipient AGE1…",
            code=BAD_KEY,
            hint="--key-out makes a new pair; --recipient takes the public half of another",
        )
    site, folder = load_site(site_dir), _folder(site_dir)
    signer = archive.public_text(receipt_key(Home.default().receipt_key))
    if recipient is not None:
        new = keys.parse_recipients([recipient], "--recipient")
    elif key_out is not None:
        words = _new_passphrase(passphrase_file, ask=passphrase)
        new = (keys.make_recovery_key(key_out, site.name, signer, words),)
    return Prepared(keys.add_recipients(folder.recipients, new), key_out, signer)


def _new_passphrase(path: Path | None, *, ask: bool) -> str:
    if path is not None:
        try:
            return path.read_text().strip()
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"{path} cannot be read: {error}", code=BAD_KEY) from error
    if not ask:
        return ""
    words: str = click.prompt("Passphrase", hide_input=True, confirmation_prompt=True, err=True)
    return words


def _view_made(result: make.BackupResult) -> None:
    console = stdout()
    for host, points in result.points.items():
        counts = ", ".join(f"{name} {count}" for name, count in points.items()) or "no collections"
        console.print(f"{host}: points: {counts}", markup=False)
    console.print(f"{result.files} files of the control node, {result.data_files} of vector data",
                  markup=False)  # fmt: skip
    for note in (*result.notes, *(f"removed {name}, by backup.keep" for name in result.removed)):
        console.print(f"note: {note}", markup=False)
    console.print(f"backup {result.path}, {human_bytes(result.size)}", markup=False)


def _about_made(result: make.BackupResult) -> dict[str, str]:
    return {"backup": str(result.path), "removed": ", ".join(result.removed)}


@command.command(CREATE)
@site_option
@click.option("--out", type=click.Path(path_type=Path, file_okay=False),
              help="Folder of backups; site.yaml's backup.folder if not given.")  # fmt: skip
@click.option("--without-data", is_flag=True, help="Leave the vector data out.")
@reports(_view_made)
@recorded("backup", _about_made)
def create(site_dir: Path, out: Path | None, *, without_data: bool) -> make.BackupResult:
    """Make a backup; then let go of older ones, as backup.keep in site.yaml says.

    Exit codes: 0 the backup is whole and on the disk; 2 it could not begin; 5 too little room; 6 a
    host could not give its data; 9 a run or another backup is under way. In all cases but 0 nothing
    is left of it, and earlier backups are as they were.
    """
    site, folder = load_site(site_dir), _folder(site_dir)
    require_ssh_files(site, folder)
    target = make.backup_folder(site, folder, out)
    now = datetime.now(UTC)
    order = make.Order(site, folder, Home.default(), target, now, not without_data)
    return make.make_backup(order, progress())


@dataclass(frozen=True)
class ListedBackup:
    """One backup as its header tells."""

    path: Path
    id: str
    site: str
    created: str
    size: int
    creator: str
    recipients: tuple[str, ...]
    signed_by_this_site: bool
    fault: str = ""


@dataclass(frozen=True)
class BackupList:
    """The backups in a folder, oldest first."""

    folder: Path
    backups: tuple[ListedBackup, ...]


def _view_list(result: BackupList) -> None:
    console = stdout()
    for each in result.backups:
        if each.fault:
            console.print(f"{each.path.name}  [bold red]not to be used[/]: ", end="")
            console.print(each.fault, markup=False)
            continue
        own = "" if each.signed_by_this_site else ", signed by another site"
        console.print(f"{each.id}  {human_bytes(each.size)}, opens with "
                      f"{', '.join(each.recipients)}{own}", markup=False)  # fmt: skip
    console.print(f"{len(result.backups)} backups in {result.folder}", markup=False)


@command.command("list")
@site_option
@click.option("--out", type=click.Path(path_type=Path, file_okay=False),
              help="Folder of backups; site.yaml's backup.folder if not given.")  # fmt: skip
@reports(_view_list)
def list_command(site_dir: Path, out: Path | None) -> BackupList:
    """Show the backups in a folder, oldest first, with whom they open for.

    Only their signed headers are read; `bastide backup verify` reads every byte.
    """
    folder = out.absolute() if out else make.backup_folder(
        load_site(site_dir), _folder(site_dir), None)  # fmt: skip
    signers = opening.known_signers(Home.default(), None, "")
    found = archive.list_backups(folder)
    return BackupList(folder, tuple(_listed(each, set(signers.values())) for each in found))


def _listed(each: archive.Listed, known: set[str]) -> ListedBackup:
    if each.header is None:
        fault = str(each.error)
        return ListedBackup(each.folder.root, "", "", "", 0, "", (), signed_by_this_site=False,
                            fault=fault)  # fmt: skip
    signed: SignedHeader = each.header
    header = signed.header
    return ListedBackup(
        path=each.folder.root,
        id=header.id,
        site=header.site,
        created=header.created.isoformat(timespec="seconds"),
        size=header.size,
        creator=header.creator,
        recipients=header.recipients,
        signed_by_this_site=signed.key in known,
    )


@dataclass(frozen=True)
class Verified:
    """What was proved of a backup.

    Args:
        path: The backup.
        id: Its name.
        signer: Where the key that signed it is known from.
        size: Bytes whose digests are as signed.
        opened: Whether it was opened with a recovery key, and every file in it compared.
        files: Files of the control node.
        data_files: Files of vector data.
    """

    path: Path
    id: str
    signer: str
    size: int
    opened: bool
    files: int = 0
    data_files: int = 0


def _view_verified(result: Verified) -> None:
    console = stdout()
    console.print(f"{result.id}: {human_bytes(result.size)} are as they were signed "
                  f"(signer known from {result.signer})", markup=False)  # fmt: skip
    if result.opened:
        console.print(f"opened: {result.files} files of the control node and {result.data_files} "
                      "of vector data are as they were saved", markup=False)  # fmt: skip
    else:
        console.print("not opened: give --key to compare every file in it", markup=False)


@command.command("verify")
@click.argument("backup", type=click.Path(path_type=Path, file_okay=False), required=False)
@site_option
@key_options(required=False)
@reports(_view_verified)
def verify(backup: Path | None, site_dir: Path, **given: Any) -> Verified:  # noqa: ANN401 - options
    """Read a backup to its end: signature, digests and, with the recovery key, every file.

    BACKUP is a folder that `bastide backup list` shows; the site's newest if not given. Without
    --key it proves that nothing was changed or lost since the backup was signed.

    Exit codes: 0 all is as it was; 2 there is no backup; 4 it is damaged, or not the site's.
    """
    path = backup or _newest(make.backup_folder(load_site(site_dir), _folder(site_dir), None))
    key, signer = read_key(given)
    signers = opening.known_signers(Home.default(), key, signer)
    if key is None:
        header, where = opening.check_backup(BackupFolder(path.absolute()), signers, progress())
        return Verified(path.absolute(), header.id, where, header.size, opened=False)
    opened = opening.open_backup(path, key, signers, progress())
    from bastide.backup.control_files import open_control  # noqa: PLC0415 - loads half of Bastide

    open_control(opened.folder, opened.header, opened.contents, key)
    with progress().task("compare files", total=opened.header.size) as task:
        counts = [proof.prove_data(opened, h, key, task.advance) for h in opened.contents.data]
    return Verified(
        path=opened.folder.root,
        id=opened.header.id,
        signer=opened.signer,
        size=opened.header.size,
        opened=True,
        files=len(opened.contents.files),
        data_files=sum(counts),
    )


def _newest(out: Path) -> Path:
    found = [each for each in archive.list_backups(out) if each.header is not None]
    if not found:
        error: BastideError = ConfigError(
            f"there is no backup in {out}", code=NO_BACKUP, hint="make one: bastide backup"
        )
        raise error
    return found[-1].folder.root


command.add_command(backup_schedule.command)
command.add_command(backup_drill.command)
