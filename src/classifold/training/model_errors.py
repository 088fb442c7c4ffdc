"""Messages for errors in the training of a model."""

from collections.abc import Iterator
from contextlib import contextmanager

from classifold.errors import UserError, in_section
from classifold.runtime.faults import is_out_of_memory


@contextmanager
def explain_errors_of(model: str) -> Iterator[None]:
    """Name the model in the errors of its training, and give a remedy if it is out of memory.

    Args:
        model: name of the model in params.

    Raises:
        UserError: in the place of torch's and Python's out-of-memory errors.
        SettingError: with the full key, in the place of those about a setting of the model.
    """
    try:
        with in_section(f"models.{model}"):
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
