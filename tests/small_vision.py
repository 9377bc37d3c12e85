"""A small vision transformer of DINOv2's kind with weights that a formula rebuilds, as files of either naming."""

from pathlib import Path

import torch
from reference_weights import formula_state_dict
from safetensors.torch import save_file
from torch import Tensor

from workbench.vision.dinov2 import DINOv2

WIDTH, DEPTH, PATCH, GRID = 128, 2, 14, 5


def small_dinov2(registers: int = 0) -> DINOv2:
    network = DINOv2(WIDTH, DEPTH, PATCH, GRID, registers)
    network.load_state_dict(formula_state_dict(network))
    return network.eval().requires_grad_(False)


def transformers_names(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The same tensors as transformers' Dinov2Model has them."""
    found = {"embeddings.mask_token": torch.zeros(1, WIDTH)}
    for name, tensor in state.items():
        layer = "encoder.layer." + ".".join(name.split(".")[1:2])
        if ".attn.qkv." in name:
            for part, piece in zip(("query", "key", "value"), tensor.chunk(3), strict=True):
                found[f"{layer}.attention.attention.{part}.{name.split('.')[-1]}"] = piece.contiguous()
            continue
        for ours, theirs in (
            ("patch_embed.proj", "embeddings.patch_embeddings.projection"),
            ("pos_embed", "embeddings.position_embeddings"),
            ("cls_token", "embeddings.cls_token"),
            ("register_tokens", "embeddings.register_tokens"),
            ("attn.proj", "attention.output.dense"),
            ("ls1.gamma", "layer_scale1.lambda1"),
            ("ls2.gamma", "layer_scale2.lambda1"),
            ("blocks.", "encoder.layer."),
        ):
            name = name.replace(ours, theirs)
        found["layernorm" + name.removeprefix("norm") if name.startswith("norm.") else name] = tensor
    return found


def write_dinov2(path: Path) -> Path:
    """The weights as facebook/dinov2-* has them on the Hub."""
    save_file(transformers_names(dict(small_dinov2().state_dict())), path)
    return path
