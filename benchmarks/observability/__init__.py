"""Benchmarks of the decision log and the dashboards under load."""
