"""open_clip imports torchvision, of which it needs the Python parts only; this makes those importable everywhere."""

from __future__ import annotations

import importlib
import sys
from types import ModuleType

import torch

_OPERATORS = ("nms", "qnms")
_SIGNATURE = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
_KEPT: list[torch.library.Library] = []
"""A library's definitions go when it does."""


def import_open_clip() -> ModuleType:
    """The module `open_clip`. Raises ImportError when it or torchvision is not installed.

    The torchvision of PyPI is built for CUDA: beside a torch for CPU its operators cannot be loaded, and its import
    fails where it registers them. Declared without a body they satisfy it; nothing here calls them.
    """
    try:
        importlib.import_module("torchvision")
    except RuntimeError:
        for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
            del sys.modules[name]
        library = torch.library.Library("torchvision", "FRAGMENT")
        for operator in _OPERATORS:
            library.define(operator + _SIGNATURE)
        _KEPT.append(library)
        importlib.import_module("torchvision")
    return importlib.import_module("open_clip")
