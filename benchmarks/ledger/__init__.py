"""The ledger: throughput, races, faults, caps."""
