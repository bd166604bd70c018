"""Kill a real `index` N times, and look each time at what is left: python -m tests.reliability.kill N SEED.

    python -m tests.reliability.kill 1000 7              1,000 kills, the plan drawn from seed 7
    python -m tests.reliability.kill 0 7 --rounds 50     null control: no kills
    python -m tests.reliability.kill 200 7 --fault NAME  a planted fault: must be seen

Prints one JSON line; exits with 1 if anything was violated (or a planted fault was not seen).
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time

# One thread: a fork takes no others along.
os.environ.update(OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1")

from .harness.campaign import Campaign, Report
from .harness.faults import FAULTS


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kills", type=int)
    parser.add_argument("seed", type=int, nargs="?", default=1)
    parser.add_argument("--rounds", type=int, default=None)
    parser.add_argument("--fault", choices=(*FAULTS, "all"))
    parser.add_argument("--folder", help="where to work (default: the system's folder for temporary files)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder, ignore_cleanup_errors=True) as folder:
        faults = [None] if options.fault is None else list(FAULTS) if options.fault == "all" else [options.fault]
        return max(_campaign(os.path.join(folder, fault or "none"), options, fault) for fault in faults)


def _campaign(folder: str, options: argparse.Namespace, fault: str | None) -> int:
    rounds = options.rounds or (6 * options.kills + 100 if fault is None else 600)
    started = time.perf_counter()
    campaign = Campaign(folder, options.seed, fault, kill=options.kills > 0)
    report = campaign.until(options.kills or 10**9, rounds)
    names = sorted({name for name, _ in report.violations})
    seen = bool(FAULTS[fault].checks & set(names)) if fault else not names
    print(json.dumps(_figures(options.seed, fault, report, names, seen, time.perf_counter() - started)), flush=True)
    for name, why in report.violations[:10]:
        print(f"{name}: {why}", file=sys.stderr)
    return 0 if seen else 1


def _figures(
    seed: int, fault: str | None, report: Report, names: list[str], passed: bool, seconds: float
) -> dict[str, object]:
    return {
        "seed": seed,
        "fault": fault,
        "passed": passed,
        "kills": report.landed,
        "rounds": report.rounds,
        "completed": report.completed,
        "damaged": report.damaged,
        "labels": len(report.kills),
        "unhit": [] if fault else report.unhit(),
        "least": min(report.kills.values(), default=0),
        "violated": names,
        "seconds": round(seconds, 1),
    }


if __name__ == "__main__":
    sys.exit(main())
