"""The evaluation of routers: metrics, protocols, resampling, comparisons, reports."""
