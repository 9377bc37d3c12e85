"""One interface for every model of MODELS: any shape in, exactly that shape out, tiled or not."""

from copy import deepcopy

import pytest
import torch
from reference_weights import relative_error
from small_models import ARCHITECTURES, small_model

import workbench as wb
from workbench.models.base import Autoencoder
from workbench.models.plans import tile_plans
from workbench.tiling import pad_end

SHAPES = [
    (1, 1, 1),
    (1, 40, 33),
    (2, 31, 64),
    (3, 64, 33),
    (4, 32, 32),
    (5, 32, 65),
    (29, 33, 32),
    (52, 32, 32),
    (97, 1, 32),
]


@pytest.fixture(scope="module", params=list(wb.MODELS))
def ae(request) -> Autoencoder:
    return small_model(request.param)


def test_every_model_has_a_small_architecture():
    assert set(ARCHITECTURES) == set(wb.MODELS)


@pytest.mark.parametrize("shape", SHAPES)
def test_any_shape_comes_back_exactly(ae, shape):
    x = torch.rand(1, 3, *shape) * 2 - 1
    z = ae.encode(x)
    assert z.shape == (1, *ae.latent_shape(*shape))
    y = ae.decode(z, num_frames=shape[0], size=shape[1:])
    assert y.shape == x.shape
    assert y.isfinite().all()


def test_a_batch_equals_its_clips_one_by_one(ae):
    """In float64: one clip and two are convolved by different kernels, whose rounding differs by processor."""
    ae, x = deepcopy(ae).double(), torch.rand(2, 3, 5, 40, 33) * 2 - 1
    z = ae.encode(x)
    y = ae.decode(z, 5, (40, 33))
    for i in range(2):
        assert relative_error(ae.encode(x[i : i + 1]), z[i : i + 1]) < 1e-12
        assert relative_error(ae.decode(z[i : i + 1], 5, (40, 33)), y[i : i + 1]) < 1e-12


def test_forward_is_encode_then_decode(ae):
    x = torch.rand(1, 3, 6, 33, 40) * 2 - 1
    output = ae(x)
    torch.testing.assert_close(output.latents, ae.encode(x))
    torch.testing.assert_close(output.reconstruction, ae.decode(ae.encode(x), 6, (33, 40)))


def test_padding_repeats_the_edge_up_to_the_legal_shape(ae):
    x = torch.rand(1, 3, 3, 33, 40) * 2 - 1
    legal = pad_end(x, ae.legal_frames(3), ae.legal_side(33), ae.legal_side(40))
    assert torch.equal(ae.encode(legal), ae.encode(x))


@pytest.mark.parametrize(
    "wrong", [torch.zeros(3, 4, 32, 32), torch.zeros(1, 3, 0, 32, 32), torch.zeros(1, 1, 4, 32, 32)]
)
def test_wrong_layouts_are_named(ae, wrong):
    with pytest.raises(wb.ShapeError, match=r"\(B, 3, T, H, W\)"):
        ae.encode(wrong)
    with pytest.raises(wb.ShapeError, match=r"\(B, 3, T, H, W\)"):
        wb.encode_tiled(ae, wrong, wb.Tiling())
    with pytest.raises(wb.ShapeError, match="latents"):
        ae.decode(torch.zeros(1, ae.latent_channels, 2, 1, 1), num_frames=50)


@pytest.mark.parametrize(("shape", "factor"), [((1, 70, 90), 0.5), ((9, 33, 65), 0.2), ((22, 40, 32), 0.0)])
def test_tiled_gives_the_same_shapes(ae, shape, factor):
    frames = ae.frames_of(4 if ae.causal else 2)
    tiling = wb.Tiling(spatial_tile_size=32, temporal_tile_size=frames, tile_overlap_factor=factor)
    x = torch.rand(1, 3, *shape) * 2 - 1
    z = wb.encode_tiled(ae, x, tiling)
    assert z.shape == (1, *ae.latent_shape(*shape))
    assert wb.decode_tiled(ae, z, tiling, num_frames=shape[0], size=shape[1:]).shape == x.shape


def test_one_tile_is_the_untiled_model(ae):
    """But for the rounding of products that take other numbers of rows at once, some 1e-7 in float32."""
    x = torch.rand(2, 3, 7, 45, 50) * 2 - 1
    z = wb.encode_tiled(ae, x, wb.Tiling())
    assert relative_error(z, ae.encode(x)) < 1e-5
    assert relative_error(wb.decode_tiled(ae, z, wb.Tiling(), 7, (45, 50)), ae.decode(z, 7, (45, 50))) < 1e-5


def test_illegal_tiles_name_the_legal_ones(ae):
    stride = ae.spatial_stride
    with pytest.raises(
        wb.ConfigError, match=rf"spatial_tile_size`: {3 * stride + 1} .*use {3 * stride} or {4 * stride}"
    ):
        tile_plans(ae, 8, 256, 256, wb.Tiling(spatial_tile_size=3 * stride + 1))
    with pytest.raises(wb.ConfigError, match=r"temporal_tile_size.*30 frames; use (28|29|25)"):
        tile_plans(ae, 64, 64, 64, wb.Tiling(temporal_tile_size=30))


def test_a_tile_never_has_fewer_frames_than_the_model_takes(ae):
    for frames in range(2, 80):
        encode, decode = tile_plans(ae, frames, 32, 32, wb.Tiling())
        for plan in (encode, decode):
            assert len({span.stop - span.start for span in plan.time.spans}) == 1
        length = encode.time.spans[0].stop - encode.time.spans[0].start
        assert ae.legal_frames(length) == length > 1


def test_frames_that_a_model_loses_are_noticed(ae, monkeypatch):
    decode = ae._decode
    monkeypatch.setattr(ae, "_decode", lambda z, num_frames: decode(z, num_frames)[:, :, :1])
    with pytest.raises(wb.ShapeError, match="defect of the model"):
        ae.decode(torch.zeros(1, *ae.latent_shape(4, 32, 32)), num_frames=4)


def test_a_tile_too_big_for_the_gpu_suggests_smaller_ones(ae, monkeypatch):
    def out_of_memory(x, sample_posterior):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(ae, "_encode", out_of_memory)
    with pytest.raises(wb.WorkbenchError, match="smaller tiles"):
        wb.encode_tiled(ae, torch.zeros(1, 3, 4, 32, 32), wb.ONE_PIECE)


def test_the_linear_baseline_is_block_local_so_tiles_change_nothing():
    dct = small_model("dct")
    for shape in [(1, 100, 70), (30, 70, 100)]:
        x = torch.rand(1, 3, *shape) * 2 - 1
        for factor in (0.0, 0.25, 0.5):
            tiling = wb.Tiling(spatial_tile_size=64, temporal_tile_size=8, tile_overlap_factor=factor)
            z = wb.encode_tiled(dct, x, tiling)
            assert relative_error(z, dct.encode(x)) < 5e-6
            y = wb.decode_tiled(dct, z, tiling, shape[0], shape[1:])
            assert relative_error(y, dct.decode(z, shape[0], shape[1:])) < 5e-6


def test_default_tiles_of_a_720p_clip_are_28_by_5():
    for plan in tile_plans(small_model("video_dc_ae"), 128, 720, 1280, wb.Tiling()):
        assert (plan.spatial_tiles, len(plan.time.spans)) == (28, 5)


def test_a_65_frame_clip_is_one_tile_of_the_causal_model():
    ae = small_model("hunyuan_vae")
    assert len(tile_plans(ae, 65, 256, 256, wb.Tiling())[0]) == 1
    assert len(tile_plans(ae, 66, 256, 256, wb.Tiling())[0]) == 2


class CausalToy(Autoencoder):
    """Lossless, and causal as real ones are: the first frame has a latent of its own, then each holds 4 frames."""

    name, latent_channels, temporal_stride, spatial_stride, causal = "toy", 12, 4, 1, True

    def __init__(self):
        super().__init__()
        self.register_buffer("anchor", torch.zeros(1))

    def _encode(self, x, sample_posterior):
        first = x[:, :, :1].repeat(1, 4, 1, 1, 1)
        rest = x[:, :, 1:].unflatten(2, (-1, 4)).transpose(2, 3).flatten(1, 2)
        return torch.cat([first, rest], dim=2), None

    def _decode(self, z, num_frames):
        first = z[:, :3, :1]
        rest = z[:, :, 1:].unflatten(1, (3, 4)).transpose(2, 3).flatten(2, 3)
        return torch.cat([first, rest], dim=2)


@pytest.mark.parametrize("frames", [1, 2, 4, 5, 6, 9, 12, 13, 22, 29, 39])
def test_causal_tiles_lose_and_shift_nothing(frames):
    ae = CausalToy()
    x = torch.rand(2, 3, frames, 13, 21) * 2 - 1
    z = ae.encode(x)
    torch.testing.assert_close(ae.decode(z, frames, (13, 21)), x, rtol=0, atol=1e-6)
    for tile in (5, 9, 13):
        for factor in (0.0, 0.25, 0.5):
            tiling = wb.Tiling(spatial_tile_size=6, temporal_tile_size=tile, tile_overlap_factor=factor)
            # The latent of a later tile's first frame is context; all others are as untiled.
            tiled = wb.encode_tiled(ae, x, tiling)
            torch.testing.assert_close(tiled, z, rtol=0, atol=1e-5)
            torch.testing.assert_close(wb.decode_tiled(ae, tiled, tiling, frames, (13, 21)), x, rtol=0, atol=1e-5)
