"""The message for a training run that runs out of memory."""

from collections.abc import Iterator
from contextlib import contextmanager

from classifold.errors import UserError
from classifold.runtime.faults import is_out_of_memory


@contextmanager
def explain_out_of_memory(model: str) -> Iterator[None]:
    """Turn an out-of-memory error, of a device or of the CPU, into a message with a remedy.

    Raises:
        UserError: in the place of torch's own errors.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        reason = str(error).splitlines() or ["out of memory"]  # Python's own error has no text
        raise UserError(
            f"models.{model}: out of memory ({reason[0]}). Set models.{model}."
            "gradient_accumulation_steps to 2 or more, which splits each step into that many "
            f"micro-batches, or lower models.{model}.batch_size, its image_size, or augment.size."
        ) from None
