"""With `pytest -n 2` each worker, and what it starts, computes on one thread: fighting over cores is far slower."""

import os

if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ["OMP_NUM_THREADS"] = "1"
