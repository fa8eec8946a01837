"""The export: it BUILDS bundles. Rule: only this folder imports torch, open_clip and onnx; serving never needs it."""
