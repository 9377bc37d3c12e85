"""VMAF against Netflix's own program and against the table of the library that computes it."""

import av
import numpy as np
import pytest
import torch
from skimage import data

from workbench.metrics.vmaf import Vmaf, luma

vmaf_torch = pytest.importorskip("vmaf_torch", reason="vmaf-torch is not installed")

NETFLIX = [77.44, 87.8071, 88.0662, 89.148, 88.5018, 88.5565]
"""Of `pair`, by libvmaf 86da14d in FFmpeg 9.0.2: -lavfi [0:v]format=yuv444p[a];[1:v]format=yuv444p[b];[a][b]libvmaf."""


@pytest.fixture(scope="module")
def pair() -> tuple[torch.Tensor, torch.Tensor]:
    """A window that moves over a photograph, uint8 (6, 3, 192, 256), and the same in eight levels."""
    photo = torch.from_numpy(data.astronaut()).permute(2, 0, 1)
    x = torch.stack([photo[:, 40:232, start : start + 256] for start in range(100, 118, 3)])
    return x, x // 32 * 32 + 16


def test_vmaf_is_that_of_netflix(pair):
    """Which computes in whole numbers, and the library in floats: Netflix states a difference of some hundredths."""
    np.testing.assert_allclose(Vmaf().values(*pair), NETFLIX, rtol=0, atol=0.15)


def test_frame_by_frame_vmaf_is_the_librarys_table_of_the_clip(pair):
    table = vmaf_torch.VMAF(clip_score=True).table(*map(luma, pair))
    np.testing.assert_allclose(Vmaf().values(*pair), table["vmaf"].astype(float), rtol=0, atol=1e-3)


def test_luma_is_that_of_ffmpeg_but_for_its_rounding(pair):
    assert (luma(pair[0]) - ffmpeg_luma(pair[0])).abs().max() <= 1


def test_frames_left_out_have_no_value_and_the_others_their_own(pair):
    every, all_values = Vmaf(every=4).values(*pair), Vmaf().values(*pair)
    assert np.isnan([every[number] for number in (1, 2, 3, 5)]).all()
    np.testing.assert_allclose([every[0], every[4]], [all_values[0], all_values[4]], rtol=0, atol=1e-3)
    assert np.isnan(Vmaf().values(*(clip[..., :63] for clip in pair))).all()


def ffmpeg_luma(clip: torch.Tensor) -> torch.Tensor:
    """Luma (T, 1, H, W) in [16, 235], by swscale."""
    pictures = [av.VideoFrame.from_ndarray(np.ascontiguousarray(frame)) for frame in clip.permute(0, 2, 3, 1).numpy()]
    planes = [picture.reformat(format="yuv444p").to_ndarray()[0] for picture in pictures]
    return torch.from_numpy(np.stack(planes))[:, None].float()
