"""VGG-16 as a vision network: what LPIPS brings here anyway, where DINOv2 is not at hand.

It was trained to tell ImageNet's classes (Simonyan and Zisserman 2015), which makes its last features say much of what
a picture shows; they are no DINOv2, and figures of the two do not compare.
"""

from torch import Tensor

from workbench.metrics.lpips import LPIPS
from workbench.vision.base import VisionNetwork


class VGGFeatures(VisionNetwork):
    """The activations of its last convolution, 0 or more."""

    stride, channels = 16, 512

    def __init__(self, lpips: LPIPS) -> None:
        super().__init__()
        self.lpips = lpips

    def forward(self, x: Tensor) -> Tensor:
        return self.lpips.layers((x - self.lpips.shift) / self.lpips.scale)
