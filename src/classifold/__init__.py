"""A DVC pipeline that trains, evaluates and explains an image classifier."""

import os

# Threads of OpenMP that wait for work soon give their core to other processes, instead of spinning.
# On a machine that is busy, PyTorch is up to 5 to 10 times faster; results are the same. 1,000
# turns, as libgomp takes where threads share cores, cost next to nothing there; with none at all,
# PyTorch is a sixth slower on an idle machine. OpenMP reads these variables when PyTorch is
# imported, and this file is imported before.
if not {"OMP_WAIT_POLICY", "GOMP_SPINCOUNT"} & os.environ.keys():
    os.environ.update(OMP_WAIT_POLICY="PASSIVE", GOMP_SPINCOUNT="1000")
