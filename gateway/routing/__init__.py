"""Which candidate serves a query: catalog, forecast, decision, exploration, circuit breaker, pacing."""
