"""Compare the contents of two params files."""

from collections.abc import Iterator, Mapping
from typing import Any


def differing_keys(
    first: Any, second: Any, path: tuple[str, ...] = ()
) -> Iterator[tuple[str, Any, Any]]:
    """Iterate over the differences of two nested mappings: dotted key, first and second value.

    A key that one of them lacks has the value None there, and its subkeys are not listed.
    """
    if not (isinstance(first, Mapping) and isinstance(second, Mapping)):
        if first != second:
            yield ".".join(path), first, second
        return
    for key in {**second, **first}:
        yield from differing_keys(first.get(key), second.get(key), (*path, str(key)))
