"""What happens inside a model: the shapes that pass through its parts, and where parameters and operations go."""

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode

from workbench.counting import Counter
from workbench.models.base import Autoencoder
from workbench.models.checkpointing import Checkpointed
from workbench.models.dc_blocks import (
    EfficientViTBlock,
    GatedBottleneck,
    MultiScaleLinearAttention,
    ResBlock,
    Residual,
)
from workbench.models.dc_resampling import Downsample, Upsample
from workbench.models.registry import build_autoencoder

PARTS = (Checkpointed, MultiScaleLinearAttention, GatedBottleneck, nn.Conv3d, nn.Linear)
"""Kinds of modules that a trace lists, of an EfficientViTBlock its two halves; what lies inside them is not listed."""

BRANCHES = (ResBlock, Residual, Downsample, Upsample)
"""Blocks of the Video DC-AE that add a branch, `main`, to a shortcut."""


@dataclass(frozen=True)
class Part:
    """One part of a model in one pass.

    Attributes:
        name: its dotted name in the model.
        kind: the name of its class.
        input_shape, output_shape: (B, C, T, H, W) before and after.
        parameters: learned numbers in it.
        operations: of matrix products and convolutions, 2 for a multiply-add.
    """

    name: str
    kind: str
    input_shape: tuple[int, ...]
    output_shape: tuple[int, ...]
    parameters: int
    operations: int

    @property
    def stage(self) -> str:
        """Where it belongs, for grouping: encoder.stages.2, encoder.project_in, ..."""
        return ".".join(self.name.split(".")[: 3 if ".stages." in self.name else 2])


def trace(ae: Autoencoder, x: Tensor) -> list[Part]:
    """Encode and decode x (B, 3, T, H, W) once and list the parts that it went through, in order."""
    parts: list[Part] = []
    with torch.no_grad(), Counter() as counter, ExitStack() as hooks:
        for name, module in _outermost(ae):
            for hook in _hooks(name, module, counter, parts):
                hooks.callback(hook.remove)
        ae(x)
    return parts


def trace_shape(
    name: str, shape: tuple[int, int, int, int, int], architecture: Mapping[str, Any] | None = None
) -> list[Part]:
    """`trace` of a model of `MODELS` on a batch of this shape (B, 3, T, H, W), without weights and without computing.

    Tensors have shapes but no values: even the largest model takes a second or two and no memory.
    """
    with FakeTensorMode():
        return trace(build_autoencoder(name, architecture), torch.empty(shape))


def part_rows(parts: Sequence[Part]) -> list[dict[str, Any]]:
    """The parts as rows for `workbench.compare.tables.text_table`; share is that of all operations, in percent."""
    total = sum(part.operations for part in parts)
    return [
        {
            "part": part.name,
            "kind": part.kind,
            "in": "x".join(map(str, part.input_shape[1:])),
            "out": "x".join(map(str, part.output_shape[1:])),
            "parameters": part.parameters,
            "GFLOP": part.operations / 1e9,
            "share %": 100.0 * part.operations / total,
        }
        for part in parts
    ]


def branch_shares(ae: Autoencoder, x: Tensor) -> dict[str, float]:
    """How much every residual branch of a Video DC-AE adds to its shortcut when it encodes and decodes x.

    Returns:
        Name of the block to rms(branch) / rms(branch + shortcut), in the order of the pass: near 0 the shortcut carries
        everything, near 1 the branch does.
    """
    shares: dict[str, float] = {}
    branches: dict[nn.Module, float] = {}

    def note_branch(main: nn.Module, inputs: tuple, output: Tensor) -> None:
        branches[main] = _rms(output)  # now: the shortcut is added in place

    def note_share(block: nn.Module, inputs: tuple, output: Tensor) -> None:
        shares[names[block]] = branches[block.get_submodule("main")] / _rms(output)

    names: dict[nn.Module, str] = {module: name for name, module in ae.named_modules() if isinstance(module, BRANCHES)}
    with torch.no_grad(), ExitStack() as hooks:
        for block in names:
            hooks.callback(block.get_submodule("main").register_forward_hook(note_branch).remove)
            hooks.callback(block.register_forward_hook(note_share).remove)
        ae(x)
    return shares


def _outermost(ae: Autoencoder) -> list[tuple[str, nn.Module]]:
    """Modules of the kinds in PARTS that lie in no other such module."""
    found: list[tuple[str, nn.Module]] = []
    for name, module in ae.named_modules():  # parents come before what they hold
        is_part = isinstance(module, PARTS) and not isinstance(module, EfficientViTBlock)
        if is_part and not any(name.startswith(f"{outer}.") for outer, _ in found):
            found.append((name, module))
    return found


def _hooks(name: str, module: nn.Module, counter: Counter, parts: list[Part]) -> list[Any]:
    before = 0

    def enter(module: nn.Module, inputs: tuple) -> None:
        nonlocal before
        before = counter.operations

    def leave(module: nn.Module, inputs: tuple, output: Tensor) -> None:
        shapes = tuple(inputs[0].shape), tuple(output.shape)
        parameters = sum(parameter.numel() for parameter in module.parameters())
        operations = counter.operations - before
        parts.append(Part(name, type(module).__name__, *shapes, parameters, operations))

    return [module.register_forward_pre_hook(enter), module.register_forward_hook(leave)]


def _rms(x: Tensor) -> float:
    return x.float().square().mean().sqrt().item()
