"""Probes of latents against hand computations on latents that are known, and the command on real clips."""

import csv
import json
import math
import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from clips import moving_video, write_clip
from scipy.fft import dctn
from scipy.stats import kurtosis

from workbench.__main__ import COMMANDS
from workbench.cli import main
from workbench.errors import ConfigError, WorkbenchError
from workbench.files import write_csv
from workbench.models.registry import load_autoencoder
from workbench.probe.channels import channels_of
from workbench.probe.equivariance import equivariance_errors, transforms, whole_strides
from workbench.probe.generator import judged, train_generator
from workbench.probe.measure import probe_clip
from workbench.probe.motion import predicted_by_previous
from workbench.probe.neighbours import cosine_profile, cosine_slope, local_against_distant, same_label_share
from workbench.probe.robustness import between_frames, noisy, quantised, robustness
from workbench.probe.spectrum import BINS, high_share, spatial_curve, temporal_curve
from workbench.probe.viv import kronecker_factors, velocity_irreducible_variance
from workbench.steps import drain
from workbench.tile_settings import OWN_TILING

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def noise() -> list[torch.Tensor]:
    """White noise of two clips."""
    random = torch.Generator().manual_seed(0)
    return [torch.randn(8, 40, 12, 16, generator=random) for _ in range(2)]


# Channels


def test_channels_are_numpys(noise):
    mixed = [torch.cat([clip, clip[:2] * 3 + 1]) for clip in noise]
    found = channels_of(mixed)
    tokens = np.concatenate([clip.double().flatten(1).numpy() for clip in mixed], axis=1)
    np.testing.assert_allclose(found.mean, tokens.mean(1), atol=1e-12)
    np.testing.assert_allclose(found.std, tokens.std(1), rtol=1e-9)
    np.testing.assert_allclose(found.kurtosis, kurtosis(tokens, axis=1, fisher=False), rtol=1e-9)
    np.testing.assert_allclose(found.eigenvalues, np.linalg.eigvalsh(np.corrcoef(tokens))[::-1], atol=1e-9)
    assert found.effective_rank == pytest.approx(10**2 / (2**2 * 2 + 6), rel=0.01)  # two pairs say the same
    assert replace(found, eigenvalues=torch.tensor([2.0] * 5 + [1.0] * 10)).top_10_share == pytest.approx(0.75)


def test_channels_that_say_nothing_are_counted_and_stay_finite(noise):
    flat = [torch.cat([clip, torch.zeros_like(clip[:1]), clip[:1] * 1e-5]) for clip in noise]
    found = channels_of(flat)
    assert found.dead == 2
    standard = found.standardise(flat[0])
    assert standard.isfinite().all()
    assert (standard[8] == 0).all()
    with pytest.raises(ConfigError, match="nothing to probe"):
        channels_of([torch.full((3, 2, 4, 4), 0.1)])
    eigenvalues = torch.tensor(
        [4.0, 1.0, 0.5, 0.0, -1e-17], dtype=torch.float64
    )  # of two there is nothing but rounding
    assert replace(found, eigenvalues=eigenvalues).condition_number == 8


# Spectrum


def test_white_noise_has_energy_where_coefficients_are(noise):
    order = np.add.outer(np.arange(12), np.arange(16)) / (11 + 15)
    for rho in (0.25, 0.5):
        assert high_share(noise, rho) == pytest.approx((order > rho).mean(), abs=0.01)
    assert np.allclose(spatial_curve(noise), 1, atol=0.2)
    assert np.allclose(temporal_curve(noise), 1, atol=0.1)


def test_energy_is_scipys_cosine_transform(noise):
    clip = noise[0].cumsum(3)
    energy = dctn(clip.double().numpy(), axes=(2, 3), norm="ortho") ** 2
    order = np.add.outer(np.arange(12), np.arange(16))
    expected = energy[:, :, order > 0.25 * 26].sum() / energy.sum()
    assert high_share([clip], 0.25) == pytest.approx(expected, rel=1e-4)
    energy = dctn(clip.double().numpy(), axes=(1, 2, 3), norm="ortho") ** 2
    order = np.add.outer(np.arange(40), order)
    expected = energy[:, order > 0.25 * (39 + 26)].sum() / energy.sum()
    assert high_share([clip], 0.25, with_time=True) == pytest.approx(expected, rel=1e-4)


def test_pure_frequencies_lie_where_they_should():
    steps = torch.arange(12)
    wave = torch.cos(math.pi / 12 * (steps + 0.5) * 6).expand(3, 5, 12, 12)
    assert high_share([wave], 6 / 22 - 0.01) == pytest.approx(1)
    assert high_share([wave], 6 / 22 + 0.01) == pytest.approx(0, abs=1e-9)
    curve = spatial_curve([wave])
    assert max(range(BINS), key=curve.__getitem__) == round(6 / 22 * (BINS - 1))
    assert high_share([torch.ones(2, 3, 4, 4)], 0.0) == pytest.approx(0, abs=1e-9)
    assert math.isnan(temporal_curve([torch.ones(2, 1, 4, 4)])[0])


# Neighbours


def test_cosines_by_distance_are_those_of_all_pairs(noise):
    clip = noise[0][:, :1, :4, :5]
    profile = cosine_profile([clip])
    tokens = torch.nn.functional.normalize(clip[:, 0].flatten(1).double(), dim=0).T
    places = [(row, column) for row in range(4) for column in range(5)]
    pairs: dict[int, list[float]] = {}
    for a, one in enumerate(places):
        for b, other in enumerate(places[:a]):
            distance = abs(one[0] - other[0]) + abs(one[1] - other[1])
            pairs.setdefault(distance, []).append((tokens[a] @ tokens[b]).item())
    assert profile == {d: (pytest.approx(np.mean(v)), len(v)) for d, v in sorted(pairs.items())}
    far = np.mean(pairs[6] + pairs[7])
    assert local_against_distant(profile) == pytest.approx(np.mean(pairs[1]) - far)
    slope = np.polyfit(range(1, 8), [np.mean(pairs[d]) for d in range(1, 8)], 1)[0]
    assert cosine_slope(profile) == pytest.approx(-slope)


def test_copies_are_alike_at_every_distance_and_noise_at_none(noise):
    copies = cosine_profile([noise[0][:, :, :1, :1].expand(-1, -1, 8, 8)])
    assert local_against_distant(copies) == pytest.approx(0, abs=1e-9)
    assert copies[3][0] == pytest.approx(1)
    assert abs(local_against_distant(cosine_profile(noise))) < 0.01
    assert math.isnan(local_against_distant(cosine_profile([noise[0][:, :, :2, :2]])))


def test_clips_of_one_kind_lie_beside_each_other():
    random = torch.Generator().manual_seed(0)
    centres = {"a": torch.randn(16, 1, 1, 1, generator=random), "b": torch.randn(16, 1, 1, 1, generator=random)}
    labels = ["a"] * 6 + ["b"] * 6
    clips = [centres[kind] + 0.1 * torch.randn(16, 2, 3, 3, generator=random) for kind in labels]
    assert same_label_share(clips, labels, 5) == 1
    assert same_label_share(clips, ["a", "b"] * 6, 5) == pytest.approx(0.4, abs=0.1)
    assert math.isnan(same_label_share(clips, labels, 12))


def test_neighbours_of_one_label_are_numpys():
    random = np.random.default_rng(0)
    clips, labels = random.standard_normal((12, 5, 2, 3, 3)) + 3, list("aabbbcccabcb")
    means = clips.mean((2, 3, 4))
    means -= means.mean(0)
    means /= np.linalg.norm(means, axis=1, keepdims=True)
    same = []
    for own in range(12):
        order = [other for other in np.argsort(-(means @ means[own])) if other != own]
        same += [labels[other] == labels[own] for other in order[:3]]
    assert same_label_share([torch.from_numpy(clip) for clip in clips], labels, 3) == pytest.approx(np.mean(same))


# Velocity irreducible variance


def test_white_noise_is_as_ambiguous_as_can_be(noise):
    found = velocity_irreducible_variance(noise)
    assert found.viv == pytest.approx(math.pi / 2, rel=0.02)
    assert found.scaled == pytest.approx(found.viv * (16 * 8) ** 0.5)
    assert found.rho == pytest.approx(1, rel=0.02)


def test_variance_in_few_directions_is_less_ambiguous(noise):
    """One channel of eight varies, with all of the variance: one direction in eight, each of a root of eight."""
    narrow = [torch.cat([clip[:1] * 8**0.5, torch.zeros_like(clip[1:])]) for clip in noise]
    assert velocity_irreducible_variance(narrow).viv == pytest.approx(math.pi / 2 * 8**0.5 / 8, rel=0.05)
    assert math.isnan(velocity_irreducible_variance([noise[0][:, :, :3]]).viv)
    assert math.isnan(velocity_irreducible_variance([torch.zeros(8, 4, 8, 8)]).viv)


def test_positions_of_a_block_have_means_of_their_own(noise):
    """A pattern that is in every block is no variance of the class."""
    pattern = 5 * torch.randn(8, 1, 4, 4, generator=torch.Generator().manual_seed(1)).repeat(1, 1, 3, 4)
    found, plain = (velocity_irreducible_variance(clips) for clips in ([clip + pattern for clip in noise], noise))
    assert found.rho == pytest.approx(plain.rho, rel=1e-3)


def test_the_integral_over_time_is_that_of_the_docstring():
    times = np.linspace(0, 1, 200_001)
    for value in (0.1, 1.0, 3.0):
        left = np.trapezoid(value / ((1 - times) ** 2 + times**2 * value), times)
        assert left == pytest.approx(math.pi / 2 * value**0.5, rel=1e-6)


def test_factors_of_a_covariance_are_found():
    random = torch.Generator().manual_seed(0)
    a = torch.randn(4, 4, generator=random, dtype=torch.float64)
    b = torch.randn(6, 6, generator=random, dtype=torch.float64)
    x = a @ torch.randn(4000, 4, 6, generator=random, dtype=torch.float64) @ b.T
    found = torch.kron(*kronecker_factors(x))
    expected = torch.kron(a @ a.T, b @ b.T)
    assert ((found - expected).norm() / expected.norm()).item() < 0.1


# Motion


def test_what_the_previous_frame_tells(noise):
    assert predicted_by_previous([noise[0][:, :1].expand(-1, 5, -1, -1)]) == pytest.approx(1)
    assert abs(predicted_by_previous(noise)) < 0.01
    random = torch.Generator().manual_seed(1)
    walk = [torch.randn(4, 9, 9, generator=random)]
    for _ in range(200):
        walk.append(0.8 * walk[-1] + 0.6 * torch.randn(4, 9, 9, generator=random))
    assert predicted_by_previous([torch.stack(walk, dim=1)]) == pytest.approx(0.64, abs=0.02)
    assert math.isnan(predicted_by_previous([noise[0][:, :1]]))


# With the model


def test_latents_are_changed_as_they_say():
    z = torch.linspace(-1, 1, 2 * 5 * 3).view(1, 2, 5, 3, 1)
    assert len(quantised(z, 2).unique()) <= 8
    assert (quantised(z, 8) - z).abs().max() <= 1 / 255
    assert (noisy(z, torch.ones(2), 0.0) == z).all()
    one, two = (noisy(z, torch.ones(2), strength) - z for strength in (1.0, 2.0))
    torch.testing.assert_close(two, 2 * one, rtol=0, atol=1e-5)
    middle = between_frames(z)
    torch.testing.assert_close(middle, z)  # a line is its own interpolation
    z[:, :, 1] += 1
    assert (between_frames(z)[:, :, 1] - z[:, :, 1]).abs().min() > 0.9


def test_noise_costs_what_an_orthonormal_transform_says():
    """Its energy adds to that of what the transform left out, and spreads over the pixels of a block."""
    ae = load_autoencoder("dct")
    x = moving_video(8, 64, 64).to_tensor() * 0.2  # far from the ends of the range
    z = ae.encode(x)
    std = torch.full((128,), 0.1)
    psnrs, _ = drain(robustness(ae, x, z, std, OWN_TILING))
    left = (x - ae.decode(z, 8, (64, 64))).double().square().sum().item()
    for strength in (0.0, 0.25, 1.0):
        noise = (noisy(z, std, strength) - z).double().square().sum().item()
        expected = -10 * math.log10((left + noise) / x.numel() / 4)
        assert psnrs[f"noise {strength:g}"] == pytest.approx(expected, abs=1e-3)
    assert psnrs["8 bits"] > psnrs["6 bits"] > psnrs["4 bits"]


def test_means_of_blocks_move_as_their_frames_do():
    """Each transform by an encoder that commutes with it: the mean of every block. Only a shift by half a block does
    not, whose means are of halves."""
    ae = load_autoencoder("dct")
    strides = ae.temporal_stride, ae.spatial_stride, ae.spatial_stride
    x = torch.randn(1, 3, 12, 128, 192, generator=torch.Generator().manual_seed(0))
    found = {name: (clip, expected) for name, clip, expected in transforms(ae, x, F.avg_pool3d(x, strides))}
    halves = {"half shift", "half shift in time"}
    assert found.keys() == {"flip", "rotation", "scale 1/2", "shift", "shift in time", *halves}
    for name, (clip, expected) in found.items():
        given = F.avg_pool3d(clip, strides)
        assert given.shape == expected.shape
        assert torch.allclose(given, expected, atol=1e-6) == (name not in halves), name


def test_a_block_transform_commutes_with_shifts_by_its_blocks_alone():
    ae = load_autoencoder("dct")
    x = moving_video(8, 128, 96).frames.transpose(0, 1)[None].float() / 127.5 - 1
    cut = whole_strides(ae, x)
    assert cut.shape[2:] == (8, 128, 64)
    errors = drain(equivariance_errors(ae, cut, ae.encode(cut), OWN_TILING))
    assert errors["shift"] < 1e-9
    assert errors["shift in time"] < 1e-9
    assert errors["half shift"] > 0.05
    assert errors["flip"] > 0.05  # odd coefficients change their sign
    assert whole_strides(ae, x[..., :40]) is None


# The small generator


def test_a_generator_that_knows_nothing_has_the_loss_of_the_best_blind_guess():
    """The best guess for normal latents is linear; its share is 1 at every level."""

    class Blind(torch.nn.Module):
        def forward(self, x, t):
            at = t.view(-1, 1, 1)
            return x * (at - (1 - at)) / ((1 - at) ** 2 + at**2)

    random = torch.Generator().manual_seed(0)
    shares = judged(Blind(), torch.randn(400, 16, 8, generator=random), random)
    assert all(share == pytest.approx(1, abs=0.03) for share in shares.values())


def test_a_generator_learns_structure():
    same = [torch.linspace(-1.5, 1.5, 4).view(4, 1, 1, 1).expand(4, 1, 2, 2)] * 4
    assert drain(train_generator(same, 60, torch.device("cpu"))).result.share < 0.6
    once, again = (drain(train_generator(same, 5, torch.device("cpu"))).result.share for _ in range(2))
    assert once == again


# The command


def test_the_command_probes_goes_on_and_says_what_it_left_out(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for name in ("a", "b", "bad"):
        write_clip(tmp_path / f"{name}.mp4", 9, 128, 160)
    main("workbench", COMMANDS, ["index", ".", "--out", "index.csv"])
    rows = list(csv.DictReader((tmp_path / "index.csv").open()))
    write_csv(tmp_path / "index.csv", [{**row, "kind": Path(row["path"]).stem} for row in rows])
    (tmp_path / "bad.mp4").write_text("no video")
    argv = [
        "probe",
        "--dataset.data_path",
        "index.csv",
        "--models",
        "dct",
        "--labels",
        "kind",
        "--generator_steps",
        "2",
    ]
    with pytest.raises(SystemExit) as ended:
        main("workbench", COMMANDS, argv)
    assert ended.value.code == 2
    captured = capsys.readouterr()
    assert "left out: dct, 'bad.mp4'" in captured.err
    assert "white noise" in captured.out
    record = json.loads((tmp_path / "probe" / "probes.json").read_text())
    dct = record["spaces"]["dct"]["figures"]
    assert dct["viv"] < record["spaces"]["white noise"]["figures"]["viv"]
    assert {"sec_25", "lds", "previous_frame", "noise_1_psnr", "equivariance", "generator_share"} <= set(dct)
    page = (tmp_path / "probe" / "probes.html").read_text()
    assert "the weakest predictor" in page
    assert "<script src" not in page

    monkeypatch.setattr("workbench.probe.run.probe_clip", None)  # what is there is kept
    (tmp_path / "bad.mp4").unlink()
    write_csv(tmp_path / "index.csv", [row for row in rows if "bad" not in row["path"]])
    main("workbench", COMMANDS, argv[:5])
    assert "2 clips" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        main("workbench", COMMANDS, [*argv[:5], "--max_frames", "4"])
    assert "another policy" in capsys.readouterr().err


@pytest.fixture
def two_clips(tmp_path, monkeypatch) -> Path:
    """A folder of two clips, whose frames hold 3 x 4 latents of `dct`; the working directory."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "clips").mkdir()
    for name in ("a", "b"):
        write_clip(tmp_path / "clips" / f"{name}.mp4", 3, 90, 120)
    return tmp_path


def probe_main(*argv: str) -> None:
    main("workbench", COMMANDS, ["probe", "--dataset.data_path", "clips", "--models", "dct", *argv])


def test_what_clips_are_too_small_for_is_told(two_clips, capsys):
    probe_main()
    told = capsys.readouterr().out
    blocks = "clips of two blocks of 4 x 4 latents or more, which change"
    assert f"dct: no VIV, VIV * sqrt(d), variance inside clips: it takes {blocks}" in told
    assert "white noise: no told by the previous frame: it takes two latents in time" in told
    assert "dct: no PSNR between frames: it takes three latents in time" in told
    assert blocks in (two_clips / "probe" / "probes.html").read_text()


def test_what_was_cut_or_damaged_is_made_again_or_named(two_clips, capsys):
    probe_main()
    first = (two_clips / "probe" / "probes.csv").read_text()
    (latents,) = (two_clips / "probe").glob("latents/*/a-*.safetensors")
    latents.write_bytes(latents.read_bytes()[:100])
    probe_main()
    assert (two_clips / "probe" / "probes.csv").read_text() == first
    latents.with_suffix(".json").write_text("{")
    capsys.readouterr()
    with pytest.raises(SystemExit):
        probe_main()
    assert re.search(r"error: .*a-\w+\.json': is damaged, or no record; remove it", capsys.readouterr().err)
    (two_clips / "file").touch()
    with pytest.raises(SystemExit):
        probe_main("--save_dir", "file")
    assert "--save_dir: 'file' cannot be made" in capsys.readouterr().err


def test_a_run_that_came_to_nothing_does_not_bind_the_next(two_clips, capsys):
    with pytest.raises(SystemExit):
        probe_main("--num_frames", "30")
    assert "no clip could be encoded" in capsys.readouterr().err
    probe_main("--max_frames", "30")
    assert "2 clips; see" in capsys.readouterr().out


def test_a_model_that_fails_on_every_clip_leaves_the_others(two_clips, monkeypatch, capsys):
    def failing(ae, frames, tiling):
        if ae.name == "tiny":
            raise WorkbenchError("a defect of the model")
        return (yield from probe_clip(ae, frames, tiling))

    monkeypatch.setattr("workbench.probe.run.probe_clip", failing)
    with pytest.raises(SystemExit):
        main("workbench", COMMANDS, ["probe", "--dataset.data_path", "clips", "--models", "tiny,dct"])
    found = capsys.readouterr()
    assert "left out: tiny, 'a.mp4': a defect of the model" in found.err
    assert "2 clips; see" in found.out
    record = json.loads((two_clips / "probe" / "probes.json").read_text())
    assert record["spaces"].keys() == {"dct", "white noise"}


def test_one_clip_is_too_few_for_a_generator(two_clips, capsys):
    """Told before anything is done where it is known, afterwards where the others could not be read."""
    (two_clips / "clips" / "b.mp4").write_text("no video")
    with pytest.raises(SystemExit):
        probe_main("--generator_steps", "2")
    found = capsys.readouterr()
    assert "dct: no small generator: it takes two clips or more" in found.out
    assert "1 clip; see" in found.out
    (two_clips / "clips" / "b.mp4").unlink()
    with pytest.raises(SystemExit):
        probe_main("--generator_steps", "2", "--save_dir", "other")
    assert "--generator_steps: a generator needs two clips or more" in capsys.readouterr().err
    assert not (two_clips / "other").exists()


def test_settings_that_want_a_network_name_themselves(two_clips, capsys):
    for flags, words in (
        (("--vision", "nowhere"), "--vision: nowhere: not found"),
        (("--fvd", "True"), "--fvd: samples are those of the small generator; give --generator_steps"),
        (("--fvd", "True", "--generator_steps", "2"), "python -m workbench fetch fvd brings it"),
    ):
        with pytest.raises(SystemExit):
            probe_main(*flags)
        assert words in capsys.readouterr().err
    assert not (two_clips / "probe").exists()


@pytest.mark.slow
def test_two_ranks_find_what_one_does(two_clips):
    """Each encodes one of two clips; the latents of both are probed by the first."""
    argv = ["--dataset.data_path", "clips", "--models", "dct", "--generator_steps", "2", "--device", "cpu"]
    main("workbench", COMMANDS, ["probe", *argv, "--save_dir", "one"])
    ranks = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", "-m", "workbench"]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    subprocess.run([*ranks, "probe", *argv, "--save_dir", "two"], env=environment, check=True, timeout=600)
    one, two = ((two_clips / name / "probes.csv").read_text() for name in ("one", "two"))
    assert one == two
