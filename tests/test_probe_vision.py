"""Probes that look: what latents say of what is shown, and what is decoded, against hand computations."""

import csv
import json
import math
from dataclasses import replace
from itertools import product

import numpy as np
import pytest
import torch
from clips import moving_video, write_clip
from scipy.linalg import sqrtm
from small_models import small_model
from small_vision import WIDTH, small_dinov2, write_dinov2

from workbench.__main__ import COMMANDS
from workbench.cli import main
from workbench.models.registry import load_autoencoder
from workbench.probe.blocks import Cut, cut, decoded_blocks, original_blocks
from workbench.probe.channels import channels_of
from workbench.probe.decoded import Space, decoded_distances
from workbench.probe.eyes import blocks_for, frame_eye, video_eye
from workbench.probe.generator import GeneratorResult, Trained, sample
from workbench.probe.interpolation import halfway, slerp_half
from workbench.probe.semantics import clip_features, semantics, vf_distance
from workbench.tile_settings import OWN_TILING
from workbench.vision.base import VisionNetwork, mean_features


class Colours(VisionNetwork):
    """The colour of each pixel as its feature."""

    source, stride, channels = "colours", 1, 3

    def __init__(self) -> None:
        super().__init__()
        self.unused = torch.nn.Parameter(torch.zeros(1), requires_grad=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x


def noise(count: int, *shape: int, seed: int = 0) -> list[torch.Tensor]:
    random = torch.Generator().manual_seed(seed)
    return [torch.randn(*shape, generator=random) for _ in range(count)]


# Semantics


def test_features_that_latents_hold_are_told_and_those_of_noise_are_not():
    latents = noise(8, 6, 4, 5, 5)
    mapping = torch.randn(10, 6, generator=torch.Generator().manual_seed(1))
    features = [torch.einsum("dc,cthw->dthw", mapping, clip) + 3 for clip in latents]
    told = semantics(latents, features)
    assert told.share == pytest.approx(1, abs=1e-3)  # but for the ridge
    assert told.cosine == pytest.approx(1, abs=1e-3)
    unrelated = semantics(noise(8, 6, 4, 5, 5, seed=9), features)
    assert abs(unrelated.share) < 0.05
    assert abs(unrelated.cosine) < 0.05
    assert math.isnan(semantics(latents[:1], features[:1]).share)


def test_the_regression_is_numpys_and_judged_on_every_fourth_clip():
    latents, features = noise(8, 3, 2, 2, 2), noise(8, 5, 2, 2, 2, seed=1)
    tokens = [[clip.double().flatten(1).T.numpy() for clip in clips] for clips in (latents, features)]
    fitted = [np.concatenate([clips[i] for i in range(8) if i % 4]) for clips in tokens]
    held = [np.concatenate([clips[i] for i in (0, 4)]) for clips in tokens]
    x, y = (values - values.mean(0) for values in fitted)
    weight = np.linalg.inv(x.T @ x + 0.01 * len(x) * np.eye(3)) @ x.T @ y
    there, found = held[1] - fitted[1].mean(0), (held[0] - fitted[0].mean(0)) @ weight
    expected = 1 - ((there - found) ** 2).sum() / (there**2).sum()
    assert semantics(latents, features).share == pytest.approx(expected, abs=1e-9)


def test_the_distance_is_that_of_all_pairs_of_places_of_a_frame():
    (z,), (f,) = noise(1, 4, 2, 2, 2), noise(1, 7, 2, 2, 2, seed=1)
    expected = []
    for frame in range(2):
        cosines = []
        for clip in (z, f):
            tokens = clip[:, frame].flatten(1).double().numpy().T
            tokens /= np.linalg.norm(tokens, axis=1, keepdims=True)
            cosines.append(tokens @ tokens.T)
        expected.append(np.abs(cosines[0] - cosines[1]).mean())
    assert vf_distance([z], [f]) == pytest.approx(np.mean(expected), abs=1e-9)
    assert vf_distance([z], [z * 2]) == pytest.approx(0, abs=1e-9)


def test_features_lie_where_latents_do():
    ae, network = small_model("dct"), small_dinov2()
    frames = moving_video(10, 70, 90).frames
    assert clip_features(network, ae, frames).shape == (WIDTH, 3, 3, 3)
    assert clip_features(network, small_model("hunyuan_vae"), frames[:9, :, :16, :24]).shape == (WIDTH, 3, 2, 3)


# Blocks


def test_blocks_lie_side_by_side_and_are_the_frames_that_they_stand_for():
    latents = noise(2, 3, 5, 9, 4)
    assert Cut().block_of([*latents, latents[0][:, :1]]) == (1, 4, 4)
    assert Cut(4).block_of(latents) == (4, 4, 4)
    spots = Cut().places((5, 9, 4), (2, 4, 4))
    assert spots == [(0, 0, 0), (0, 4, 0), (2, 0, 0), (2, 4, 0)]
    assert Cut(causal=True).places((5, 9, 4), (2, 4, 4)) == spots[:2]
    assert torch.equal(cut(latents[0], spots, (2, 4, 4))[3], latents[0][:, 2:4, 4:8])
    ae = load_autoencoder("dct")
    x = moving_video(16, 256, 128).frames.transpose(0, 1).float() / 127.5 - 1
    z = ae.encode(x[None])[0]
    spots = Cut().places(z.shape[1:], (2, 4, 4))
    originals = list(original_blocks(ae, x, spots, (2, 4, 4)))
    assert len(originals) == 4
    assert torch.equal(originals[3][0], x[:, 8:16, 128:])
    (decoded,) = decoded_blocks(ae, cut(z, spots, (2, 4, 4)), OWN_TILING)
    whole = ae.decode(z[None])[0].clamp(-1, 1)  # its blocks of pixels are independent
    expected = torch.cat(list(original_blocks(ae, whole, spots, (2, 4, 4))))
    torch.testing.assert_close(decoded, expected, rtol=1e-4, atol=1e-5)


def test_a_generator_learns_blocks_that_can_be_decoded():
    """Those of a causal model begin where their clip does; for FVD they hold 16 frames."""
    random = torch.Generator().manual_seed(0)
    drawn = {how: {how.draw((5, 6, 4), (2, 4, 4), random) for _ in range(80)} for how in (Cut(), Cut(causal=True))}
    assert drawn[Cut()] == set(product(range(4), range(3), range(1)))
    assert drawn[Cut(causal=True)] == set(product(range(1), range(3), range(1)))
    assert [blocks_for(small_model(name), fvd=True) for name in ("dct", "hunyuan_vae")] == [Cut(4), Cut(5, causal=True)]
    assert blocks_for(small_model("hunyuan_vae"), fvd=False) == Cut(2, causal=True)


# Eyes


def test_a_vision_network_sees_the_middle_of_each_latents_frames():
    clips = torch.stack([moving_video(8, 64, 64, seed).to_tensor()[0] for seed in range(2)])
    found = frame_eye(Colours(), small_model("dct")).see(clips)
    expected = mean_features(Colours(), torch.stack([clips[n, :, t] for n in range(2) for t in (2, 6)]))
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


class Corners:
    """In the place of I3D: the last frame's first pixel, as levels of 8 bits."""

    def features(self, frames: torch.Tensor) -> torch.Tensor:
        assert frames.shape[:2] == (16, 3)
        return frames[15, :, 0, 0].float()[None]


def test_i3d_sees_the_first_16_frames_of_each_clip():
    clips = torch.stack([moving_video(17, 32, 32, seed).to_tensor()[0] for seed in range(2)])
    found = video_eye(Corners()).see(clips)
    torch.testing.assert_close(found, (clips[:, :, 15, 0, 0] + 1) * 127.5, rtol=0, atol=0.5)


@pytest.mark.parametrize(
    ("frames", "blocks", "words"),
    [
        (12, 900, "it is of runs of 16 frames, and blocks of these clips decode to 12"),
        (16, 400, "400 features of I3D take 401 runs of 16 frames of held-out clips, there are 400"),
        (16, 401, None),
    ],
)
def test_what_a_distance_takes_is_told(frames, blocks, words):
    reason = video_eye(Corners()).why_not(frames, 4, blocks)
    assert reason is None if words is None else words in reason


# Points between latents


def test_half_way_on_the_arc():
    a, b = torch.tensor([[1.0, 0.0]]).double(), torch.tensor([[0.0, 1.0]]).double()
    torch.testing.assert_close(slerp_half(a, b), torch.tensor([[0.5**0.5, 0.5**0.5]]).double())
    torch.testing.assert_close(slerp_half(a, 3 * a), 2 * a)
    assert slerp_half(a, -a).isfinite().all()


def test_partners_are_near_and_drawn_by_their_distance():
    own = [torch.tensor([1.0, 0.0]).view(2, 1, 1, 1)] * 400
    near, far = torch.tensor([1.0, 0.1]), torch.tensor([3.0, 0.2])
    away = [torch.tensor([-1.0, 0.1 * i]) for i in range(1, 10)]
    training = [x.view(2, 1, 1, 1) for x in (near, far, *away)]
    found = torch.stack([point.flatten() for point in halfway(own, training)])
    expected = slerp_half(own[0].view(1, 2).double(), near.view(1, 2).double()).float()
    share = (found - expected).abs().sum(1).lt(1e-5).double().mean().item()
    errors = torch.stack([(x - own[0].flatten()).square().mean() for x in (near, far, *away)]).double()
    cosines = [torch.cosine_similarity(x, own[0].flatten(), dim=0) for x in (near, far, *away)]
    ten = torch.stack(cosines).topk(10).indices
    probability = torch.softmax(-errors[ten], 0)[ten == 0].item()
    assert share == pytest.approx(probability, abs=0.1)  # four deviations of a share of 400 draws


# What is decoded


class Fixed(torch.nn.Module):
    """The velocity to one block from anywhere: (x1 - x) / (1 - t)."""

    def __init__(self, target: torch.Tensor) -> None:
        super().__init__()
        self.target = target
        self.enter = torch.nn.Linear(target.shape[1], 1)
        self.position = self.enter.weight

    def forward(self, x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        return (self.target - x) / (1 - t.view(-1, 1, 1))


def test_samples_follow_the_velocity_and_have_the_blocks_layout():
    target = torch.arange(24.0).view(3, 2, 2, 2)
    trained = Trained(Fixed(target.flatten(1).T), (2, 2, 2), GeneratorResult({}, 0.0, 0.0, 0, 0))
    blocks = sample(trained, 70)
    assert len(blocks) == 70
    torch.testing.assert_close(blocks[69], target, rtol=1e-3, atol=1e-3)


def test_distances_are_those_of_the_frames_and_too_few_are_told(tmp_path):
    ae = load_autoencoder("dct")
    colours = torch.randint(0, 180, (9, 1, 3, 1, 1), generator=torch.Generator().manual_seed(0))
    videos = [(moving_video(8, 128, 128, seed).frames * 0.25 + colours[seed]).to(torch.uint8) for seed in range(9)]
    latents = [ae.encode(video.transpose(0, 1)[None].float() / 127.5 - 1)[0] for video in videos]
    sizes = [(8, 128, 128)] * len(videos)
    space = Space(ae, OWN_TILING, latents, channels_of(latents), sizes, videos.__getitem__, Cut())
    eye = frame_eye(Colours(), ae)
    found = decoded_distances(space, [eye], None, interpolate=True)
    frames = [(videos[index][[2, 6]].float() / 127.5 - 1) for index in (0, 4, 8)]
    decoded = [ae.decode(latents[index][None])[0].transpose(0, 1)[[2, 6]].clamp(-1, 1) for index in (0, 4, 8)]
    a, b = (torch.cat([mean_features(Colours(), x) for x in xs]).double().numpy() for xs in (frames, decoded))
    covariances = np.cov(a.T), np.cov(b.T)
    root = sqrtm(covariances[0] @ covariances[1]).real
    expected = ((a.mean(0) - b.mean(0)) ** 2).sum() + np.trace(covariances[0] + covariances[1] - 2 * root)
    assert found.figures["decoded_fd"] == pytest.approx(expected, abs=1e-5)
    assert found.figures["between_fd"] > found.figures["decoded_fd"]
    assert not found.notes
    few = replace(space, latents=latents[:4], channels=channels_of(latents[:4]))
    told = decoded_distances(few, [eye], None, interpolate=True)
    assert told.figures == {}
    assert "3 features of colours take 4 frames of held-out clips, there are 2" in told.notes[0]


def test_samples_are_judged_by_both_eyes_and_what_one_lacks_leaves_the_other():
    """Samples that are all one block, of known distance: no spread, and that block's own mean."""
    ae = load_autoencoder("dct")
    videos = [moving_video(16, 128, 128, seed).frames for seed in range(17)]
    latents = [ae.encode(video.transpose(0, 1)[None].float() / 127.5 - 1)[0] for video in videos]
    channels = channels_of(latents)
    space = Space(ae, OWN_TILING, latents, channels, [(16, 128, 128)] * 17, videos.__getitem__, Cut(4))
    target = channels.standardise(latents[0])
    trained = Trained(Fixed(target.flatten(1).T), (4, 4, 4), GeneratorResult({}, 0.0, 0.0, 0, 0))
    video = replace(video_eye(Corners()), channels=3)
    found = decoded_distances(space, [video, replace(video, channels=9, name="other")], trained, interpolate=False)
    assert found.figures.keys() == {"decoded_fvd", "samples_fvd"}
    assert "take 10 runs" in found.notes[0]
    originals = np.stack([videos[index][15, :, 0, 0].numpy() for index in range(0, 17, 4)]).astype(float)
    shown = ae.decode(latents[0][None])[0, :, 15, 0, 0].clamp(-1, 1).numpy() * 127.5 + 127.5
    expected = ((originals.mean(0) - shown.round()) ** 2).sum() + np.trace(np.cov(originals.T))
    assert found.figures["samples_fvd"] == pytest.approx(expected, rel=0.01)


def test_the_command_looks_and_says_what_it_left_out(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for name in ("a", "b"):
        write_clip(tmp_path / f"{name}.mp4", 9, 128, 160)
    weights = write_dinov2(tmp_path / "dino.safetensors")
    main("workbench", COMMANDS, ["index", ".", "--out", "index.csv"])
    argv = ["probe", "--dataset.data_path", "index.csv", "--models", "dct", "--generator_steps", "2"]
    main("workbench", COMMANDS, [*argv, "--vision", str(weights), "--ifid", "True"])
    out = capsys.readouterr().out
    assert "dct: no Fréchet distances: 128 features" in out
    record = json.loads((tmp_path / "probe" / "probes.json").read_text())
    for label in ("dct", "white noise"):
        assert {"vf_distance", "vf_share", "vf_cosine"} <= set(record["spaces"][label]["figures"])
    assert "no Fréchet distances" in (tmp_path / "probe" / "probes.html").read_text()
    with pytest.raises(SystemExit):
        main("workbench", COMMANDS, [*argv[:5], "--ifid", "True"])
    assert "--vision" in capsys.readouterr().err
    assert list(csv.DictReader((tmp_path / "probe" / "probes.csv").open()))
