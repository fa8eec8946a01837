"""ENCODES. Rule: onnxruntime, tokenizers and Pillow; knows no router and no gateway."""
