"""From scores to forecasts: heads, calibration, uncertainty, output tokens."""
