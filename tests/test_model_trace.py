"""Traces say what really happens inside a model; notebook figures show what they are given."""

import pytest
import torch
from small_models import ARCHITECTURES, small_model
from torch.utils.flop_counter import FlopCounterMode

from workbench.compare.map_figures import map_figure
from workbench.compare.pictures import picture
from workbench.course.model_figures import branch_figure, cost_figure
from workbench.course.pictures import first_frames, wipe_figure
from workbench.course.trace import branch_shares, part_rows, trace, trace_shape
from workbench.errors import ShapeError

SHAPE = (1, 3, 4, 32, 32)


def clip() -> torch.Tensor:
    return torch.rand(SHAPE, generator=torch.Generator().manual_seed(0)) * 2 - 1


def test_parts_follow_each_other_and_hold_all_operations():
    ae, x = small_model("video_dc_ae"), clip()
    parts = trace(ae, x)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        ae(x)
    assert sum(part.operations for part in parts) == counter.get_total_flops()
    assert parts[0].name == "encoder.project_in.conv"
    assert parts[0].input_shape == SHAPE
    assert parts[-1].output_shape == SHAPE
    kinds = [part.kind for part in parts]
    assert kinds.count("Downsample") == kinds.count("Upsample") == 5
    assert kinds.count("MultiScaleLinearAttention") == 6  # one block in each of three stages, in both directions


def test_a_trace_without_values_is_that_of_the_model_itself():
    assert trace_shape("video_dc_ae", SHAPE, ARCHITECTURES["video_dc_ae"]) == trace(small_model("video_dc_ae"), clip())


def test_hooks_are_removed_again():
    ae = small_model("video_dc_ae")
    trace(ae, clip())
    branch_shares(ae, clip())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in ae.modules())


def test_branch_shares_are_zero_where_a_branch_adds_nothing():
    ae = small_model("video_dc_ae")
    block = ae.encoder.stages[0].op_list[0]
    torch.nn.init.zeros_(block.main.conv2.norm.weight)
    torch.nn.init.zeros_(block.main.conv2.norm.bias)
    shares = branch_shares(ae, clip())
    assert shares["encoder.stages.0.op_list.0"] == 0.0
    assert all(share > 0.0 for name, share in shares.items() if name != "encoder.stages.0.op_list.0")


def test_rows_and_figures_show_every_stage():
    parts = trace_shape("video_dc_ae", SHAPE, ARCHITECTURES["video_dc_ae"])
    rows = part_rows(parts)
    assert sum(row["share %"] for row in rows) == pytest.approx(100.0)
    figure = cost_figure(parts)
    shown = sum(sum(bar.x) for bar in figure.data if bar.xaxis == "x")
    assert shown == pytest.approx(sum(part.operations for part in parts) / 1e9)
    assert list(branch_figure({"a": {"block": 0.25}}).data[0].y) == [0.25]


def test_maps_share_one_scale_and_are_averaged_down():
    figure = map_figure({"small": torch.ones(4, 4), "large": torch.full((480, 960), 3.0)}, "units")
    assert figure.data[1].z.shape == (120, 240)
    assert {trace.coloraxis for trace in figure.data} == {"coloraxis"}
    assert figure.data[1].z.mean() == 3.0
    assert (figure.layout.coloraxis.cmin, figure.layout.coloraxis.cmax) == (1.0, 3.0)


def test_a_wipe_shows_the_original_left_of_the_border_and_the_output_right_of_it():
    black, white = torch.zeros(3, 20, 96, dtype=torch.uint8), torch.full((3, 20, 96), 255, dtype=torch.uint8)
    figure = wipe_figure(black, white)
    steps = figure.layout.sliders[0].steps
    assert sum(steps[0].args[0]["visible"]) == len(figure.data)  # at the left edge: the output everywhere
    assert list(steps[-1].args[0]["visible"]) == [True] + [False] * (len(figure.data) - 1)
    half = steps[len(steps) // 2]
    shown = [strip for strip, visible in zip(figure.data[1:], half.args[0]["visible"][1:], strict=True) if visible]
    assert min(strip.x0 for strip in shown) == float(half.label) + 0.5
    with pytest.raises(ShapeError, match="one shape"):
        wipe_figure(black, white[:, :10])


def test_pictures_are_exact_and_enlarged_by_whole_numbers():
    x = clip()
    frame = first_frames({"a": x}, scale=2)["a"]
    assert frame.shape == (1, 3, 64, 64)
    assert picture(frame[0]).getpixel((5, 9)) == tuple(((x[0, :, 0, 4, 2] + 1) * 127.5).round().int().tolist())
    with pytest.raises(ShapeError, match="uint8"):
        picture(x[0, :, 0])
