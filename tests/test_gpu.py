"""The same results on a GPU: run with `python -m pytest -m gpu` where there is one."""

import pytest
import torch
from clips import moving_video, write_clip
from reference_weights import relative_error
from small_models import ARCHITECTURES, small_model

import workbench as wb

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.usefixtures("exact_float32"),
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]
TILES = wb.Tiling(spatial_tile_size=64, temporal_tile_size=None)


@pytest.fixture(params=list(ARCHITECTURES))
def models(request):
    """The same model on the CPU and on the GPU."""
    return small_model(request.param), small_model(request.param).cuda()


@pytest.mark.parametrize("frames", [1, 9])
def test_float32_equals_the_cpu(models, frames):
    cpu, gpu = models
    x = moving_video(frames, 70, 90).to_tensor()
    z = cpu.encode(x)
    assert relative_error(gpu.encode(x).cpu(), z) < 1e-4
    assert relative_error(gpu.decode(z, frames, (70, 90)).cpu(), cpu.decode(z, frames, (70, 90))) < 1e-4


def test_bfloat16_is_near(models):
    cpu, gpu = models
    x = moving_video(9, 64, 64).to_tensor()
    z = cpu.encode(x)
    y = gpu.bfloat16().decode(gpu.encode(x), 9, (64, 64)).float().cpu()
    assert relative_error(y, cpu.decode(z, 9, (64, 64))) < 0.1


def test_files_stream_through_the_gpu(models, tmp_path):
    cpu, gpu = models
    source = write_clip(tmp_path / "in.mkv", 40, 70, 90)
    wb.reconstruct_file(gpu, source, tmp_path / "out.mkv", TILES)
    expected = wb.reconstruct(cpu, wb.read_video(source), TILES).output.frames
    difference = wb.read_video(tmp_path / "out.mkv").frames.int() - expected.int()
    assert difference.abs().max() <= 1
