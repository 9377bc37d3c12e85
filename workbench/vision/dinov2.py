"""DINOv2, a vision transformer whose patch features say what a picture shows.

Oquab et al., "DINOv2: Learning Robust Visual Features without Supervision" (arXiv 2304.07193); with registers, Darcet
et al. (arXiv 2309.16588). Weights are read as torch.hub's (facebookresearch/dinov2) or transformers' files
(facebook/dinov2-base) have them, and their sizes are the network's. No code but this is run.
"""

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from math import isqrt
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from workbench.errors import WeightsError
from workbench.metrics.networks import fill
from workbench.models.weights import read_weights
from workbench.vision.base import VisionNetwork

_HEAD = 64  # channels of an attention head, in every size
_EPS = 1e-6
_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # ImageNet's, of frames in [0, 1]

# What transformers calls the parts, before and since version 5, by what they are called in the authors' code; queries,
# keys and values, which it keeps apart, by its newer names.
_NAMES = (
    ("embeddings.patch_embeddings.projection.", "patch_embed.proj."),
    ("embeddings.position_embeddings", "pos_embed"),
    ("embeddings.cls_token", "cls_token"),
    ("embeddings.register_tokens", "register_tokens"),
    ("encoder.layer.", "blocks."),
    (".attention.output.dense.", ".attn.proj."),
    (".attention.attention.query.", ".attention.q_proj."),
    (".attention.attention.key.", ".attention.k_proj."),
    (".attention.attention.value.", ".attention.v_proj."),
    (".attention.o_proj.", ".attn.proj."),
    (".layer_scale1.lambda1", ".ls1.gamma"),
    (".layer_scale2.lambda1", ".ls2.gamma"),
)
_QUERY = ".attention.q_proj."


@dataclass(frozen=True)
class DINOv2Sizes:
    """What tells its networks apart: see `DINOv2`."""

    width: int
    depth: int
    patch: int
    grid: int
    registers: int = 0


_PUBLISHED = {"s": (384, 12), "b": (768, 12), "l": (1024, 24)}
"""Width and depth; all have patches of 14 pixels and were trained at last on pictures of 518."""


class DINOv2(VisionNetwork):
    """The normalised patch features of its last layer.

    Args:
        width: channels, whole heads of 64.
        grid: patches of a side that the position embeddings were trained for.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, width: int, depth: int, patch: int, grid: int, registers: int = 0) -> None:
        super().__init__()
        self.stride, self.channels, self.grid = patch, width, grid
        self.patch_embed = nn.ModuleDict({"proj": nn.Conv2d(3, width, patch, patch)})
        self.cls_token = nn.Parameter(torch.zeros(1, 1, width))
        self.pos_embed = nn.Parameter(torch.zeros(1, 1 + grid**2, width))
        self.register_tokens = nn.Parameter(torch.zeros(1, registers, width)) if registers else None
        self.blocks = nn.ModuleList(_Block(width) for _ in range(depth))
        self.norm = nn.LayerNorm(width, _EPS)
        self.register_buffer("mean", torch.tensor(_MEAN).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(_STD).view(3, 1, 1), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """As of every `VisionNetwork`: frames (n, 3, H, W) in [-1, 1] to features (n, width, H / patch, W / patch)."""
        patches = self.patch_embed["proj"](((x + 1) / 2 - self.mean) / self.std)
        rows, columns = patches.shape[2:]
        tokens = torch.cat([self.cls_token.expand(len(x), -1, -1), patches.flatten(2).transpose(1, 2)], dim=1)
        tokens = tokens + self._positions(rows, columns)
        before = 1
        if self.register_tokens is not None:  # they have no place, and stand between the class token and the patches
            registers = self.register_tokens.expand(len(x), -1, -1)
            tokens = torch.cat([tokens[:, :1], registers, tokens[:, 1:]], dim=1)
            before += registers.shape[1]
        for block in self.blocks:
            tokens = block(tokens)
        return self.norm(tokens)[:, before:].transpose(1, 2).unflatten(2, (rows, columns))

    def _positions(self, rows: int, columns: int) -> Tensor:
        """Position embeddings (1, 1 + rows * columns, width), bicubic between those that were trained, as transformers
        takes them; antialiased with registers, which were trained so."""
        if (rows, columns) == (self.grid, self.grid):
            return self.pos_embed
        trained = self.pos_embed[:, 1:].transpose(1, 2).unflatten(2, (self.grid, self.grid)).float()
        antialias = self.register_tokens is not None
        here = F.interpolate(trained, (rows, columns), mode="bicubic", align_corners=False, antialias=antialias)
        return torch.cat([self.pos_embed[:, :1], here.flatten(2).transpose(1, 2).to(self.pos_embed.dtype)], dim=1)


class _Block(nn.Module):
    """Attention and a two-layer network, each scaled by channel (LayerScale) and beside the identity."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width, _EPS), nn.LayerNorm(width, _EPS)
        self.attn = nn.ModuleDict({"qkv": nn.Linear(width, 3 * width), "proj": nn.Linear(width, width)})
        self.mlp = nn.ModuleDict({"fc1": nn.Linear(width, 4 * width), "fc2": nn.Linear(4 * width, width)})
        self.ls1, self.ls2 = _LayerScale(width), _LayerScale(width)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.attn["qkv"](self.norm1(x)).unflatten(2, (3, -1, _HEAD)).permute(2, 0, 3, 1, 4)
        x = x + self.ls1(self.attn["proj"](F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)))
        return x + self.ls2(self.mlp["fc2"](F.gelu(self.mlp["fc1"](self.norm2(x)))))


class _LayerScale(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.gamma


def load_dinov2(path: Path) -> DINOv2:
    """The network of a file of weights, frozen.

    Raises:
        WeightsError: the file is damaged, or holds another network.
    """
    state = original_names(read_weights(path).state)
    network = DINOv2(**asdict(_sizes(state, path)))
    fill(network, {name: tensor.float() for name, tensor in state.items()}, path)
    return network


def sizes_of_file(path: Path) -> DINOv2Sizes:
    """Of the network whose weights a file holds; errors as of `load_dinov2`."""
    return _sizes(original_names(read_weights(path).state), path)


def sizes_of_name(name: str) -> DINOv2Sizes | None:
    """Of a published network by what torch.hub or the Hub call it; None where the name tells nothing."""
    found = re.search(r"dinov2[_-](with-registers-)?(?:vit)?([sbl])(?:14|mall|ase|arge)(_reg)?(?![a-z0-9])", name)
    if found is None:
        return None
    return DINOv2Sizes(*_PUBLISHED[found[2]], patch=14, grid=37, registers=4 if found[1] or found[3] else 0)


def _sizes(state: Mapping[str, Tensor], path: Path) -> DINOv2Sizes:
    """What a file's tensors, by the authors' names, say."""
    if any(".mlp.w12." in name or ".mlp.weights_in." in name for name in state):
        raise WeightsError(f"{path}: DINOv2's giant network has layers of its own; take small, base or large")
    first = ("cls_token", "pos_embed", "patch_embed.proj.weight", "blocks.0.norm1.weight")
    missing = next((name for name in first if name not in state), None)
    if missing is not None:
        raise WeightsError(f"{path}: not the weights of DINOv2, {missing} is not among them")
    depth = 1 + max(int(name.split(".")[1]) for name in state if name.startswith("blocks."))
    registers = state["register_tokens"].shape[1] if "register_tokens" in state else 0
    width, patch = state["cls_token"].shape[-1], state["patch_embed.proj.weight"].shape[-1]
    return DINOv2Sizes(width, depth, patch, isqrt(state["pos_embed"].shape[1] - 1), registers)


def original_names(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors under the names of the authors' code, without what stands before them all, the mask token (which
    only training needs) and heads."""
    plain = {}
    for name, tensor in state.items():
        for theirs, ours in _NAMES:
            name = name.replace(theirs, ours)
        plain[re.sub(r"(^|\.)layernorm\.", r"\1norm.", name)] = tensor
    prefix = next((name.removesuffix("cls_token") for name in plain if name.endswith("cls_token")), "")
    parts = ("cls_token", "pos_embed", "register_tokens", "patch_embed.", "blocks.", "norm.")
    behind = {name.removeprefix(prefix): tensor for name, tensor in plain.items() if name.startswith(prefix)}
    return _joined({name: tensor for name, tensor in behind.items() if name.startswith(parts)})


def _joined(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Queries, keys and values, which transformers keeps apart, as one layer."""
    found = {name: tensor for name, tensor in state.items() if ".attention." not in name}
    for name in state:
        if _QUERY in name:
            parts = [state[name.replace(_QUERY, f".attention.{part}_proj.")] for part in "qkv"]
            found[name.replace(_QUERY, ".attn.qkv.")] = torch.cat(parts)
    return found
