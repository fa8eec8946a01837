"""The decision log and the dashboards under load."""
