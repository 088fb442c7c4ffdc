"""A DVC pipeline that trains, evaluates and explains an image classifier."""

import os

# Threads of OpenMP that wait for work give their core to other processes, instead of spinning. On a
# machine that is busy, PyTorch is 5 to 10 times faster; results are the same. OpenMP reads this
# variable when PyTorch is imported, and this file is imported before.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
