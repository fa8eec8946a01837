"""The encoders: they ENCODE. Rule: only onnxruntime, tokenizers and Pillow; no router and no gateway."""
