"""Published ways of measuring: each against its own formula written out, and figures shown only where they compare."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from clips import moving_frames, write_clip
from skimage.metrics import structural_similarity
from torch import nn

from workbench.__main__ import COMMANDS
from workbench.cli import main
from workbench.errors import ConfigError
from workbench.evaluate.protocol_measure import OriginalUnder, clip_psnr, video_features
from workbench.evaluate.protocols import PROTOCOLS, PsnrWay, VideoWay
from workbench.evaluate.published import comparable, published
from workbench.evaluate.reencode import through_h264, through_mp4v
from workbench.evaluate.settings import EvaluateSettings, protocol_settings
from workbench.metrics.lpips import load_lpips

FRAMES = 12


@pytest.fixture(scope="module")
def original() -> torch.Tensor:
    return moving_frames(FRAMES, 48, 64)


@pytest.fixture(scope="module")
def output(original) -> torch.Tensor:
    """float (T, 3, H, W), some of it outside of [-1, 1]."""
    noise = torch.randn(original.shape, generator=torch.Generator().manual_seed(0))
    return original.float() / 127.5 - 1 + 0.08 * noise


class Logits(nn.Module):
    """Stands for I3D: 400 numbers of a clip that tell its range, its length and its motion."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.linspace(0.5, 1.5, 400))
        self.seen: list[tuple] = []

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.seen.append((x.shape[2], round(x.min().item(), 2), round(x.max().item(), 2)))
        return (x.mean() + x.std() + (x[:, :, 1:] - x[:, :, :-1]).abs().mean()) * self.weight[None]


def as_numpy(original, output) -> tuple[np.ndarray, np.ndarray]:
    """Both as float64 in [0, 1]."""
    return original.numpy() / 255.0, ((output.clamp(-1, 1) + 1) / 2).double().numpy()


def mean_psnr(x: np.ndarray, y: np.ndarray) -> float:
    return float(np.mean(-10 * np.log10(((x - y) ** 2).mean((1, 2, 3)))))


def figures(name: str, original, output, lpips=None) -> dict[str, float]:
    return OriginalUnder(PROTOCOLS[name], original, 25.0, None).measure(output, lpips or {}).figures


# Each way by its own formula


def test_the_workbench_rounds(original, output):
    x, y = as_numpy(original, output)
    expected = mean_psnr(x, np.floor(255 * y + 0.5) / 255)
    assert figures("workbench", original, output)["psnr"] == pytest.approx(expected, abs=1e-3)


def test_vidtok_compares_values_as_they_come(original, output):
    x, y = as_numpy(original, output)
    expected = np.mean(-10 * np.log10(((x - y) ** 2).mean((1, 2, 3)) + 1e-8))
    assert figures("vidtok", original, output)["psnr"] == pytest.approx(expected, abs=1e-3)


def test_tokenbench_takes_the_clips_error_and_scikit_images_window(original, output):
    x, y = as_numpy(original, output)
    y = np.floor(255 * y + 0.5) / 255
    found = figures("tokenbench", original, output)
    assert found["psnr"] == pytest.approx(-10 * math.log10(((x - y) ** 2).mean()), abs=1e-3)
    pairs = zip(x.transpose(0, 2, 3, 1), y.transpose(0, 2, 3, 1), strict=True)
    expected = np.mean([structural_similarity(a, b, data_range=1.0, channel_axis=2) for a, b in pairs])
    assert found["ssim"] == pytest.approx(expected, abs=1e-4)


def test_turbo_stretches_each_clip_by_itself(original, output):
    dim = output * 0.5  # half the contrast: stretched, hardly an error is left
    x, y = as_numpy(original, dim)
    x, y = ((clip - clip.min()) / (clip.max() - clip.min()) for clip in (x, y))
    found = figures("turbo-ucf101", original, dim)["psnr"]
    assert found == pytest.approx(mean_psnr(x, y), abs=1e-3)
    assert found > figures("vidtok", original, dim)["psnr"] + 5


def test_dcaev_rounds_and_wang_windows(original, output):
    assert figures("dcaev-activitynet", original, output) == pytest.approx(figures("workbench", original, output))


def test_lpips_is_that_of_the_protocols_network_and_range(original, output):
    networks = {
        (backbone, spatial): load_lpips(random_backbone=True, backbone=backbone, spatial=spatial)
        for backbone in ("vgg", "alex")
        for spatial in (False, True)
    }
    _, y = as_numpy(original, output)
    x, y = original.float() / 255, torch.from_numpy(y).float()
    vidtok = figures("vidtok", original, output, networks)["lpips"]
    assert vidtok == pytest.approx(networks["vgg", False](2 * x - 1, 2 * y - 1).mean().item(), rel=1e-4)
    low, high = x.min(), x.max()
    x, y = (x - low) / (high - low), (y - y.min()) / (y.max() - y.min())
    turbo = figures("turbo-ucf101", original, output, networks)["lpips"]
    assert turbo == pytest.approx(networks["alex", True](x, y).mean().item(), rel=1e-4)
    assert "lpips" not in figures("vidtok", original, output, {("alex", True): networks["alex", True]})


def test_equal_frames_have_the_value_that_the_protocol_gives_them():
    x, y = torch.zeros(2, 3, 8, 8), torch.zeros(2, 3, 8, 8)
    y[1] += 0.1
    assert clip_psnr(x, y, PsnrWay()) == math.inf
    assert clip_psnr(x, y, PsnrWay(cap=100.0)) == pytest.approx((100 + 20) / 2, abs=1e-3)
    assert clip_psnr(x, y, PsnrWay(cap=100.0, whole_cap=True)) == 100
    assert clip_psnr(x, x, PsnrWay(floor=1e-8)) == pytest.approx(80)
    assert clip_psnr(x, y, PsnrWay(per="clip")) == pytest.approx(20 + 10 * math.log10(2), abs=1e-3)


# Files in between


@pytest.mark.parametrize("size", [(48, 64), (47, 63)])
def test_written_clips_come_back_whole_and_a_little_damaged(original, size):
    clip = original[:, :, : size[0], : size[1]]
    written = through_mp4v(clip, 24.0), through_h264(clip, 24.0, 10), through_h264(clip, 24.0, 40)
    assert all(back.shape == clip.shape for back in written)
    mp4v, fine, coarse = ((back.float() - clip.float()).abs().mean() for back in written)
    assert 0 < mp4v < 16  # both halve the resolution of colours, of which this clip is full
    assert 0 < fine < coarse


def test_wfvae_writes_both_and_leanvae_the_output_alone(original, output):
    both, alone = (OriginalUnder(PROTOCOLS[name], original, 25.0, None) for name in ("wfvae", "leanvae"))
    truncated = (255 * (original.float() / 255)).floor() / 255
    assert torch.equal(alone.values, truncated)
    assert not torch.equal(both.values, truncated)
    exact = original.float() / 127.5 - 1
    assert both.measure(exact, {}).figures["psnr"] > 40
    assert alone.measure(exact, {}).figures["psnr"] < 48


# Distances between videos


def test_windows_beginnings_and_ranges_are_the_protocols(original):
    x = original.float() / 255
    network = Logits()
    video_features(x, VideoWay("fvd_frechet", "stretch", window=5), network)
    assert [length for length, *_ in network.seen] == [5, 5]
    network.seen.clear()
    video_features(x, VideoWay("i3d_per_clip_sq", "cover", prefixes=(10, 17)), network)
    assert [length for length, *_ in network.seen] == [10, 11, 12]
    network.seen.clear()
    video_features(x, VideoWay("fvd_frechet", "cover", limit=7, signed=False), network)
    assert network.seen[0][0] == 7
    assert network.seen[0][1] >= 0


def test_a_squared_distance_and_a_frechet_distance_are_never_mixed(original, output):
    for name, protocol in PROTOCOLS.items():
        found = OriginalUnder(protocol, original, 25.0, Logits()).measure(output, {})
        if protocol.video is None:
            assert found.features is None
            assert "i3d_per_clip_sq" not in found.figures
        elif protocol.video.field == "i3d_per_clip_sq":
            assert found.figures["i3d_per_clip_sq"] > 0, name
            assert found.features is None
        else:
            assert protocol.video.field == "fvd_frechet"
            assert "i3d_per_clip_sq" not in found.figures
            assert [len(part) for part in found.features] == [len(original) // (protocol.video.window or FRAMES)] * 2


def test_the_squared_distance_is_that_of_the_logits(original, output):
    protocol = replace(PROTOCOLS["wfvae"], written="", values="float", low_precision_input=False)
    x, y = as_numpy(original, output)
    network, logits = Logits(), []
    for clip in (x, y):
        wide = F.interpolate(torch.from_numpy(clip).float(), (224, 299), mode="bilinear")[..., 37:261]
        logits.append(network((2 * wide - 1).transpose(0, 1)[None]))
    found = OriginalUnder(protocol, original, 25.0, network).measure(output, {}).figures
    expected = (logits[0] - logits[1]).square().sum().item()
    assert found["i3d_per_clip_sq"] == pytest.approx(expected, rel=1e-3)


# Published figures


def test_published_figures_are_shown_for_the_same_protocol_and_the_whole_set_only():
    rows = comparable("turbo-ucf101", "ucf101", 3783)
    assert rows[0].figures == {"psnr": 34.94, "ssim": 0.9594, "lpips": 0.0196, "fvd_frechet": 4.74}
    assert comparable("turbo-ucf101", "ucf101", 3782) == []
    assert comparable("wfvae", "ucf101", 3783) == []
    assert comparable("turbo-ucf101", None, 3783) == []
    assert comparable(None, "ucf101", 3783) == []
    assert len(comparable("wfvae", "panda70m", 7)) == 2  # its number of clips is not known


def test_every_published_row_has_a_protocol_of_its_set_or_none():
    for row in published():
        assert row.figures
        assert row.source
        if row.protocol:
            assert row.set_name in dict(PROTOCOLS[row.protocol].sets)
            video = PROTOCOLS[row.protocol].video
            assert {"fvd_frechet", "i3d_per_clip_sq"} & row.figures.keys() <= ({video.field} if video else set())
        else:
            assert not row.set_name


# Settings


def test_a_protocol_fixes_the_frames_and_refuses_others():
    fixed = {"resolution": "256px_ar1:1", "num_frames": 33}
    assert EvaluateSettings(protocol="wfvae", **fixed).protocols == ("wfvae",)
    assert protocol_settings("wfvae") == fixed | {"dtype": "bfloat16"}
    with pytest.raises(ConfigError, match=r"`resolution`: 512 is not what protocol wfvae takes, 256px_ar1:1"):
        EvaluateSettings(protocol="wfvae", resolution="512", num_frames=33)
    with pytest.raises(ConfigError, match="did you mean wfvae"):
        EvaluateSettings(protocol="wfvea")
    assert EvaluateSettings(protocol="all").protocols == tuple(PROTOCOLS)
    assert EvaluateSettings(protocol="turbo-ucf101", resolution="256px_ar1:1", num_frames=17).sample_posterior
    assert not EvaluateSettings(protocol="all").sample_posterior


def test_one_reconstruction_in_every_way_is_a_table(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    (tmp_path / "clips").mkdir()
    for seed in range(3):
        write_clip(tmp_path / "clips" / f"{seed}.mkv", 9, 48, 64, seed)
    flags = ["--models", "dct", "--protocol", "all", "--save_dir", "out", "--device", "cpu"]
    main("workbench", COMMANDS, ["evaluate", "--dataset.data_path", "clips", *flags])
    told = capsys.readouterr().out
    record = json.loads((tmp_path / "out" / "results.json").read_text())
    rows = {row["protocol"]: row for row in record["protocols"]}
    assert list(rows) == list(PROTOCOLS)
    assert len({round(row["psnr"], 3) for row in rows.values()}) >= 5
    assert rows["workbench"]["psnr"] == pytest.approx(record["leaderboard"][0]["psnr"], abs=1e-3)
    assert rows["wfvae"]["psnr_low_95"] < rows["wfvae"]["psnr"] < rows["wfvae"]["psnr_high_95"]
    assert record["policy"]["protocols"]["wfvae"]["odd"]
    assert "odd: values are truncated, not rounded, to 8 bits" in told
    page = (tmp_path / "out" / "leaderboard.html").read_text(encoding="utf-8")
    assert "unknown: how FVD was measured: its code is not published" in page
    assert (tmp_path / "out" / "protocols.csv").exists()


def test_a_protocol_sets_the_frames_on_the_command_line(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    (tmp_path / "clips").mkdir()
    write_clip(tmp_path / "clips" / "clip.mkv", 20, 64, 64)
    flags = ["--models", "dct", "--save_dir", "out", "--device", "cpu"]
    main("workbench", COMMANDS, ["evaluate", "--dataset.data_path", "clips", *flags, "--protocol", "vidtok"])
    row = json.loads((tmp_path / "out" / "results.json").read_text())["clips"][0]
    assert (row["frames"], row["height"], row["width"]) == (17, 256, 256)
    assert "published figures under vidtok are on mcl-jcv (30 clips)" in capsys.readouterr().out
