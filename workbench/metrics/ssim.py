"""Structural similarity."""

from collections.abc import Iterator

import torch
from torch import Tensor

from workbench.metrics.frames import check_pair, undefined, unit_chunks

WINDOW = 11


def ssim(x: Tensor, y: Tensor, data_range: float) -> Tensor:
    """SSIM of every frame, at most 1, by torchmetrics.

    Wang, Bovik, Sheikh and Simoncelli, "Image Quality Assessment: From Error Visibility to Structural Similarity",
    2004: Gaussian window of 11 x 11 with sigma 1.5, K1 = 0.01, K2 = 0.03. As in the paper only windows that lie inside
    the frame count; R, G and B are treated alike and averaged. Frames with a side under 11 pixels hold no window: NaN.
    SSIM depends on where black is, so values in [-1, 1] are brought to [0, 1] first.

    Args:
        x, y: clips (T, 3, H, W) in the same range.
        data_range: 255 for clips in [0, 255] (uint8), 1 in [0, 1], 2 in [-1, 1].

    Returns:
        float32 (T,).
    """
    import workbench.torchvision_shim  # noqa: F401, I001 (must precede torchmetrics, which imports torchvision)
    from torchmetrics.functional.image import structural_similarity_index_measure

    check_pair(x, y)
    if min(x.shape[2:]) < WINDOW:
        return undefined(len(x)).to(x.device)
    options = {"sigma": 1.5, "data_range": 1.0, "reduction": "none", "return_full_image": True}
    inner = slice(WINDOW // 2, -(WINDOW // 2))  # torchmetrics' own mean includes windows reflected at the borders
    with torch.autocast(x.device.type, enabled=False):  # variances are small differences of large numbers
        maps = (structural_similarity_index_measure(a, b, **options)[1] for a, b in _laid_out(x, y, data_range))
        return torch.cat([map_[:, :, inner, inner].mean((1, 2, 3)) for map_ in maps])


def _laid_out(x: Tensor, y: Tensor, data_range: float) -> Iterator[tuple[Tensor, Tensor]]:
    """Chunks in the memory format that suits the window's depth-wise convolution.

    On a CPU channels last takes half the time and memory; on a GPU it would go to cuDNN and be rounded to TF32.
    """
    memory_format = torch.channels_last if x.device.type == "cpu" else torch.contiguous_format
    for a, b in unit_chunks(x, y, data_range):
        yield a.contiguous(memory_format=memory_format), b.contiguous(memory_format=memory_format)
