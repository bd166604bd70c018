"""The tree walk over very many files in one folder: seconds and peak memory of a process of its own, as JSON lines.

    python bench/scan.py [COUNT] [--repeat 3] [--dir FOLDER]

Makes COUNT empty files (default a million) below FOLDER (default: the system's temporary folder), lists them with their
status through `mmsearch.indexer.scan.walk`, and interleaves that with the shortest program that could do the same: a
bare `os.scandir` loop with `stat`. The cache is warm: making the files warmed it. The files are removed afterwards.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile

WALK = """
import os, sys, time
from mmsearch.indexer.scan import walk
start = time.perf_counter()
count = sum(1 for _ in walk(os.fsencode(sys.argv[1])))
print(count, time.perf_counter() - start)
"""

BARE = """
import os, sys, time
start = time.perf_counter()
count = sum(1 for item in os.scandir(os.fsencode(sys.argv[1])) if item.is_file(follow_symlinks=False) and item.stat())
print(count, time.perf_counter() - start)
"""


def run(program, folder):
    """Entries, seconds, CPU seconds of the whole process and its peak MB."""
    process = subprocess.Popen([sys.executable, "-c", program, folder], stdout=subprocess.PIPE)
    count, seconds = process.stdout.read().split()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0
    return int(count), float(seconds), usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("count", nargs="?", type=int, default=1_000_000)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--dir", default=None)
    args = parser.parse_args()
    folder = tempfile.mkdtemp(prefix="mmsearch-scan-", dir=args.dir)
    try:
        for i in range(args.count):
            os.close(os.open(f"{folder}/IMG_{i:07d}.jpg", os.O_CREAT | os.O_WRONLY))
        load = os.getloadavg()[0]
        pairs = [(run(WALK, folder), run(BARE, folder)) for _ in range(args.repeat)]
    finally:
        shutil.rmtree(folder)
    assert all(walk[0] == bare[0] == args.count for walk, bare in pairs)
    walks, bares = zip(*pairs, strict=True)
    row = {
        "bench": "scan",
        "files": args.count,
        "pairs": args.repeat,
        "seconds": round(statistics.median(walk[1] for walk in walks), 2),
        "cpu_seconds": round(statistics.median(walk[2] for walk in walks), 2),
        "peak_mb": round(max(walk[3] for walk in walks), 1),
        "bare_seconds": round(statistics.median(bare[1] for bare in bares), 2),
        "bare_cpu_seconds": round(statistics.median(bare[2] for bare in bares), 2),
        "bare_peak_mb": round(max(bare[3] for bare in bares), 1),
        "ratio": round(statistics.median(walk[1] / bare[1] for walk, bare in pairs), 2),
        "load": round(load, 2),
    }
    print(json.dumps(row))


if __name__ == "__main__":
    main()
