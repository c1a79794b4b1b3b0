#!/usr/bin/env python3
"""Fail when the unit tests leave too many branches of the core untried; reads .coverage by `coverage json`."""

import json
import subprocess
import sys
from pathlib import Path

CORE = (
    "model.py",
    "report.py",
    "snapshot.py",
    "cycle.py",
    "observe.py",
    "assess.py",
    "submit.py",
    "runner.py",
    "board.py",
    "ledger.py",
    "memory.py",
    "endpoints.py",
    "outcomes.py",
    "retire.py",
    "batch/source.py",
    "batch/tally.py",
    "batch/twin.py",
    "sched/*",
    "config/*",
)
WANTED = 95.0
PACKAGE = Path(__file__).parents[1] / "autopyfactory"

# A module that was moved would leave the measure without a word.
if gone := [name for name in CORE if not any(PACKAGE.glob(name))]:
    sys.exit(f"core_coverage: there is no {', '.join(gone)} in {PACKAGE}, write its new name here")

include = ",".join(f"autopyfactory/{name}" for name in CORE)
report = subprocess.run(
    [sys.executable, "-m", "coverage", "json", "--quiet", "-o", "-", f"--include={include}"],
    check=True,
    stdout=subprocess.PIPE,
)
files = json.loads(report.stdout)["files"]
branches = sum(file["summary"]["num_branches"] for file in files.values())
covered = sum(file["summary"]["covered_branches"] for file in files.values())
for name, file in sorted(files.items()):
    if file["missing_branches"]:
        lines = ", ".join(sorted({str(begin) for begin, _ in file["missing_branches"]}, key=int))
        sys.stdout.write(f"{name}: branches untried from line {lines}\n")
share = 100.0 * covered / branches if branches else 0.0
sys.stdout.write(f"core: {covered} of {branches} branches tried, {share:.1f} % ({WANTED:.0f} % wanted)\n")
sys.exit(share < WANTED)
