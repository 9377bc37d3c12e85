"""Local stages, streamed, against the untiled model: every shape, every push, encode and decode."""

from itertools import product

import pytest
import torch
from reference_weights import load_formula_weights
from strips import assert_strips_are_the_whole
from torch.utils._python_dispatch import TorchDispatchMode

import workbench as wb
from workbench.counting import Counter
from workbench.models.base import Autoencoder
from workbench.models.coding import decode_pieces, decode_tiled, encode_pieces, encode_tiled
from workbench.models.dc_blocks import ResBlock, linear_attention
from workbench.models.layer_streams import stream_of
from workbench.models.plans import encode_plan
from workbench.models.registry import build_autoencoder
from workbench.models.windows import WindowedAttention
from workbench.stages import LocalStage, Window
from workbench.steps import Progress
from workbench.tiling import pad_end, plan_decode_side

HEAD_SIZE = 4

LOCAL = {
    "no attention": ("video_dc_ae", {"attention_stages": 0, "encoder_depths": (1,) * 6, "decoder_depths": (1,) * 6}),
    "depth 0": ("video_dc_ae", {"encoder_depths": (1, 2, 1, 0, 0, 0), "decoder_depths": (1, 1, 1, 0, 0, 0)}),
    "attention in the last stage": (
        "video_dc_ae",
        {"attention_stages": 1, "encoder_depths": (0, 1, 0, 1, 1, 0), "decoder_depths": (0, 1, 0, 1, 1, 0)},
    ),
    "dct": ("dct", {}),
    "tiny": (
        "tiny",
        {
            "encoder_widths": (8, 4, 4),
            "encoder_depths": (2, 0, 1),
            "decoder_widths": (8, 4, 4),
            "decoder_depths": (3, 1, 1),
        },
    ),
}
WIDTHS = {"widths": (4, 4, 8, 8, 8, 8), "latent_channels": 4, "scaling_factor": 0.5}
SIZES = [(1, 33, 50), (2, 64, 31), (3, 32, 33), (5, 40, 32), (22, 30, 33), (100, 32, 31)]
TOLERANCE = {"rtol": 2e-6, "atol": 2e-6}


def model_of(name: str, architecture: dict) -> Autoencoder:
    """A model in float64: results differ by the last rounding to float32 alone, whichever kernels a machine takes."""
    widths = WIDTHS if name == "video_dc_ae" else {}
    ae = build_autoencoder(name, widths | architecture).double().eval().requires_grad_(False)
    load_formula_weights(ae)
    return ae


def clip_of(size: tuple[int, int, int]) -> torch.Tensor:
    return torch.rand(1, 3, *size, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) * 2 - 1


@pytest.mark.parametrize("name", LOCAL)
def test_local_models_streamed_are_the_untiled_ones(name):
    ae = model_of(*LOCAL[name])
    assert all(isinstance(stage, LocalStage) for stage in [*ae.encode_stages(), *ae.decode_stages(False)])
    for number, size in enumerate(SIZES):
        x = clip_of(size)
        z = ae.encode(x)
        y = ae.decode(z, size[0], size[1:])
        tiling = wb.Tiling(
            tiling_mode=("stages", "frames", "windows")[number % 3], push_frames=(1, 3, 8, 200)[number % 4]
        )
        torch.testing.assert_close(encode_tiled(ae, x, tiling), z.float(), **TOLERANCE)
        torch.testing.assert_close(decode_tiled(ae, z, tiling, size[0], size[1:]), y.float(), **TOLERANCE)


@pytest.mark.parametrize("name", ["no attention", "dct", "tiny"])
@pytest.mark.parametrize("frames", [1, 7, 41])
def test_a_clip_in_chunks_is_the_clip_at_once(name, frames):
    """As files are read: chunks of any length in, chunks of any length out, encoder and decoder side by side."""
    ae, size = model_of(*LOCAL[name]), (frames, 33, 40)
    x, tiling = clip_of(size), wb.Tiling(tiling_mode="stages", push_frames=3)
    y = ae.decode(ae.encode(x), frames, size[1:])
    latents = encode_pieces(ae, iter(x.split((5, 1, 4) * 4 + (1,) if frames == 41 else 5, dim=2)), size, tiling)
    pieces = decode_pieces(ae, latents, size, tiling)
    found = torch.cat([piece for piece in pieces if not isinstance(piece, Progress)], dim=2)
    torch.testing.assert_close(found, y.float(), **TOLERANCE)


@pytest.mark.parametrize("size", [(1, 70, 90), (5, 64, 33), (17, 32, 40)])
def test_attention_in_windows_is_the_untiled_model_where_the_clip_is_no_larger(size):
    ae, x = model_of("video_dc_ae", {"encoder_depths": (1,) * 6, "decoder_depths": (1,) * 6}), clip_of(size)
    z = ae.encode(x)
    y = ae.decode(z, size[0], size[1:])
    for push in (3, 200):
        tiling = wb.Tiling(tiling_mode="windows", push_frames=push)
        torch.testing.assert_close(encode_tiled(ae, x, tiling), z.float(), **TOLERANCE)
        torch.testing.assert_close(decode_tiled(ae, z, tiling, size[0], size[1:]), y.float(), **TOLERANCE)


@pytest.mark.parametrize(("size", "push"), [((1, 70, 90), 1), ((5, 64, 33), 3), ((17, 32, 40), 200)])
def test_frames_not_cut_in_time_are_the_untiled_model_attention_and_all(size, push):
    ae, x = model_of("video_dc_ae", {"encoder_depths": (1,) * 6, "decoder_depths": (1,) * 6}), clip_of(size)
    z = ae.encode(x)
    y = ae.decode(z, size[0], size[1:])
    tiling = wb.Tiling(tiling_mode="frames", push_frames=push, spatial_tile_size=32)  # of which frames take no notice
    assert encode_plan(ae, size, tiling).is_exact
    torch.testing.assert_close(encode_tiled(ae, x, tiling), z.float(), **TOLERANCE)
    torch.testing.assert_close(decode_tiled(ae, z, tiling, size[0], size[1:]), y.float(), **TOLERANCE)


def attend_window_by_window(qkv: torch.Tensor, scale: tuple[int, int], frames: int, side: int) -> torch.Tensor:
    """`linear_attention` of every latent in time within its own window, and within tiles that do not overlap."""
    (step, pixels), latents = scale, qkv.shape[2] // scale[0]
    out = []
    for latent in range(latents):
        start = min(max(latent - frames // 2, 0), max(latents - frames, 0))
        window = qkv[:, :, start * step : (start + frames) * step]
        own = slice((latent - start) * step, (latent - start + 1) * step)
        rows = []
        for row in window.split(side * pixels, dim=3):
            tiles = [linear_attention(tile, HEAD_SIZE)[:, :, own] for tile in row.split(side * pixels, dim=4)]
            rows.append(torch.cat(tiles, dim=4))
        out.append(torch.cat(rows, dim=3))
    return torch.cat(out, dim=2)


@pytest.mark.parametrize(("latents", "frames"), [(3, 4), (11, 4), (11, 5), (1, 8)])
@pytest.mark.parametrize("scale", [(4, 2), (1, 1)])
def test_streamed_windows_are_attention_window_by_window(latents, frames, scale):
    generator = torch.Generator().manual_seed(0)
    size = latents * scale[0], 6 * scale[1], 3 * scale[1]
    qkv = torch.randn(2, 2 * 3 * HEAD_SIZE, *size, dtype=torch.float64, generator=generator)
    expected = attend_window_by_window(qkv, scale, frames, side=3)
    for push in (1, 3, 7, 100):
        attention, pieces = WindowedAttention(HEAD_SIZE, scale, Window(frames, 3, 0)), qkv.split(push, dim=2)
        parts = [attention(piece, piece is pieces[-1]) for piece in pieces]
        torch.testing.assert_close(torch.cat([part for part in parts if part is not None], dim=2), expected)


def test_tiles_of_windows_that_overlap_are_blended():
    qkv = torch.randn(1, 3 * HEAD_SIZE, 4, 5, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    y = WindowedAttention(HEAD_SIZE, (4, 1), Window(8, 3, 1))(qkv, True)
    top, bottom = linear_attention(qkv[..., :3, :], HEAD_SIZE), linear_attention(qkv[..., 2:, :], HEAD_SIZE)
    shared = (top[..., 2:, :] + bottom[..., :1, :]) / 2
    torch.testing.assert_close(y, torch.cat([top[..., :2, :], shared, bottom[..., 1:, :]], dim=3))


def test_tiles_that_overlap_in_rows_and_columns_are_blended_by_the_weights_of_both():
    generator = torch.Generator().manual_seed(0)
    qkv = torch.randn(2, 2 * 3 * HEAD_SIZE, 4, 10, 16, dtype=torch.float64, generator=generator)
    rows, columns = (plan_decode_side(side, 2, 3, 1) for side in (10, 16))
    assert (len(rows.spans), len(columns.spans)) == (2, 4)
    expected = torch.zeros(2, 2 * HEAD_SIZE, 4, 10, 16, dtype=torch.float64)
    for (h, wh), (w, ww) in product(
        zip(rows.spans, rows.weights, strict=True), zip(columns.spans, columns.weights, strict=True)
    ):
        tile = ..., slice(h.out_start, h.out_stop), slice(w.out_start, w.out_stop)
        expected[tile] += linear_attention(qkv[tile], HEAD_SIZE) * wh[:, None] * ww
    y = WindowedAttention(HEAD_SIZE, (4, 2), Window(8, 3, 1))(qkv, True)
    torch.testing.assert_close(y, expected, rtol=1e-6, atol=1e-6)  # weights are float32


def test_many_tiles_take_few_calls():
    """Some for every row and every column, not for each of 144 tiles: calls cost time on a GPU, and to count."""
    with torch.device("meta"), torch.no_grad(), Calls() as calls:
        WindowedAttention(HEAD_SIZE, (1, 1), Window(1, 2, 0))(torch.empty(1, 3 * HEAD_SIZE, 1, 24, 24), True)
    assert calls.count < 30 * (12 + 12)


class Calls(TorchDispatchMode):
    """How many operators are called."""

    count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.count += 1
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("push", [1, 2, 4])
def test_a_streamed_block_keeps_every_frame_once_and_nothing_after_the_end(push):
    """Two inputs of each convolution, of which the shortcut waits for the first's; one more may be part of a tensor."""
    with torch.device("meta"), torch.no_grad(), Counter() as counter:
        stream = stream_of(ResBlock(8))
        weights = counter.bytes
        for start in range(0, 12, push):
            stream(torch.empty(1, 8, push, 16, 16), start + push == 12)
            assert counter.bytes - weights <= 5 * 8 * 16 * 16 * 4
        assert counter.bytes == weights


@pytest.mark.parametrize(("name", "push"), [("depth 0", 1), ("depth 0", 4), ("tiny", 4)])
def test_strips_read_all_rows_that_their_own_depend_on(name, push):
    """What several ranks do, one after another: the strips of a frame under each other are the whole frame."""
    ae, x = model_of(*LOCAL[name]), clip_of((5, 256, 32))
    for stage, given in ((ae.encode_stages()[0], pad_end(x, 8, 256, 32)), (ae.decode_stages(False)[0], ae.encode(x))):
        assert_strips_are_the_whole(stage, given, push)
