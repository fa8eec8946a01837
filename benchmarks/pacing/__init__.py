"""A comparison of pacing with other policies, on simulated days."""
