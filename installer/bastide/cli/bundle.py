"""``bastide bundle``: lock, build, inspect, verify."""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass
from pathlib import Path

import click
from rich.table import Table

from bastide import layout, resources
from bastide.bundle.build import BundleSummary, build
from bastide.bundle.catalogue import Catalogue
from bastide.bundle.lock import load_lock, resolve, save_lock
from bastide.bundle.since import remember_bundle
from bastide.bundle.workshop import Workshop
from bastide.cli.bundle_materials import diff_command, inspect_command
from bastide.cli.delta import (
    DeltaResult,
    SinceOptions,
    delta_command,
    make_delta,
    show_delta,
    since_option,
    since_options,
    with_since,
)
from bastide.cli.licences import with_licences
from bastide.cli.output import progress, reports, stdout
from bastide.cli.recording import recorded
from bastide.cli.trust_build import Prepared, Signing, prepare_signing, sign_built
from bastide.cli.trust_context import passphrase_option, trust_option
from bastide.cli.trust_verify import Acceptance, check_verifier
from bastide.cli.volumes import VolumesCheck, check_volumes, show_checked, split_command
from bastide.errors import ConfigError, TrustError
from bastide.progress import human_bytes
from bastide.schema.lock import Lock
from bastide.sources.cache import Cache
from bastide.sources.fetch import Fetcher
from bastide.sources.scratch import scratch
from bastide.store.importer import check_bundle
from bastide.store.results import CheckResult
from bastide.store.volume import find_volumes
from bastide.trust.licences import LicenceGate

WRONG_OPTIONS = "BAS-2014"


@dataclass(frozen=True)
class LockSummary:
    """What a lock pins, and where it was written."""

    path: Path
    release: str
    target: str
    digest: str
    artifacts: int
    size: int


@dataclass(frozen=True)
class BuildResult(BundleSummary):
    """What was built, and what became of its signatures.

    Args:
        signing: What became of its signatures.
        bootstrap: SHA-256 of its ``bootstrap.py``, for those who run that from the medium.
        error: Set if signatures of others are missing.
    """

    signing: Signing
    bootstrap: str
    error: TrustError | None


def _about_built(result: BuildResult | DeltaResult) -> dict[str, str]:
    if isinstance(result, BuildResult):
        return {"release": result.release, "target": result.target, "bundle": result.digest}
    return {"delta": str(result.path)}


def _workshop(licences: LicenceGate) -> Workshop:
    return Workshop(Fetcher(Cache(layout.cache_directory())), progress(), licences)


def _resolve(catalogue: Path | None, release: str, target: str, workshop: Workshop) -> Lock:
    return resolve(Catalogue(catalogue or resources.catalogue()), release, target, workshop)


def _facts(rows: list[tuple[str, str]]) -> None:
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="dim")
    table.add_column(overflow="fold")
    for name, value in rows:
        table.add_row(name, value)
    stdout().print(table)


def _show_built(result: BuildResult) -> None:
    _facts(
        [
            ("bundle", result.path),
            ("digest", result.digest),
            ("release", f"{result.release} for {result.target}"),
            ("artifacts", f"{result.artifacts} in {result.blobs} blobs"),
            ("size", human_bytes(result.size)),
            ("signed", result.signing.says),
            ("bootstrap.py", f"SHA-256 {result.bootstrap}"),
        ]
    )
    if result.signing.signed:
        stdout().print(f"Next, on the isolated side: bastide import {result.path}", markup=False)


def _show_build(result: BuildResult | DeltaResult) -> None:
    if isinstance(result, DeltaResult):
        show_delta(result)
    else:
        _show_built(result)


def _show_lock(result: LockSummary) -> None:
    _facts(
        [
            ("lock", str(result.path)),
            ("digest", result.digest),
            ("release", f"{result.release} for {result.target}"),
            ("artifacts", f"{result.artifacts}, {human_bytes(result.size)}"),
        ]
    )
    build_command = f"bastide bundle build --lock {result.path} --out DIR"
    stdout().print(f"Next: {build_command}", markup=False)


def _show_checked(result: CheckResult | VolumesCheck) -> None:
    if isinstance(result, VolumesCheck):
        show_checked(result)
        return
    rows = [("bundle", result.bundle), ("release", f"{result.release} for {result.target}")]
    rows += [
        (total.kind.value, f"{total.artifacts}, {human_bytes(total.size)}")
        for total in result.kinds
    ]
    rate = human_bytes(result.bytes_read / max(result.seconds, 1e-3))
    rows.append(("read", f"{human_bytes(result.bytes_read)}; {result.seconds:.1f} s, {rate}/s"))
    _facts(rows)
    stdout().print(f"Whole: every byte was checked. Trust: {result.trust.statement}.", markup=False)


release_option = click.option(
    "--release",
    metavar="NAME",
    help="Release to resolve: a name means its newest version; or a name with its version.",
)
target_option = click.option(
    "--target", metavar="NAME", help="What the hosts are, such as debian12-x86_64."
)
catalogue_option = click.option(
    "--catalogue",
    metavar="DIR",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="Your own folder of models/, releases/ and targets/ instead of the one that comes "
    "with Bastide.",
)
bundle_argument = click.argument(
    "bundle", metavar="DIR", type=click.Path(path_type=Path, exists=True, file_okay=False)
)


@click.group("bundle")
def command() -> None:
    """Build, check and inspect the offline bundle.

    A bundle is a folder with everything that a release needs on the isolated side: models, Python
    wheels, OS packages, Bastide itself. Its files are named by their SHA-256, and bundle.json
    reaches every one of them.
    """


@command.command("build")
@release_option
@target_option
@click.option("--out", required=True, metavar="DIR", type=click.Path(path_type=Path),
              help="Folder to make; it appears only once it is whole.")  # fmt: skip
@click.option("--lock", "lock_file", metavar="FILE",
              type=click.Path(path_type=Path, exists=True, dir_okay=False),
              help="Build exactly what this lock pins; nothing is resolved.")  # fmt: skip
@catalogue_option
@click.option("--force", is_flag=True, help="Replace the bundle that is in DIR.")
@trust_option
@passphrase_option
@since_option(required=False)
@since_options
@reports(_show_build)
@with_since
@recorded("bundle build", _about_built)
@with_licences
def build_command(  # noqa: PLR0913, PLR0917 - each is an option
    release: str | None,
    target: str | None,
    out: Path,
    lock_file: Path | None,
    catalogue: Path | None,
    trust_dir: Path | None,
    passphrase_file: Path | None,
    since: SinceOptions | None,
    *,
    force: bool,
    licences: LicenceGate,
) -> BuildResult | DeltaResult:
    """Build a bundle on a connected machine.

    Resolves the release for the target, fetches what the cache lacks and checks every digest.
    The first build compiles the LLM engine, which takes minutes and needs gcc and g++; later ones
    take it from the cache. An interrupted build goes on where it stopped when you run it again.

    The bundle is signed if there is a publisher's trust folder (`bastide trust init`); if there is
    none, sign it later: `bastide trust sign DIR`.

    With --since, DIR is a delta for one site. It needs the signatures of the whole bundle: where
    several people sign, build the bundle, have it signed, and then use `bastide bundle delta`.
    """
    signing = prepare_signing(trust_dir, passphrase_file)
    workshop = _workshop(licences)
    if lock_file is not None:
        if release or target or catalogue:
            raise ConfigError(
                "--lock already says release, target and catalogue",
                code=WRONG_OPTIONS,
                hint="leave out --release, --target and --catalogue, or leave out --lock",
            )
        lock = load_lock(lock_file)
    else:
        if not (release and target):
            raise ConfigError(
                "what to build is not said",
                code=WRONG_OPTIONS,
                hint="give --release and --target, or --lock",
            )
        lock = _resolve(catalogue, release, target, workshop)
    if since is not None:
        return _build_delta(lock, out.absolute(), workshop, signing, since)
    summary = build(lock, out.absolute(), workshop, force=force)
    remember_bundle(out.absolute(), workshop.cache.root)
    signed, error = sign_built(signing, out.absolute())
    bootstrap = hashlib.sha256((out / layout.BUNDLE_BOOTSTRAP).read_bytes()).hexdigest()
    return BuildResult(**asdict(summary), signing=signed, bootstrap=bootstrap, error=error)


def _build_delta(
    lock: Lock, out: Path, workshop: Workshop, signing: Prepared | None, since: SinceOptions
) -> DeltaResult:
    with scratch(out.parent, f".{out.name}.full-") as folder:
        build(lock, folder / "bundle", workshop)
        _, error = sign_built(signing, folder / "bundle")
        if error is not None:
            raise error
        return make_delta(folder / "bundle", out, since, workshop.progress)


command.add_command(delta_command)


@command.command("lock")
@release_option
@target_option
@click.option("--out", required=True, metavar="FILE", type=click.Path(path_type=Path),
              help="Lock file to write.")  # fmt: skip
@catalogue_option
@reports(_show_lock)
@with_licences
def lock_command(
    release: str | None,
    target: str | None,
    out: Path,
    catalogue: Path | None,
    *,
    licences: LicenceGate,
) -> LockSummary:
    """Resolve a release for a target to exact digests, and write them to a file.

    The same lock gives the same bundle, byte for byte. Keep it with your change request.
    """
    if not (release and target):
        raise ConfigError(
            "what to lock is not said", code=WRONG_OPTIONS, hint="give --release and --target"
        )
    lock = _resolve(catalogue, release, target, _workshop(licences))
    save_lock(lock, out)
    return LockSummary(
        path=out,
        release=lock.release,
        target=lock.target,
        digest=lock.digest(),
        artifacts=len(lock.entries),
        size=sum(entry.artifact.size for entry in lock.entries),
    )


@command.command("verify")
@bundle_argument
@click.option("--expect-digest", metavar="SHA256",
              help="Instead of signatures: demand the bundle with this digest.")  # fmt: skip
@click.option("--accept-stale", metavar="REASON",
              help="Check on although the signatures have run out.")  # fmt: skip
@reports(_show_checked)
def verify_command(
    bundle: Path, expect_digest: str | None, accept_stale: str | None
) -> CheckResult | VolumesCheck:
    """Read every byte of the bundle in DIR and check it; copies nothing.

    DIR may also be a volume, which is checked by itself, or a folder that holds volumes.

    Its signatures must be those of the publisher whom this site has pinned (`bastide trust pin`),
    or of this machine's own trust folder.

    Names every file that is damaged, missing or does not belong there, and looks into the models'
    headers. Use it before a medium leaves the building, and after it has arrived.
    """
    verifier = check_verifier(bundle, expect_digest, Acceptance(stale=accept_stale))
    if volumes := find_volumes([bundle]):
        return check_volumes(volumes, verifier)
    return check_bundle(bundle, verifier=verifier, progress=progress())


command.add_command(inspect_command)
command.add_command(diff_command)
command.add_command(split_command)
