"""Limits that keep many, large or hostile requests from exhausting the machine."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

from starlette.exceptions import HTTPException

MIB = 2**20


class Limits(NamedTuple):
    """What one request, and all requests together, may use."""

    max_body: int = 64 * MIB  # bytes of a request
    max_table: int = 8 * MIB  # bytes of predictions for a CSV; memory is twelve times as much
    max_images: int = 64  # of a request
    max_waiting: int = 256  # images of all requests that have no prediction yet
    max_bodies: int = 4  # bodies of the largest size in memory, or more of smaller ones
    body_seconds: float = 60.0  # until a request has arrived
    decode_seconds: float = 20.0  # for one image
    decode_bytes: int = 1024 * MIB  # memory to decode one image
    max_connections: int = 512


class Admission:
    """Counts the bytes and images of unfinished requests; requests beyond the limits get a 429."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._n_bytes = 0
        self.n_images = 0
        self.seconds_per_image = 0.0  # measured; for Retry-After

    @contextmanager
    def body(self, n_bytes: int) -> Iterator[None]:
        """Hold memory for a body, until its images are decoded.

        Raises:
            HTTPException: 429.
        """
        if self._n_bytes + n_bytes > self._limits.max_bodies * self._limits.max_body:
            raise self._busy("the memory for uploads is in use")
        self._n_bytes += n_bytes
        try:
            yield
        finally:
            self._n_bytes -= n_bytes

    @contextmanager
    def images(self, n_images: int) -> Iterator[None]:
        """Hold places in the queue.

        Raises:
            HTTPException: 429.
        """
        if self.n_images + n_images > self._limits.max_waiting:
            raise self._busy(f"{self.n_images:,} images are waiting")
        self.n_images += n_images
        try:
            yield
        finally:
            self.n_images -= n_images

    def _busy(self, why: str) -> HTTPException:
        seconds = max(1, round(self.n_images * self.seconds_per_image))
        detail = f"the server is busy: {why}. Try again in {seconds} s."
        return HTTPException(429, detail, {"Retry-After": str(seconds)})
