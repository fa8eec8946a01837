"""The choice of the candidate that serves a query: catalog, forecast, decision, exploration,
circuit breaker, pacing.
"""
