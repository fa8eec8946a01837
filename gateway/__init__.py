"""The service: parse, tenant, encode, forecast, decide, reserve, send, relay, settle, record.

Rule: `core` decides and touches nothing; `api`, `providers`, `stores` and `telemetry` are the four edges;
`pipeline` is the one path between them; only `app` and `cli` name concrete classes.
"""
