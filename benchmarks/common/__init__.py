"""The parts that benchmarks share: processes, load clients, a canned provider, results."""
