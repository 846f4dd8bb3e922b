"""The benchmark suite: our figures beside a reference's, measured in the same run.

`python -m benchmarks` runs every row, `python -m benchmarks divergence` one module's rows.
References are libraries, or are written here straight from the equations.
"""

# Read by libraries when they are imported.
THREAD_SETTINGS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
