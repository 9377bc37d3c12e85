"""`tiling_mode` auto: the cheapest way to run a model over a clip for which the memory suffices."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from workbench.errors import DeviceMemoryError
from workbench.memory import available_memory, is_out_of_memory
from workbench.models.base import Autoencoder
from workbench.models.cost import coding_cost, is_counted, work_ratio
from workbench.models.plans import Size, decode_plan, encode_plan, mode_of
from workbench.stages import LocalStage, StreamPlan
from workbench.steps import Steps, T
from workbench.tile_settings import Tiling
from workbench.words import counted

_SHARE = 0.85
"""Of the free memory; the rest is for the allocator's losses, workspaces and frames on their way."""


@dataclass(frozen=True)
class Choice:
    """A way to run a model over a clip, and why it was taken; no reason where it was asked for."""

    tiling: Tiling
    reason: str | None = None


@dataclass(frozen=True)
class Ran:
    """How a model was run over a clip, for a record of results.

    Attributes:
        push_frames: see `Tiling`; None where nothing was streamed.
        work: what overlaps cost, see `models.cost.work_ratio`.
        is_exact: whether the result is that of the whole clip at once, but for rounding.
        chosen: what `tiling_mode` auto took and why; None where the mode was asked for.
    """

    tiling_mode: str
    push_frames: int | None
    work: float
    is_exact: bool
    chosen: str | None


def ran(ae: Autoencoder, size: Size, choice: Choice, ranks: int = 1) -> Ran:
    """The record of a choice that was run, by so many ranks together."""
    encode, decode = (plan(ae, size, choice.tiling, ranks) for plan in (encode_plan, decode_plan))
    pushes = [plan.push for plan in encode.stages + decode.stages if isinstance(plan, StreamPlan)]
    return Ran(
        tiling_mode=mode_of(ae, choice.tiling),
        push_frames=max(pushes, default=None),
        work=work_ratio(ae, size, choice.tiling, (encode, decode)),
        is_exact=encode.is_exact and decode.is_exact,
        chosen=choice.reason,
    )


def choose(ae: Autoencoder, size: Size, tiling: Tiling, ranks: int = 1) -> Iterator[Choice]:
    """Ways to run the model over a clip of this size, the next one, which needs less, for when the memory ran out.

    Without `tiling_mode` auto it is the one that was asked for; where none was, tiles come after what suits the model.
    Several ranks always share tiles. Where `auto` finds nothing that fits, it takes what needs the least.
    """
    if tiling.tiling_mode != "auto":
        yield Choice(tiling)
        if tiling.tiling_mode is None and ranks == 1 and not ae.tiles_are_own and mode_of(ae, tiling) != "tiles":
            yield Choice(tiling.in_mode("tiles"), "tiles instead, which need less memory")
        return
    tiles = tiling.in_mode("tiles")
    streamed = [tiling.in_mode(mode, push) for mode, push in _candidates(ae, tiling)]
    if ranks > 1 or not streamed:
        why = "which ranks can share best" if ranks > 1 else "as no other way to run this model can be counted"
        yield Choice(tiles, f"`tiling_mode` auto took tiles, {why}")
        return
    budget = tiling.memory_gb * 1e9 if tiling.memory_gb else _SHARE * available_memory(ae.device)
    needs = [(coding_cost(ae, size, way).peak_bytes, way) for way in (*streamed, tiles)]
    fitting = [need for need in needs if need[0] <= budget] or [min(needs, key=lambda need: need[0])]
    tried = math.inf
    for needed, way in fitting:
        if needed < tried:
            yield Choice(way, _reason(_name(ae, way), needed, budget))
            tried = needed


def _name(ae: Autoencoder, way: Tiling) -> str:
    """A way to run a model, in words."""
    mode, push = mode_of(ae, way), way.push_frames or ae.default_push_frames
    return mode if mode == "tiles" else f"{mode}, {counted(push, 'frame')} at once"


def _reason(name: str, needed: float, budget: float) -> str:
    """Why `auto` takes this, or what would need less where it needs more than there is."""
    found = f"`tiling_mode` auto took {name}: {needed / 1e9:.3g} GB of {budget / 1e9:.3g} GB"
    if needed <= budget:
        return found
    return f"{found}, the least there is for tiles of this size; smaller ones (`spatial_tile_size`) need less"


def within_memory(
    ae: Autoencoder, size: Size, tiling: Tiling, attempt: Callable[[Tiling], Steps[T]], ranks: int = 1
) -> Steps[tuple[T, Choice]]:
    """The result of an attempt, and how it was run: tried again from the start with less where memory ran out."""
    choices = choose(ae, size, tiling, ranks)
    choice = next(choices)
    while True:
        try:
            return (yield from attempt(choice.tiling)), choice
        except (DeviceMemoryError, RuntimeError) as error:  # frames on their way to the model take memory too
            out_of_memory = isinstance(error, DeviceMemoryError) or is_out_of_memory(error)
            following = next(choices, None) if out_of_memory else None
            if following is None:
                raise
        choice = replace(following, reason=f"{following.reason}; memory ran out with {_name(ae, choice.tiling)}")


def _candidates(ae: Autoencoder, tiling: Tiling) -> list[tuple[str, int]]:
    """Modes besides tiles and frames at once, the cheapest first, each way once."""
    stages = ae.encode_stages()
    if not is_counted(ae) or not isinstance(stages[0], LocalStage):
        return []  # nothing of it is streamed, or its cost cannot be counted
    own = [ae.default_push_frames, *(push for push in (2, 1) if push < ae.default_push_frames)]
    pushes = own if tiling.push_frames is None else [tiling.push_frames]
    modes = ("stages",) if len(stages) == 1 else ("frames", "stages")
    return [(mode, push) for mode in modes for push in pushes]
