"""The discriminator of adversarial training: whether each patch of a clip looks real."""

from torch import Tensor, nn

from workbench.config import check_choice
from workbench.errors import ConfigError

NORMS = ("batch", "group")
NORM_GROUPS = 32
NORM_EPS = 1e-5
INIT_STD = 0.02


class PatchDiscriminator3D(nn.Module):
    """A PatchGAN (Isola et al., arXiv 1611.07004) with 3x3x3 convolutions, as Open-Sora 2.0 trains with.

    Convolution weights start as N(0, 0.02), norm scales as N(1, 0.02), norm biases at 0.

    Args:
        norm: "batch": batch normalisation, as published; on several ranks synchronise it
            (`workbench.training.distributed.synchronise_batch_norm`), and do not use it at a total batch of 1, where
            its statistics are those of a single clip. "group": group normalisation, independent of the batch.
        channels: width of the first layer; later ones are up to 8 times as wide.

    Raises:
        ConfigError: the norm is unknown, or the width does not split into 32 groups.
    """

    def __init__(self, norm: str = "batch", channels: int = 64) -> None:
        super().__init__()
        check_choice("norm", norm, NORMS)
        if norm == "group" and 2 * channels % NORM_GROUPS:
            raise ConfigError(f"channels: {channels} does not split into groups, use a multiple of {NORM_GROUPS // 2}")
        widths = [channels * factor for factor in (1, 2, 4, 8, 8, 8)]
        strides = [(2, 2, 2), (1, 2, 2), (1, 2, 2), (1, 2, 2), (1, 1, 1)]
        layers = [nn.Conv3d(3, channels, 3, stride=2, padding=1), nn.LeakyReLU(0.2, inplace=True)]
        for in_channels, out_channels, stride in zip(widths, widths[1:], strides, strict=False):
            layers += [
                nn.Conv3d(in_channels, out_channels, 3, stride, padding=1, bias=False),
                _norm(norm, out_channels),
                nn.LeakyReLU(0.2, inplace=True),
                nn.Dropout(0.3),
            ]
        layers.append(nn.Conv3d(widths[-1], 1, 3, padding=1))
        self.main = nn.Sequential(*layers)
        self.apply(_initialise)

    def forward(self, x: Tensor) -> Tensor:
        """Clips (B, 3, T, H, W) in [-1, 1] to logits (B, 1, ceil(T / 4), ceil(H / 32), ceil(W / 32)), high for real."""
        return self.main(x)


def _norm(norm: str, channels: int) -> nn.Module:
    if norm == "batch":
        return nn.BatchNorm3d(channels, eps=NORM_EPS)
    return nn.GroupNorm(NORM_GROUPS, channels, eps=NORM_EPS)


def _initialise(module: nn.Module) -> None:
    if isinstance(module, nn.Conv3d):
        nn.init.normal_(module.weight, 0.0, INIT_STD)
    elif isinstance(module, (nn.BatchNorm3d, nn.GroupNorm)):
        nn.init.normal_(module.weight, 1.0, INIT_STD)
        nn.init.zeros_(module.bias)
