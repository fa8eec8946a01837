"""The service: it takes a request in, routes it, pays for it and answers.

The steps of a request, in order: parse, authenticate, encode, forecast, decide, reserve, send, relay, settle, record.
`api` is the HTTP edge, `pipeline` the one path from there to `providers`, and `app` with `cli` the only rooms that name
concrete classes. docs/architecture.md has the picture and the import rules.
"""
