"""Benchmarks: each prints JSON lines of ratios from pairs that ran in turns; `python -m bench` runs them all."""

import os

# An installed package comes compiled; a checkout must be too, or each process would compile 40 modules: 60 to 90 ms.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
