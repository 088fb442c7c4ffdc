"""Decode uploaded images in processes with limits, exactly as `predict` decodes files."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from classifold.ingest.ingestion import CRASHED, Read
from classifold.ingest.limits import OUT_OF_MEMORY
from classifold.runtime.bounded_workers import (
    BoundedWorkers,
    MemoryLimitError,
    TimeLimitError,
    WorkerError,
)
from classifold.runtime.chunks import count_cores
from classifold.serving.new_images import NewPixels, decode_pixels
from classifold.serving.predict import Classifier
from classifold.serving.web.limits import MIB, Limits

MAX_WORKERS = 8  # each may use the memory of one image


class Decoder:
    """Turns files into pixels; a file that cannot be decoded gets a reason."""

    def __init__(self, classifier: Classifier, limits: Limits) -> None:
        self._limits = limits
        n_workers = min(count_cores(), MAX_WORKERS)
        self._workers: BoundedWorkers[Read, NewPixels] = BoundedWorkers(
            partial(decode_pixels, **classifier.preparation),
            n_workers=n_workers,
            max_seconds=limits.decode_seconds,
            max_bytes=limits.decode_bytes,
        )
        self._threads = ThreadPoolExecutor(n_workers, "decode")

    async def decode(self, content: bytes) -> NewPixels:
        """Decode one file."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, self._decode, content)

    def stop(self) -> None:
        """End the processes."""
        self._threads.shutdown()
        self._workers.stop()

    def _decode(self, content: bytes) -> NewPixels:
        try:
            image = self._workers.apply(Read(content, failure=None))
        except TimeLimitError:
            return NewPixels(None, f"decoding took more than {self._limits.decode_seconds:g} s")
        except MemoryLimitError:
            return self._too_large()
        except WorkerError:
            return NewPixels(None, CRASHED)
        return self._too_large() if image.reason == OUT_OF_MEMORY else image

    def _too_large(self) -> NewPixels:
        n_mib = self._limits.decode_bytes // MIB
        return NewPixels(None, f"decoding takes more than {n_mib:,} MiB of memory")
