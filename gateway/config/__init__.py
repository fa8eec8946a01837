"""The configuration file: its schema, its secrets, and the checked values that the service is built from."""
