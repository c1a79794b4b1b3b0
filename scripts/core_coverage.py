#!/usr/bin/env python3
"""Fail when the unit tests leave too many branches of the core untried; reads .coverage by `coverage json`."""

import json
import subprocess
import sys

CORE = ("model.py", "snapshot.py", "cycle.py", "sched/*", "config/*")
WANTED = 95.0

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
