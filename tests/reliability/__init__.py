"""Faults on purpose: kills, full disks, damaged files, hostile trees. What must hold is in docs/reliability.md."""
