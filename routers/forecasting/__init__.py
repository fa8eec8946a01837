"""The parts that turn scores into forecasts: heads, calibration, uncertainty, output tokens."""
