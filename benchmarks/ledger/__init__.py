"""Benchmarks of the ledger: throughput, races, faults, caps."""
