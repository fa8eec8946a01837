"""BUILDS bundles. Rule: nothing but this folder imports torch, open_clip and onnx, and nothing at run time needs it."""
