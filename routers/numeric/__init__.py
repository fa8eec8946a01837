"""Numerics that routers are built of; numpy at run time, scikit-learn and scipy only where something is fitted."""
