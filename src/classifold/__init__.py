"""A DVC pipeline that trains, evaluates and explains an image classifier."""

import os

# Threads of OpenMP that wait turn 1,000 times, and then leave their core to other processes. On a
# busy machine PyTorch is 5 to 10 times faster than with many turns, and on an idle one a sixth
# faster than with none; results are the same. OpenMP reads these variables when PyTorch is
# imported, and this file is imported before.
if not {"OMP_WAIT_POLICY", "GOMP_SPINCOUNT"} & os.environ.keys():
    os.environ.update(OMP_WAIT_POLICY="PASSIVE", GOMP_SPINCOUNT="1000")
