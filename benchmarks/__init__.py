"""Benchmarks that readers can run. Rule: each takes `--json FILE` and prints command, versions, seeds and spread."""
