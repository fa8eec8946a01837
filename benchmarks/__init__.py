"""Scripts that a reader can run. Rule: each takes `--json FILE` and prints its command, versions, seeds and spread."""
