"""``bastide init``: a new site folder."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from bastide import resources
from bastide.cli.context import is_release, read_release
from bastide.cli.output import reports, stdout
from bastide.cli.recording import recorded
from bastide.errors import ConfigError
from bastide.host.network import source_address
from bastide.lab import state as lab_state
from bastide.lab.spec import DEFAULT_NAME
from bastide.layout import Home, SiteFolder
from bastide.schema.artifact import ArtifactKind, Component
from bastide.schema.loading import load_yaml
from bastide.schema.release import Release
from bastide.schema.site import Group, Ssh
from bastide.site import proposal
from bastide.site.codes import HOST_OPTION, NOT_IMPORTED
from bastide.site.create import CreatedSite, create_site
from bastide.store.local import Store

_LAB = os.environ.get("BASTIDE_LAB") or DEFAULT_NAME


def _view(result: CreatedSite) -> None:
    console = stdout()
    console.print(f"Site {result.name} is described in {result.files[0]}", markup=False)
    console.print(f"  secrets         {result.files[1]} (Ansible Vault)", markup=False)
    console.print(f"  vault password  {result.vault_password_file} (back it up)", markup=False)
    console.print(f"  site CA         {result.files[2]} (what clients trust)", markup=False)
    for backup in result.backups:
        console.print(f"  kept            {backup}", markup=False)
    site = "" if result.folder.resolve() == Path.cwd() else f" --site {result.folder}"
    console.print("", "Next:", sep="\n")
    console.print(f"  look at {result.files[0]}", markup=False)
    console.print(f"  bastide plan{site}       shows what would change on which host", markup=False)
    console.print(f"  bastide keys show{site}  prints the API key for clients", markup=False)


@click.command("init")
@click.argument("directory", type=click.Path(path_type=Path), default=Path())
@click.option("--host", "hosts", multiple=True, metavar="NAME=ADDRESS[:GROUP,…]",
              help="A machine of the site, repeated for each. Groups: llm, embeddings, vectordb, "
              "gateway. Without groups the first host does everything and further ones do llm "
              "and embeddings.")  # fmt: skip
@click.option("--lab", "lab", is_flag=False, flag_value=_LAB, default=None, metavar="[NAME]",
              help="Take hosts, key and control address from the lab of this name.")  # fmt: skip
@click.option("--name", help="The site's name; the lab's or the folder's if not given.")
@click.option("--release", default="starter", show_default=True, help="Release to run.")
@click.option("--target", help="What the hosts are; the imported bundle's if not given.")
@click.option("--llm", help="Chat model; the release's first if not given.")
@click.option("--embeddings", help="Embedding model; the release's first if not given.")
@click.option("--control-address",
              help="This machine's address as hosts see it; found out if not given.")  # fmt: skip
@click.option("--gateway-name", default="bastide.internal", show_default=True,
              help="DNS name of the gateway, put into its certificate.")  # fmt: skip
@click.option("--ssh-user", help="User to log in as: root, or one with sudo.  [default: root]")
@click.option("--ssh-key", help="Private key file.  [default: ~/.ssh/id_ed25519]")
@click.option("--known-hosts", help="File with the hosts' keys.  [default: ~/.ssh/known_hosts]")
@click.option("--monitoring/--no-monitoring", default=None,
              help="Let the gateway's host watch the site, if no other does."
              "  [default: unless --host says what that host does]")  # fmt: skip
@click.option("--vault-password-file", type=click.Path(path_type=Path, dir_okay=False),
              help="Use this file's password for the secrets instead of a new one.")  # fmt: skip
@click.option("--force", is_flag=True,
              help="Start anew in a folder that holds a site; its files are kept.")  # fmt: skip
@reports(_view)
@recorded("init", lambda result: {"site": result.name})
def command(directory: Path, vault_password_file: Path | None, **options: Any) -> CreatedSite:  # noqa: ANN401
    """Write a commented site.yaml, secrets and a site CA into DIRECTORY.

    DIRECTORY is the present folder if not given. site.yaml describes one isolated installation:
    its hosts and what each does, its network, its models and sizes; every field is explained in
    it. API keys and private keys are made here and kept in secrets.vault.yaml, encrypted with
    Ansible Vault; the password is in Bastide's own data folder, outside the site's. An existing
    site is never overwritten.

    \b
    bastide init plant --host host1=10.0.0.11
    bastide init plant --host big=10.0.0.11:llm,embeddings --host small=10.0.0.12:vectordb,gateway
    bastide init rehearsal --lab
    """  # noqa: D301 - click's mark for text that it must not wrap
    home = Home.default()
    answers = _answers(home, directory, options)
    site = proposal.propose_site(answers)
    now = datetime.now(UTC)
    return create_site(
        SiteFolder(directory.absolute()),
        site,
        home,
        now,
        force=options["force"],
        password_file=vault_password_file,
    )


def _answers(home: Home, directory: Path, options: dict[str, Any]) -> proposal.Answers:
    lab = lab_state.load(home, options["lab"]) if options["lab"] else None
    hosts: dict[str, tuple[str, tuple[Group, ...]]] = {}
    for host in lab.hosts if lab else ():
        hosts[host.name] = (host.address, ())
    for text in options["hosts"]:
        name, address, groups = proposal.parse_host(text)
        hosts[name] = (address, groups)
    if not hosts:
        raise ConfigError(
            "no hosts are given",
            code=HOST_OPTION,
            hint="add --host name=address for each machine, or --lab to rehearse",
        )
    release, target, carried = _release(home, options["release"], options["target"])
    default_key, default_known = "~/.ssh/id_ed25519", "~/.ssh/known_hosts"
    return proposal.Answers(
        name=options["name"] or (lab.name if lab else directory.absolute().name.lower()),
        release=options["release"],
        target=target,
        hosts=hosts,
        control_address=options["control_address"]
        or (lab.control_address if lab else _own_address(hosts)),
        ssh=Ssh(
            user=options["ssh_user"] or (lab.ssh_user if lab else "root"),
            private_key=_path(options["ssh_key"])
            or (str(lab.ssh_private_key) if lab else default_key),
            known_hosts=_path(options["known_hosts"])
            or (str(lab.known_hosts) if lab else default_known),
        ),
        models=proposal.choose_models(release, carried, options["llm"], options["embeddings"]),
        gateway_name=options["gateway_name"],
        monitoring=options["monitoring"] if Component.MONITORING in release.components else False,
    )


def _path(given: str | None) -> str:
    """Return a path as site.yaml will have it: absolute, because its own are its folder's."""
    return str(Path(given).expanduser().absolute()) if given else ""


def _own_address(hosts: dict[str, tuple[str, tuple[Group, ...]]]) -> str:
    first = next(iter(hosts.values()))[0]
    address = source_address(first)
    if address is None:
        raise ConfigError(
            f"this machine has no route to {first}, so its own address is not known",
            code=HOST_OPTION,
            hint="give it: --control-address ADDRESS",
        )
    return address


def _release(home: Home, asked: str, target: str | None) -> tuple[Release, str, tuple[str, ...]]:
    """Return release, target and models at hand: of the imported bundle, else of the catalogue."""
    store = Store(home.store)
    for bundle in reversed(store.bundles()):
        if is_release(bundle.root.release, asked) and target in {None, bundle.root.target}:
            models = tuple(a.name for a in bundle.manifest.of_kind(ArtifactKind.MODEL))
            return read_release(store, bundle), bundle.root.target, models
    folder = resources.catalogue() / "releases"
    known = sorted(path.stem for path in folder.glob("*.yaml"))
    names = [name for name in known if is_release(name, asked)]
    if not names:
        raise ConfigError(
            f"release '{asked}' was neither imported nor does this version know it; "
            f"it knows: {', '.join(known) or 'none'}",
            code=NOT_IMPORTED,
            hint="`bastide import DIR` first, or choose another --release",
        )
    release = max(
        (load_yaml(folder / f"{name}.yaml", Release) for name in names),
        key=lambda each: [int(part) for part in each.version.split(".")],
    )
    return release, target or release.targets[0], ()
