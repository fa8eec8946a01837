"""What benchmarks share: processes, load clients, a canned provider, results."""
