"""The demo: the main job on images drawn here, with known answers, against simulated candidates.

Rule: to the gateway it is a client like any other, over HTTP; it reads the store only to report. What is simulated, and
how, is described in `candidates` and `drawn_table` of `gateway.providers.replay`.
"""
