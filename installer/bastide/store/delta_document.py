"""Reads ``delta.json``, which is untrusted: it must fit the bundle that is signed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from pydantic import ValidationError

from bastide.errors import BundleError, Problem
from bastide.layout import DELTA
from bastide.schema.delta import Delta
from bastide.trust.verifier import field_problems

WRONG_DELTA = "BAS-3150"


def parse_delta(content: bytes, bundle: str, blobs: Mapping[str, int]) -> Delta:
    """Return what a delta carries and how it makes the rest.

    Args:
        content: The bytes of ``delta.json``.
        bundle: Digest of the bundle whose documents lie beside it.
        blobs: Digest to size of all blobs of that bundle.

    Raises:
        BundleError: It cannot be read, or is not a delta of this bundle.
    """
    try:
        delta = Delta.model_validate_json(content)
    except ValidationError as error:
        raise _wrong("cannot be read", field_problems(error)) from error
    problems = []
    if delta.bundle != bundle:
        problems.append(Problem("bundle", f"is {delta.bundle}, the documents are of {bundle}"))
    named = [*delta.carried, *(each.blob.sha256 for each in delta.rebuilt)]
    problems += [
        Problem(sha256, f"is named {count} times")
        for sha256, count in Counter(named).items()
        if count > 1
    ]
    problems += [
        Problem(sha256, "is no blob of the bundle") for sha256 in named if sha256 not in blobs
    ]
    for each in delta.rebuilt:
        size = blobs.get(each.blob.sha256)
        if size not in {None, each.blob.size}:
            what = f"makes {each.blob.size} bytes, the blob has {size}"
            problems.append(Problem(each.blob.sha256, what))
        if each.patch.size > each.blob.size:
            problems.append(Problem(each.blob.sha256, "has a patch that is larger than the blob"))
    if problems:
        raise _wrong("does not fit its bundle", tuple(problems[:50]))
    return delta


def _wrong(what: str, problems: tuple[Problem, ...]) -> BundleError:
    return BundleError(
        f"{DELTA} {what}",
        code=WRONG_DELTA,
        hint="copy the delta again from the builder, or have the full bundle brought",
        problems=problems,
    )
