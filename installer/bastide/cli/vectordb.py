"""``bastide vectordb``: what the vector DB holds, and moving it to another one."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import click

from bastide.cli.context import site_option
from bastide.cli.output import progress, reports, stdout
from bastide.cli.recording import recorded
from bastide.errors import ConfigError
from bastide.layout import Home, SiteFolder
from bastide.schema.vectordb import VectorEngine
from bastide.site.config import load_site
from bastide.site.secrets import open_secrets
from bastide.vectors.codes import WRONG_ENGINE
from bastide.vectors.endpoint import Address, Endpoint, read_key
from bastide.vectors.migrate import Move, Moved
from bastide.vectors.progress_file import Moves
from bastide.vectors.survey import VectorStatus, survey

_FILE = click.Path(path_type=Path, dir_okay=False)
_ENGINES = click.Choice([str(engine) for engine in VectorEngine])


@click.group("vectordb")
def command() -> None:
    """See what the vector DB holds; move it to another engine."""


def _gateway(site_dir: Path) -> Address:
    """Return the site's own vector DB, as its gateway serves it."""
    site = load_site(site_dir)
    folder = SiteFolder((site_dir if site_dir.is_dir() else site_dir.parent).resolve())
    address = site.gateway_addresses()[0]
    name = f"[{address}]" if address.version == 6 else str(address)
    url = f"https://{name}:{site.network.gateway_port}/vectordb"
    return Address(url, open_secrets(folder, Home.default()).api_key, folder.authority)


def _address(
    url: str | None, key_file: Path | None, authority: Path | None, site_dir: Path
) -> Address:
    if url is None:
        return _gateway(site_dir)
    return Address(url, read_key(key_file) if key_file else "", authority)


def _view_status(result: VectorStatus) -> None:
    console = stdout()
    console.print(f"{result.url}  engine {result.engine} {result.version}", markup=False)
    if result.peers:
        console.print(f"cluster of {len(result.peers)}: {', '.join(result.peers)}", markup=False)
    if not result.collections:
        console.print("no collections", markup=False)
    for each in result.collections:
        vectors = ", ".join(name or "(unnamed)" for name in each.vectors)
        more = f", aliases {', '.join(each.aliases)}" if each.aliases else ""
        more += f", {each.replication_factor} copies" if each.replication_factor > 1 else ""
        console.print(
            f"{each.name:<24} {each.status:<7} {each.points:>10} points "
            f"{each.indexed_vectors:>10} indexed  vectors {vectors}; "
            f"indexes {', '.join(each.payload_indexes) or 'none'}{more}",
            markup=False,
        )


@command.command("status")
@click.option("--url", help="Address of a vector DB; the site's own by default.")
@click.option("--key-file", type=_FILE, help="File with the API key for --url.")
@click.option("--ca", "authority", type=_FILE, help="CA certificate for --url.")
@site_option
@reports(_view_status)
def status(
    site_dir: Path, url: str | None, key_file: Path | None, authority: Path | None
) -> VectorStatus:
    """Show collections, points and indexes, and which engine serves them."""
    with Endpoint(_address(url, key_file, authority, site_dir)) as endpoint:
        return survey(endpoint)


@dataclass(frozen=True)
class Migration:
    """A move that came to its end.

    Args:
        source: Where points came from.
        target: Where they are now, too.
        collections: What was moved, each proved equal.
        aliases: Second names that the target has now.
    """

    source: str
    target: str
    collections: tuple[Moved, ...]
    aliases: tuple[str, ...]


def _view_migration(result: Migration) -> None:
    for each in result.collections:
        stdout().print(
            f"{each.name:<24} {each.points:>10} points equal on both sides "
            f"({each.copied} copied, {each.repaired} repaired, {each.queries} searches equal), "
            f"sha256 {each.sha256[:16]}",
            markup=False,
        )
    stdout().print(
        f"{len(result.collections)} collections and {len(result.aliases)} aliases: "
        f"{result.source} -> {result.target}. The old vector DB still serves: switch to the new "
        "one by a plan.",
        markup=False,
    )


def _about_migration(result: Migration) -> dict[str, str]:
    moved = result.collections
    return {
        "from": result.source,
        "to": result.target,
        "collections": ", ".join(each.name for each in moved),
        "points": str(sum(each.points for each in moved)),
    }


def _require(endpoint: Endpoint, wanted: str, option: str) -> None:
    engine, version = endpoint.engine()
    if str(engine) != wanted:
        raise ConfigError(
            f"{endpoint.url} is the engine {engine} {version}, expected {wanted}",
            code=WRONG_ENGINE,
            hint=f"give the address of the other one, or {option} {engine}",
        )


@command.command("migrate")
@click.option("--from", "source_engine", type=_ENGINES, required=True, help="Engine that serves.")
@click.option("--to", "target_engine", type=_ENGINES, required=True, help="Engine to move to.")
@click.option("--from-url", help="Address of the old one; the site's own by default.")
@click.option("--from-key-file", type=_FILE, help="File with its API key.")
@click.option("--from-ca", type=_FILE, help="CA certificate of its address.")
@click.option("--to-url", required=True, help="Address of the new one.")
@click.option("--to-key-file", type=_FILE, help="File with its API key.")
@click.option("--to-ca", type=_FILE, help="CA certificate of its address.")
@click.option("--collection", "names", multiple=True, help="Only this one; may be repeated.")
@click.option("--state", type=_FILE, default=Path("vectordb-move.json"), show_default=True,
              help="File that keeps how far the move has come.")  # fmt: skip
@site_option
@reports(_view_migration)
@recorded("vectordb migrate", _about_migration)
def migrate(  # noqa: PLR0913, PLR0917 - click gives each option as an argument
    site_dir: Path,
    source_engine: str,
    target_engine: str,
    from_url: str | None,
    from_key_file: Path | None,
    from_ca: Path | None,
    to_url: str,
    to_key_file: Path | None,
    to_ca: Path | None,
    names: tuple[str, ...],
    state: Path,
) -> Migration:
    """Copy all collections to another vector DB, and prove that both hold the same.

    \b
    bastide vectordb migrate --from edge --to server --to-url http://10.0.0.21:6333 \\
        --to-key-file key

    The old one is only read and goes on serving. A run that is cut off goes on where it stopped.
    While clients write, run it as often as you like; for the last run keep them from writing, so
    that nothing is left behind. Counts, a digest of ids and payloads, every vector and a sample of
    searches are compared.
    """  # noqa: D301 - click's mark for text that it must not wrap
    old = _address(from_url, from_key_file, from_ca, site_dir)
    new = Address(to_url, read_key(to_key_file) if to_key_file else "", to_ca)
    with Endpoint(old) as source, Endpoint(new) as target:
        _require(source, source_engine, "--from")
        _require(target, target_engine, "--to")
        move = Move(source, target, Moves.load(state, source.url, target.url), progress())
        moved = tuple(move.collection(name) for name in names or source.collections())
        aliases = () if names else move.aliases()
        return Migration(source.url, target.url, moved, aliases)
