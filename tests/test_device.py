"""The memory of tensors on the CPU."""

import sys

import pytest
import torch

from classifold.models.device import choose_device

N_BYTES = 2**26  # above the size from which glibc requests each block from the system


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have another C library")
def test_large_tensors_use_the_memory_of_those_before_them():
    resource = pytest.importorskip("resource")  # not on Windows

    def page_faults():
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        torch.empty(N_BYTES, dtype=torch.uint8).fill_(1)
        return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

    choose_device("cpu")
    # The heap may grow several times before a block of this size stays in it.
    assert min(page_faults() for _ in range(20)) < N_BYTES / resource.getpagesize() / 100
