"""Read the images of a request into memory; nothing is written to a file."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from typing import NamedTuple

from starlette.datastructures import Headers, UploadFile
from starlette.exceptions import HTTPException
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import Request

from classifold.plain_text import one_line
from classifold.serving.web.limits import MIB, Limits

FIELD = "images"
MAX_CHARACTERS_OF_NAME = 255
EXAMPLE = "Send the files as parts 'images' of a form, as 'curl -F images=@photo.jpg' does."


class Upload(NamedTuple):
    """One file of a request."""

    name: str  # safe to print
    content: bytes


class _InMemory(MultiPartParser):
    spool_max_size = 2**40  # a larger file would go to disk
    _has_end = False

    def __init__(
        self, headers: Headers, stream: AsyncGenerator[bytes, None], **options: int
    ) -> None:
        super().__init__(headers, self._whole(stream), **options)

    def on_end(self) -> None:
        """Note that the last boundary has arrived."""
        self._has_end = True

    async def _whole(self, stream: AsyncGenerator[bytes, None]) -> AsyncGenerator[bytes, None]:
        async for piece in stream:
            yield piece
        if not self._has_end:  # the last files may be missing
            raise MultiPartException("it has no end")


async def read_uploads(request: Request, limits: Limits) -> list[Upload]:
    """Read the files of a form.

    Raises:
        HTTPException: 400 for a body that is no form, or has no or too many files; 408 and 413
            for one that takes too long or is too large; 415 for another type of content.
    """
    content_type = request.headers.get("content-type", "").partition(";")[0]
    if content_type.strip().lower() != "multipart/form-data":
        raise HTTPException(415, f"Content-Type: must be multipart/form-data. {EXAMPLE}")
    parser = _InMemory(
        request.headers,
        read_body(request, limits),
        max_files=limits.max_images,
        max_fields=0,
    )
    try:
        async with arriving(limits):
            form = await parser.parse()
    except MultiPartException as error:
        raise HTTPException(
            400, f"the form cannot be read ({error.message.rstrip('.')}). {EXAMPLE}"
        ) from None
    try:
        files = [file for _, file in form.multi_items() if isinstance(file, UploadFile)]
        if not files or any(name != FIELD for name in form):
            got = ", ".join(one_line(name, max_characters=40) for name in form) or "no file"
            raise HTTPException(400, f"images: must be at least one file, got {got}. {EXAMPLE}")
        return [
            Upload(_name(file.filename, number), file.file.read())
            for number, file in enumerate(files, start=1)
        ]
    finally:
        await form.close()


@asynccontextmanager
async def arriving(limits: Limits) -> AsyncIterator[None]:
    """Limit the time in which a body must be read.

    Raises:
        HTTPException: 408.
    """
    try:
        async with asyncio.timeout(limits.body_seconds):
            yield
    except TimeoutError:
        raise HTTPException(
            408, f"the request must arrive within {limits.body_seconds:g} s. Send fewer images."
        ) from None


async def read_body(request: Request, limits: Limits) -> AsyncGenerator[bytes, None]:
    """Read a body in pieces, up to the limit.

    Raises:
        HTTPException: 413.
    """
    n_bytes = 0
    async for piece in request.stream():
        n_bytes += len(piece)
        if n_bytes > limits.max_body:
            raise too_large(limits)
        yield piece


def declared_length(request: Request, limits: Limits) -> int:
    """Return the bytes that a body will have at most.

    Raises:
        HTTPException: 413, before any of them is read.
    """
    length = request.headers.get("content-length", "")
    is_known = length.isdecimal() and "transfer-encoding" not in request.headers  # RFC 9112, 6.3
    n_bytes = int(length) if is_known else limits.max_body
    if n_bytes > limits.max_body:
        raise too_large(limits)
    return n_bytes


def too_large(limits: Limits) -> HTTPException:
    """Make the error for a body above the limit."""
    return HTTPException(
        413,
        f"a request must have at most {limits.max_body // MIB} MiB. Send fewer or smaller images "
        "at once, or, for images, start the server with a larger --max-mib.",
    )


def _name(filename: str | None, number: int) -> str:
    return one_line(filename or f"image {number}", max_characters=MAX_CHARACTERS_OF_NAME)
