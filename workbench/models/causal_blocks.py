"""Blocks of a frame-causal 3D network: convolutions and attention that never look at later frames.

The architecture is that of the VAE of HunyuanVideo (arXiv 2412.03603). Blocks map (B, C, T, H, W) to the same layout.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from workbench.models.checkpointing import CheckpointedBlock

NORM_GROUPS = 32
NORM_EPS = 1e-6


def group_norm(channels: int) -> nn.GroupNorm:
    """Normalisation over groups of channels; its statistics run over T, H and W, so it alone is not causal."""
    return nn.GroupNorm(NORM_GROUPS, channels, eps=NORM_EPS)


def norm_silu(norm: nn.GroupNorm, x: Tensor) -> Tensor:
    """SiLU of the normalised x, in place on the normalised copy where no gradient needs it."""
    return F.silu(norm(x), inplace=not torch.is_grad_enabled())


class CausalConv3d(nn.Module):
    """A 3D convolution padded by repeating the borders: on both sides of H and W, only in front of T."""

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: int, stride: tuple[int, int, int] = (1, 1, 1)
    ) -> None:
        super().__init__()
        side = kernel_size // 2
        self.padding = (side, side, side, side, kernel_size - 1, 0)
        self.conv = nn.Conv3d(in_channels, out_channels, kernel_size, stride)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(F.pad(x, self.padding, mode="replicate") if any(self.padding) else x)


class ResnetBlock(CheckpointedBlock):
    """Two normalised convolutions beside a shortcut, which is a 1x1x1 convolution where the width changes."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.norm1 = group_norm(in_channels)
        self.conv1 = CausalConv3d(in_channels, out_channels, 3)
        self.norm2 = group_norm(out_channels)
        self.conv2 = CausalConv3d(out_channels, out_channels, 3)
        same = in_channels == out_channels
        self.conv_shortcut = nn.Identity() if same else CausalConv3d(in_channels, out_channels, 1)

    def _block(self, x: Tensor) -> Tensor:
        h = self.conv1(norm_silu(self.norm1, x))
        h = self.conv2(norm_silu(self.norm2, h))
        return h.add_(self.conv_shortcut(x))  # in place: no gradient needs the convolution's own output


class Downsample(CheckpointedBlock):
    """A causal convolution with this stride in T, H and W; where T is halved, 1 + 2k frames become 1 + k."""

    def __init__(self, channels: int, stride: tuple[int, int, int]) -> None:
        super().__init__()
        self.conv = CausalConv3d(channels, channels, 3, stride)

    def _block(self, x: Tensor) -> Tensor:
        return self.conv(x)


class Upsample(CheckpointedBlock):
    """Nearest upsampling in T, H and W, then a causal convolution; where T is doubled, 1 + k frames become 1 + 2k."""

    def __init__(self, channels: int, scale: tuple[int, int, int]) -> None:
        super().__init__()
        self.scale = scale
        self.conv = CausalConv3d(channels, channels, 3)

    def _block(self, x: Tensor) -> Tensor:
        frames, height, width = self.scale
        if frames > 1:  # the first frame stays single; in time first, while the frames are still small
            x = x.repeat_interleave(frames, dim=2)[:, :, frames - 1 :]
        return self.conv(F.interpolate(x, scale_factor=(1.0, float(height), float(width)), mode="nearest"))


class FrameCausalAttention(CheckpointedBlock):
    """Residual single-head attention in which a position sees all of its own frame and of earlier frames."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.group_norm = group_norm(channels)
        self.to_q = nn.Linear(channels, channels)
        self.to_k = nn.Linear(channels, channels)
        self.to_v = nn.Linear(channels, channels)
        self.to_out = nn.Sequential(nn.Linear(channels, channels))

    def _block(self, x: Tensor) -> Tensor:
        tokens = self.group_norm(x).flatten(2).transpose(1, 2)
        q, k, v = self.to_q(tokens), self.to_k(tokens), self.to_v(tokens)
        h = self.to_out(frame_causal_attention(q, k, v, x.shape[3] * x.shape[4]))
        return x + h.transpose(1, 2).reshape(x.shape)


def frame_causal_attention(q: Tensor, k: Tensor, v: Tensor, frame_tokens: int) -> Tensor:
    """Attention over the tokens (B, T * frame_tokens, C) of T frames, each seeing its own frame and those before.

    The queries of one frame share their keys, all those so far, so one unmasked attention per frame does the minimum of
    work, and memory grows linearly with T * frame_tokens: no mask is built.
    """
    q, k, v = (tokens.unsqueeze(1) for tokens in (q, k, v))  # one head
    frames = [
        F.scaled_dot_product_attention(q[:, :, end - frame_tokens : end], k[:, :, :end], v[:, :, :end])
        for end in range(frame_tokens, q.shape[2] + 1, frame_tokens)
    ]
    return torch.cat(frames, dim=2).squeeze(1)


class MidBlock(nn.Module):
    """ResNet block, attention, ResNet block, all of one width."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.resnets = nn.ModuleList(ResnetBlock(channels, channels) for _ in range(2))
        self.attentions = nn.ModuleList([FrameCausalAttention(channels)])

    def forward(self, x: Tensor) -> Tensor:
        return self.resnets[1](self.attentions[0](self.resnets[0](x)))


class DownBlock(nn.Module):
    """ResNet blocks, the first of which changes the width, then a downsampler unless `stride` is None."""

    def __init__(self, in_channels: int, out_channels: int, stride: tuple[int, int, int] | None, layers: int) -> None:
        super().__init__()
        self.resnets = _resnets(in_channels, out_channels, layers)
        self.downsamplers = nn.ModuleList([Downsample(out_channels, stride)] if stride else [])

    def forward(self, x: Tensor) -> Tensor:
        for layer in (*self.resnets, *self.downsamplers):
            x = layer(x)
        return x


class UpBlock(nn.Module):
    """ResNet blocks, the first of which changes the width, then an upsampler unless `scale` is None."""

    def __init__(self, in_channels: int, out_channels: int, scale: tuple[int, int, int] | None, layers: int) -> None:
        super().__init__()
        self.resnets = _resnets(in_channels, out_channels, layers)
        self.upsamplers = nn.ModuleList([Upsample(out_channels, scale)] if scale else [])

    def forward(self, x: Tensor) -> Tensor:
        for layer in (*self.resnets, *self.upsamplers):
            x = layer(x)
        return x


def _resnets(in_channels: int, out_channels: int, count: int) -> nn.ModuleList:
    return nn.ModuleList(ResnetBlock(out_channels if i else in_channels, out_channels) for i in range(count))
