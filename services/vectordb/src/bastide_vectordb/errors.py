"""Errors of the API, in Qdrant's words and status codes."""

from __future__ import annotations

# How Edge words the failures that a client caused; anything else of Edge's is ours (500).
_NOT_FOUND = ("No point with id",)
_BAD_INPUT = (
    "Vector dimension error",
    "Not existing vector name",
    "Wrong input",
    "Validation failed",
    "Wrong usage of",
    "Malformed",
    "Payload type does not match",
    "Unable to infer type",
    "No range index",
    "No appropriate index",
    "Expected ",
    "The expression",
    "Bad request",
    "Index required",
)


class ApiError(Exception):
    """A request that cannot be served; the client gets ``status`` and the message.

    Args:
        status: HTTP status code.
        message: One sentence for the client: what is wrong and what was expected.
    """

    headers: tuple[tuple[bytes, bytes], ...] = ()

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


class BadRequestError(ApiError):
    """The request is malformed or asks for what a value does not allow."""

    def __init__(self, message: str) -> None:
        super().__init__(400, f"Bad request: {message}")


class NotFoundError(ApiError):
    """The collection, point or snapshot does not exist."""

    def __init__(self, message: str) -> None:
        super().__init__(404, f"Not found: {message}")


class UnsupportedError(ApiError):
    """Qdrant's server can do this, the embedded engine cannot."""

    def __init__(self, what: str) -> None:
        super().__init__(
            400,
            f"Bad request: {what} is not supported by Bastide vectordb (engine edge); "
            "use the engine 'server' where it is needed",
        )


class FencedError(ApiError):
    """A write that is refused for now; the client may send it again as it is."""

    headers = ((b"retry-after", b"5"),)

    def __init__(self) -> None:
        super().__init__(503, "writes are refused while an upgrade is under way: try again")


class NoRoomError(ApiError):
    """A write that is refused because the disk is almost full.

    Args:
        free: Bytes that are free.
        kept: Bytes that have to stay free.
    """

    def __init__(self, free: int, kept: int) -> None:
        text = (
            f"No space left on device: {free} bytes are free and {kept} have to stay free, so that "
            "what is stored can still be read; writes are refused until somebody makes room"
        )
        super().__init__(507, text)


class RateLimitError(ApiError):
    """Too many requests of one kind; the answer says when to try again.

    Args:
        what: ``Read`` or ``Write``.
        seconds: Time until the next one is taken.
    """

    def __init__(self, what: str, seconds: int) -> None:
        text = f"Rate limiting exceeded: {what} rate limit exceeded, retry after {seconds} s"
        super().__init__(429, text)


class StartupError(Exception):
    """The service cannot start: configuration, secrets or storage are not usable."""


def refused(status: int, message: str) -> ApiError:
    """What an engine process refused, as it is told to the client."""
    error = ApiError(status, message)
    if status == 429:  # the frame carries the text only; it ends in the seconds to wait
        error.headers = ((b"retry-after", message.split()[-2].encode()),)
    return error


def from_engine(error: BaseException) -> ApiError:
    """An exception of Qdrant Edge as the answer that Qdrant's server would give.

    Edge raises bare ``Exception`` with the text of its Rust error, and ``ValueError`` or
    ``TypeError`` where a value does not convert, so the text is all there is to go by.
    """
    if isinstance(error, ApiError):
        return error
    text = str(error)
    if isinstance(error, RecursionError):
        return BadRequestError("body: nested too deeply")
    if isinstance(error, (ValueError, TypeError, OverflowError, KeyError)):
        return BadRequestError(f"value not accepted: {text.splitlines()[0] if text else error!r}")
    if text.startswith(_NOT_FOUND):
        return NotFoundError(f"{text} found")
    if text.startswith(_BAD_INPUT):
        return ApiError(400, f"Wrong input: {text}")
    return ApiError(500, f"Service internal error: {text or type(error).__name__}")
