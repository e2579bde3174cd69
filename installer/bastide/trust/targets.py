"""A bundle as a TUF target: its path, and how it is found in the signed list; pure."""

from __future__ import annotations

from tuf.api.exceptions import LengthOrHashMismatchError
from tuf.api.metadata import TargetFile, Targets

from bastide.layout import BUNDLE_ROOT
from bastide.schema.artifact import BundleRoot


def target_path(release: str, target: str) -> str:
    """Return the TUF target path of a bundle: one a release and target."""
    return f"{release}/{target}/{BUNDLE_ROOT}"


def make_target(root: BundleRoot, content: bytes) -> TargetFile:
    """Return the entry that a signed list has of a bundle: length, SHA-256, release, target."""
    made = TargetFile.from_data(target_path(root.release, root.target), content, ["sha256"])
    made.unrecognized_fields["custom"] = {"release": root.release, "target": root.target}
    return made


def find_target(listed: Targets, content: bytes, digest: str) -> tuple[str, str] | None:
    """Return release and target under which the list names these very bytes; None if it does not.

    Args:
        listed: The signed list.
        content: The bytes of ``bundle.json``.
        digest: Their SHA-256 in hex.
    """
    for path, entry in listed.targets.items():
        if entry.hashes.get("sha256") != digest:
            continue
        try:
            entry.verify_length_and_hashes(content)
        except LengthOrHashMismatchError:
            continue
        custom = entry.custom if isinstance(entry.custom, dict) else {}
        named = (str(custom.get("release")), str(custom.get("target")))
        if path == target_path(*named):
            return named
    return None
