"""The memory of tensors on the CPU."""

import subprocess
import sys

import pytest

# Above the size from which glibc requests each block from the system. The heap may grow several
# times before a block of this size stays in it, and in a process with a past it never may.
SCRIPT = """
import resource, torch
from classifold.models.device import choose_device

def page_faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    torch.empty(2**26, dtype=torch.uint8).fill_(1)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

choose_device("cpu")
print(min(page_faults() for _ in range(20)) * resource.getpagesize() / 2**26)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have another C library")
def test_large_tensors_use_the_memory_of_those_before_them():
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, check=True)
    assert float(done.stdout) < 0.01
