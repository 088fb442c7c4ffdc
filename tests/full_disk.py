"""A limit on the size of files, which acts as a full disk and needs no root permissions."""

import contextlib
import resource
import sys
from collections.abc import Iterator


@contextlib.contextmanager
def full_disk(n_bytes: int) -> Iterator[None]:
    """Let this process and its children write at most `n_bytes` to a file."""
    _, most = resource.getrlimit(resource.RLIMIT_FSIZE)
    # Python would keep the beginnings of modules that it compiles now (python/cpython#126606).
    writes_bytecode, sys.dont_write_bytecode = not sys.dont_write_bytecode, True
    resource.setrlimit(resource.RLIMIT_FSIZE, (n_bytes, most))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))
        sys.dont_write_bytecode = not writes_bytecode
