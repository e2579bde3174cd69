"""Brings a bundle into the store, or checks one where it lies.

A bundle becomes visible by its last write, after every blob was verified and synced. Blobs that
an interrupted import finished are kept; one that it left half-way is continued
(``docs/adr/0005-import-resume.md``).
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from bastide.errors import BundleError, Problem
from bastide.host.files import fsync_directory
from bastide.layout import blob_path
from bastide.progress import Progress, Task
from bastide.schema.artifact import Manifest
from bastide.store.damage import bad_ranges, describe_ranges
from bastide.store.delta import blob_sources, rebuilt_blobs, refuse_failed_rebuilds
from bastide.store.inspection import Inspect, inspect_artifacts, inspect_quickly
from bastide.store.local import Store
from bastide.store.opening import Blob, OpenBundle, PatchFile, damage, incomplete, open_bundle
from bastide.store.pipeline import Pipeline
from bastide.store.results import Ask, CheckResult, ImportResult, kind_totals, nobody
from bastide.store.source import ByteSource, FileSource
from bastide.store.space import no_space, require_space
from bastide.store.transfer import Job, Keep, Transfer
from bastide.trust.licences import LicenceGate, subjects_of
from bastide.trust.verifier import RootVerifier

NOT_WRITABLE = "BAS-3106"
NOT_WHAT_IT_CLAIMS = "BAS-3109"


@dataclass(frozen=True)
class ImportOptions:
    """What an import does beyond the usual.

    Args:
        recheck: Read the blobs again that the store has already, and replace damaged ones.
        inspect: Looks into verified artifacts and returns where they are not what they claim.
        licences: Refuses artifacts whose licence this site does not want, before anything is
            copied; None asks nobody.
        ask: Called while volumes are wanted; returns the folders of further ones, none to stop.
    """

    recheck: bool = False
    inspect: Inspect = inspect_quickly
    licences: LicenceGate | None = None
    ask: Ask = nobody

    def require_licences(self, manifest: Manifest) -> None:
        """Return if the site's licence policy lets in all of a bundle.

        Raises:
            TrustError: It does not; every refused artifact is named.
        """
        if self.licences is not None:
            self.licences.require(subjects_of(manifest))


def check_bundle(
    bundle_dir: Path,
    *,
    verifier: RootVerifier,
    progress: Progress,
    inspect: Inspect = inspect_artifacts,
) -> CheckResult:
    """Return what the bundle is, after reading every byte of it; copies nothing.

    Args:
        bundle_dir: The bundle's folder.
        verifier: Decides whether its root may be believed.
        progress: Told of every byte read.
        inspect: Looks into verified artifacts and returns where they are not what they claim.

    Raises:
        BundleError: Files are missing, damaged or extra (all of them are named), or an artifact
            is not what it claims.
        TrustError: The verifier refuses the bundle.
    """
    started = time.monotonic()
    bundle = open_bundle(bundle_dir, verifier)
    total = sum(file.size for file in bundle.files)
    with progress.task("check", total=total) as task:
        transfers = _run([(file, _job(bundle, file)) for file in bundle.files], task)
    _refuse_damaged(bundle, transfers)
    if bundle.delta is None:  # a delta's artifacts are looked into once they are rebuilt
        found = inspect(bundle.manifest, lambda sha256: bundle_dir / blob_path(sha256))
        _refuse_lies(bundle, found)
    root = bundle.verified.root
    return CheckResult(
        bundle=bundle.verified.digest,
        release=root.release,
        target=root.target,
        trust=bundle.verified.trust,
        kinds=kind_totals(bundle.manifest),
        bytes_read=total + sum(len(content) for content in bundle.documents.values()),
        seconds=time.monotonic() - started,
    )


def import_bundle(
    bundle_dir: Path,
    store: Store,
    *,
    verifier: RootVerifier,
    progress: Progress,
    now: datetime,
    options: ImportOptions = ImportOptions(),
) -> ImportResult:
    """Copy a bundle into the store, hashing what is copied, and make it visible if all is right.

    Args:
        bundle_dir: The bundle's folder; only read.
        store: Where it goes.
        verifier: Decides whether its root may be believed.
        progress: Told of every byte read.
        now: The time to record.
        options: What to do beyond the usual.

    Raises:
        BundleError: Files are missing, damaged or extra (all of them are named), an artifact is
            not what it claims, there is no space, or the store cannot be written. The bundle is
            not visible then; blobs that were right stay, so that a second import is shorter.
        TrustError: The verifier or the licence policy refuses the bundle.
        LockedError: Another process writes to the store.
    """
    started = time.monotonic()
    bundle = open_bundle(bundle_dir, verifier)
    options.require_licences(bundle.manifest)
    with store.lock(f"import of {bundle_dir}"), store_errors(store):
        present = present_blobs(bundle, store, progress, recheck=options.recheck)
        missing = [blob for blob in bundle.blobs if blob not in present]
        sources = blob_sources(bundle, store, missing)
        _drop_strangers(store, missing)
        documents = (len(content) for content in bundle.documents.values())
        require_space(store, [(b.sha256, b.size) for b in missing], documents)
        transfers = _copy(bundle, store, sources, progress)
        finish_import(bundle, store, now, options)
    continued = sum(transfer.resumed for transfer in transfers)
    made = rebuilt_blobs(bundle)
    rebuilt = sum(t.job.size - t.resumed for t in transfers if t.job.sha256 in made)
    return ImportResult(
        bundle=bundle.verified.digest,
        release=bundle.manifest.release,
        target=bundle.manifest.target,
        trust=bundle.verified.trust,
        kinds=kind_totals(bundle.manifest),
        bytes_copied=sum(blob.size for blob in missing) - continued - rebuilt,
        bytes_rebuilt=rebuilt,
        bytes_continued=continued,
        bytes_present=sum(blob.size for blob in present),
        seconds=time.monotonic() - started,
        store=store.root,
    )


def finish_import(bundle: OpenBundle, store: Store, now: datetime, options: ImportOptions) -> None:
    """Make a bundle visible whose blobs are all in the store and durable.

    Raises:
        BundleError: An artifact is not what it claims.
    """
    _refuse_lies(bundle, options.inspect(bundle.manifest, store.blob))
    store.record(bundle.documents, bundle.verified.trust, now)


def _job(bundle: OpenBundle, file: Blob | PatchFile) -> Job:
    return Job(file.sha256, file.size, FileSource(bundle.folder / file.path))


def _run(jobs: Iterable[tuple[Blob | PatchFile, Job]], task: Task) -> list[Transfer]:
    with Pipeline(task.advance) as pipeline:
        for blob, job in jobs:
            if pipeline.store_failed:
                break
            task.describe(blob.label[:60])
            pipeline.run(job)
    return pipeline.results


def present_blobs(
    bundle: OpenBundle, store: Store, progress: Progress, *, recheck: bool
) -> set[Blob]:
    """Return the blobs that need no copying; a damaged one is as good as missing."""
    found = [blob for blob in bundle.blobs if store.has(blob.sha256, blob.size)]
    if not recheck or not found:
        return set(found)
    jobs = [
        (blob, Job(blob.sha256, blob.size, FileSource(store.blob(blob.sha256)))) for blob in found
    ]
    with progress.task("recheck", total=sum(blob.size for blob in found)) as task:
        right = {transfer.job.sha256 for transfer in _run(jobs, task) if transfer.matches}
    return {blob for blob in found if blob.sha256 in right}


def _drop_strangers(store: Store, missing: list[Blob]) -> None:
    """Remove half-copied blobs that this import does not need: their space may be wanted."""
    store.incoming.mkdir(parents=True, exist_ok=True)
    wanted = {blob.sha256 for blob in missing}
    for partial in store.incoming.iterdir():
        if partial.name not in wanted:
            partial.unlink()


def _copy(
    bundle: OpenBundle, store: Store, sources: dict[Blob, ByteSource], progress: Progress
) -> list[Transfer]:
    jobs = [
        (blob, Job(blob.sha256, blob.size, source, _keep(store, blob)))
        for blob, source in sources.items()
    ]
    with progress.task("import", total=sum(blob.size for blob in sources)) as task:
        transfers = _run(jobs, task)
        again = {t.job.sha256 for t in transfers if t.must_restart}
        if again:
            # What an earlier import had left was not what the medium holds, as can be after a
            # power cut. Those files are gone now, so this reads the medium from the start.
            redone = _run([(blob, job) for blob, job in jobs if blob.sha256 in again], task)
            transfers = [t for t in transfers if t.job.sha256 not in again] + redone
    _raise_store_error(transfers)
    sync_folders(store, bundle.blobs)
    made = rebuilt_blobs(bundle)
    _refuse_damaged(bundle, [each for each in transfers if each.job.sha256 not in made])
    refuse_failed_rebuilds(bundle, store, transfers)
    return transfers


def _keep(store: Store, blob: Blob) -> Keep:
    final = store.blob(blob.sha256)
    final.parent.mkdir(parents=True, exist_ok=True)
    return Keep(store.incoming / blob.sha256, final)


def sync_folders(store: Store, blobs: Iterable[Blob]) -> None:
    """Make the renames durable, those of an earlier, interrupted import as well."""
    folders = {store.root / blob_path(blob.sha256).parent for blob in blobs}
    for folder in sorted(folders):
        fsync_directory(folder)
    if folders:
        fsync_directory(next(iter(folders)).parent)
        fsync_directory(store.root)


@contextlib.contextmanager
def store_errors(store: Store) -> Iterator[None]:
    """Turn what the operating system says about the store's disk into our own error."""
    try:
        yield
    except OSError as error:
        raise no_space(store, error) or BundleError(
            f"the store {store.root} cannot be written: {error}",
            code=NOT_WRITABLE,
            hint="look at the disk (dmesg) and at the folder's permissions; the same command "
            "then goes on where this one stopped",
        ) from error


def _raise_store_error(transfers: list[Transfer]) -> None:
    for transfer in transfers:
        if transfer.store_error is not None:
            raise transfer.store_error


def _refuse_damaged(bundle: OpenBundle, transfers: list[Transfer]) -> None:
    blobs = {file.sha256: file for file in bundle.files}
    problems = []
    for transfer in transfers:
        if not transfer.matches:
            blob = blobs[transfer.job.sha256]
            what = transfer.source_problem or damage(transfer.digest, blob.sha256)
            what += _bad_ranges(bundle, blob, transfer)
            problems.append(Problem(blob.path, f"{what}: {blob.label}, {blob.size} bytes"))
    if problems:
        raise incomplete(bundle.folder, sorted(problems, key=lambda problem: problem.where))


def _bad_ranges(bundle: OpenBundle, blob: Blob | PatchFile, transfer: Transfer) -> str:
    """Return which bytes of a damaged file are wrong, in words, by reading only it again."""
    chunks = bundle.chunks.get(blob.sha256)
    if chunks is None or transfer.source_problem:
        return ""
    ranges = bad_ranges(bundle.folder / blob.path, chunks)
    return f"; wrong are the bytes {describe_ranges(ranges)}" if ranges else ""


def _refuse_lies(bundle: OpenBundle, problems: list[Problem]) -> None:
    if problems:
        raise BundleError(
            f"the bundle at {bundle.folder} holds artifacts that are not what they claim to be",
            code=NOT_WHAT_IT_CLAIMS,
            hint="tell the builder: these files came so from their source, copying them again "
            "does not help",
            problems=tuple(problems),
        )
