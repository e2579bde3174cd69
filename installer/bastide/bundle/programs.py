"""Executables out of release archives: pinned by the archive's digest, carried as they are."""

from __future__ import annotations

from bastide.bundle.workshop import Workshop, public_url
from bastide.schema.artifact import Artifact, ArtifactKind
from bastide.schema.lock import LockEntry, Member
from bastide.schema.release import Release
from bastide.schema.target import Target
from bastide.sources.archive import sdist_member
from bastide.sources.fetch import Pin
from bastide.trust.licences import Subject


def program_entries(release: Release, target: Target, workshop: Workshop) -> list[LockEntry]:
    """Return the release's programs, each taken out of its archive.

    Raises:
        BundleError: An archive cannot be fetched, is not the one that was pinned, or lacks the
            program.
        TrustError: The licence policy refuses one.
    """
    entries = []
    for component, pins in release.components.items():
        for program in pins.programs:
            declared = f"release.yaml: components.{component}.programs.licence"
            if workshop.licences is not None:
                subject = Subject(
                    f"program {program.filename}", ArtifactKind.BINARY, program.licence, declared
                )
                workshop.licences.require([subject])
            name = program.url.rpartition("/")[2]
            pin = Pin(program.url, program.sha256, program.size, name)
            path, container = workshop.container(pin)
            digest, size = sdist_member(path, program.member, workshop.cache)
            artifact = Artifact(
                name=program.filename,
                kind=ArtifactKind.BINARY,
                version=pins.version,
                filename=program.filename,
                size=size,
                sha256=digest,
                platform=target.name,
                licence=program.licence,
                licence_from=declared,
                components=(component,),
                source=f"{public_url(program.url)}#{program.member}",
            )
            origin = Member(container=container, path=(program.member,))
            entries.append(LockEntry(artifact=artifact, origin=origin))
    return entries
