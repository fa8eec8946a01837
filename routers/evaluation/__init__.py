"""Judge routers: metrics, protocols, resampling, comparisons, reports."""
