"""Let torchvision be imported beside a torch built without CUDA; to be imported before it, or what imports it:

    import torchvision_operators  # noqa: F401

The package lpips does, which is the reference of our own LPIPS; nothing in the library needs it. PyPI's wheel for Linux
is linked against CUDA. Beside a CPU-only torch its extension `_C.so` cannot be loaded, so its operators do not exist,
and `import torchvision` stops at the first line that describes one of them ("operator torchvision::nms does not
exist"). Declaring the two operators that are described at import is enough for definitions of networks.
"""

import importlib.util
from pathlib import Path

import torch

_DECLARATIONS = {
    "nms": "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms": "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
}


def _declare_missing_operators() -> torch.library.Library | None:
    """Load torchvision's operators or, where that fails, declare those that its import needs."""
    spec = importlib.util.find_spec("torchvision")
    if spec is None or spec.origin is None:
        return None
    try:
        for extension in Path(spec.origin).parent.glob("_C.*"):
            torch.ops.load_library(str(extension))
    except OSError:
        library = torch.library.Library("torchvision", "FRAGMENT")
        for name, declaration in _DECLARATIONS.items():
            if not hasattr(torch.ops.torchvision, name):
                library.define(declaration)
        return library
    return None


_library = _declare_missing_operators()  # a declaration lives as long as its Library object
