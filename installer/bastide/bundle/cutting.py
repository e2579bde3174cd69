"""Where a bundle's stream is cut into volumes; pure."""

from __future__ import annotations

from collections.abc import Callable

from bastide.bundle.media import Media, ParityWish
from bastide.errors import BundleError
from bastide.schema.chunks import CHUNK
from bastide.schema.volume import CODE_LIMIT, VOLUMES_LIMIT, VolumeSet
from bastide.store.pieces import Stream

DOES_NOT_FIT = "BAS-3051"


def cut(
    stream: Stream, bundle: str, media: Media, parity: ParityWish, overhead: Callable[[int], int]
) -> VolumeSet:
    """Return the set with the fewest volumes that fit, all data volumes about equally full.

    Args:
        stream: The bundle's.
        bundle: Its digest.
        media: What the volumes are for.
        parity: How much of it is wanted.
        overhead: Returns the bytes that a volume of so many bytes of payload has beside it.

    Raises:
        BundleError: They do not fit.
    """
    room = media.capacity - overhead(media.capacity)
    if room < CHUNK:
        raise _too_small(media, overhead(media.capacity))
    data = len(_fill(stream, room))
    even = -(-stream.size // data) + CHUNK
    payloads = _fill(stream, min(room, even))
    extra = parity.volumes_for(len(payloads))
    total = len(payloads) + extra
    if media.count is not None and total > media.count:
        raise BundleError(
            f"the bundle does not fit: it needs {len(payloads)} data and {extra} parity volumes of "
            f"{media.capacity} bytes, {media.label!r} gives {media.count}",
            code=DOES_NOT_FIT,
            hint="use more or larger media, or less parity",
        )
    if total > (CODE_LIMIT if extra else VOLUMES_LIMIT):
        raise BundleError(
            f"this makes {total} volumes; {CODE_LIMIT} are the most with parity, "
            f"{VOLUMES_LIMIT} without",
            code=DOES_NOT_FIT,
            hint="use larger media",
        )
    return VolumeSet(bundle=bundle, payloads=tuple(payloads), parity=extra)


def _fill(stream: Stream, room: int) -> list[int]:
    """Return the payloads when each volume takes pieces, in order, while they fit."""
    payloads = [0]
    for piece in stream.pieces:
        if payloads[-1] + piece.size > room:
            payloads.append(0)
        payloads[-1] += piece.size
    return payloads


def _too_small(media: Media, beside: int) -> BundleError:
    return BundleError(
        f"a medium of {media.capacity} bytes ({media.label!r}) is too small: each volume has "
        f"{beside} bytes of documents, and at least {CHUNK} of data",
        code=DOES_NOT_FIT,
        hint="use larger media",
    )
