"""The numerics of routers; numpy only when they forecast, scikit-learn and scipy only when they are fitted."""
