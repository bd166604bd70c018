"""Run all benchmarks, each in a process of its own: `python -m bench [--quick]`. JSON lines on stdout.

`bench.rclip` is not among them: it installs another program and takes half an hour.
"""

import subprocess
import sys

FULL = {
    "scan": [],
    "decode": [],
    "catalog": [],
    "query": [],
    "questions": [],
    "confidence": [],
    "index": [],
    "search": [],
    "documents": [],
    "encoders": [],
    "evaluate": [],
    "tune": [],
    "sheet": [],
}
QUICK = {
    "scan": ["20000", "--repeat", "1"],
    "decode": ["--pairs", "1", "--photos", "1"],
    "catalog": ["--rows", "2000", "--pairs", "1"],
    "query": ["--rows", "500", "--runs", "1"],
    "questions": ["--rows", "2000", "--pairs", "1"],
    "index": ["--photos", "32", "--pairs", "1", "--many", "1000"],
    "search": ["--rows", "20000", "--ann-rows", "5000", "--pairs", "1"],
    "encoders": ["--model", "ViT-S-32-alt", "--pairs", "1", "--pictures", "2"],
    "documents": ["--chunks", "50", "--pairs", "1"],
    "media": ["--minutes", "0.2", "--pairs", "1", "--photos", "8"],
    "evaluate": ["--questions", "2000", "--documents", "500", "--photos", "20", "--runs", "1"],
    "tune": ["--rows", "2000", "--dim", "64", "--budget", "5", "--questions", "20"],
    "sheet": ["--hits", "3", "--pairs", "1"],
}
"""Proves that every benchmark still runs; its figures mean nothing."""

if __name__ == "__main__":
    chosen = QUICK if "--quick" in sys.argv else FULL
    sys.exit(max(subprocess.call([sys.executable, "-m", f"bench.{name}", *args]) for name, args in chosen.items()))
