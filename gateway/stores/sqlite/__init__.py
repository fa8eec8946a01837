"""State in SQLite files: budgets, tenants, pacing; one way to open a file, one list of schema steps."""
