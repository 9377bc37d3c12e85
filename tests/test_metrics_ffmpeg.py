"""PSNR and SSIM beside FFmpeg's filters of these names, and the reason where they differ."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from skimage import data

from workbench.metrics.psnr import psnr
from workbench.metrics.ssim import ssim

RATE = Fraction(1, 25)


@pytest.fixture(scope="module")
def pair() -> tuple[torch.Tensor, torch.Tensor]:
    """A window that moves over a photograph, uint8 (5, 3, 60, 84), and the same with noise."""
    photo = torch.from_numpy(data.astronaut()).permute(2, 0, 1)
    x = torch.stack([photo[:, 90:150, start : start + 84] for start in range(180, 195, 3)])
    noise = torch.randn(x.shape, generator=torch.Generator().manual_seed(0))
    return x, (x + 20 * noise).round().clamp(0, 255).to(torch.uint8)


def ffmpeg_lines(name: str, x: torch.Tensor, y: torch.Tensor, file: Path) -> list[dict[str, str]]:
    """What the filter writes of every frame, on planes of R, G and B."""
    graph = av.filter.Graph()
    size = {"width": x.shape[3], "height": x.shape[2], "format": av.VideoFormat("rgb24"), "time_base": RATE}
    compare, sink = graph.add(name, f"stats_file={file}"), graph.add("buffersink")
    sources = [graph.add_buffer(**size) for _ in "yx"]
    for port, source in enumerate(sources):
        planes = graph.add("format", "gbrp")
        source.link_to(planes)
        planes.link_to(compare, 0, port)
    compare.link_to(sink)
    graph.configure()
    for source, clip in zip(sources, (y, x), strict=True):
        for number, frame in enumerate(clip.permute(0, 2, 3, 1).numpy()):
            picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")
            picture.pts, picture.time_base = number, RATE
            source.push(picture)
        source.push(None)
    for _ in range(len(x)):
        sink.pull()
    del graph, compare, sink, source, planes, sources  # closes the file
    return [dict(word.split(":") for word in line.split() if ":" in word) for line in file.read_text().splitlines()]


def test_psnr_is_that_of_ffmpeg(pair, tmp_path):
    """It writes the mean squared error with two decimals: at 400 that is 5e-5 dB."""
    errors = [float(line["mse_avg"]) for line in ffmpeg_lines("psnr", *pair, tmp_path / "psnr.log")]
    expected = [10 * np.log10(255**2 / error) for error in errors]
    assert len(expected) == 5
    np.testing.assert_allclose(psnr(*pair, 255), expected, rtol=0, atol=2e-4)


def test_ssim_differs_from_ffmpegs_by_its_windows_alone(pair, tmp_path):
    """FFmpeg takes flat squares of 8 pixels, four pixels apart, where the paper has a Gaussian around every pixel."""
    theirs = [float(line["All"]) for line in ffmpeg_lines("ssim", *pair, tmp_path / "ssim.log")]
    np.testing.assert_allclose(theirs, flat_ssim(*(clip.double().numpy() for clip in pair)), rtol=0, atol=2e-4)
    ours = ssim(*pair, 255).numpy()
    assert np.abs(ours - theirs).max() > 1e-3, "the docstring's reason would be without an object"


def flat_ssim(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """SSIM (T,) over flat squares of 8 pixels that begin at every fourth pixel."""

    def means(clip: np.ndarray) -> np.ndarray:
        windows = np.lib.stride_tricks.sliding_window_view(clip, (8, 8), axis=(2, 3))
        return windows[:, :, ::4, ::4].mean((-1, -2))

    mean_x, mean_y = means(x), means(y)
    variances = means(x * x + y * y) - mean_x**2 - mean_y**2
    covariance = means(x * y) - mean_x * mean_y
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2 * 63 / 64  # its second constant is for 63 degrees of freedom
    luminance = (2 * mean_x * mean_y + c1) / (mean_x**2 + mean_y**2 + c1)
    return (luminance * (2 * covariance + c2) / (variances + c2)).mean((1, 2, 3))
