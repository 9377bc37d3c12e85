"""Evaluation: equal terms, honest rates, results that survive a kill, and a leaderboard that opens offline."""

import csv
import json
import math
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
import torchvision_operators  # noqa: F401 (before a class of diffusers is looked up)
from clips import write_clip
from killed import run_until_killed
from scipy import linalg
from small_models import ARCHITECTURES, small_model

from workbench.__main__ import COMMANDS
from workbench.cli import main
from workbench.errors import ConfigError, WeightsError
from workbench.evaluate.clip import evaluate_clip, worst_panels
from workbench.evaluate.settings import EvaluateSettings
from workbench.media.policy import ClipPolicy
from workbench.media.reader import read_video
from workbench.media.source import open_clip
from workbench.metrics.fvd import FeatureNetwork
from workbench.metrics.measure import summarise
from workbench.models.auto import Ran
from workbench.models.ref import parse_models
from workbench.models.registry import load_autoencoder
from workbench.models.weights import save_weights
from workbench.roundtrip.clip import reconstruct
from workbench.roundtrip.clock import Clock
from workbench.roundtrip.result import RoundTrip
from workbench.tile_settings import Tiling

ROOT = Path(__file__).parents[1]
CHROMIUM = Path("/usr/bin/chromium")
NASTY = "=a <b>&'.mkv"
SIZES = {NASTY: (9, 48, 70), "two.mkv": (5, 33, 40), "three.mkv": (6, 64, 64)}


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> Path:
    """A folder with three clips and weights of a small Video DC-AE and of a small model of diffusers."""
    from diffusers import AutoencoderKLWan

    folder = tmp_path_factory.mktemp("evaluate")
    (folder / "clips").mkdir()
    for seed, (name, size) in enumerate(SIZES.items()):
        write_clip(folder / "clips" / name, *size, seed)
    architecture = ARCHITECTURES["video_dc_ae"]
    save_weights(folder / "small.safetensors", small_model("video_dc_ae").state_dict(), "video_dc_ae", architecture)
    AutoencoderKLWan(base_dim=8, num_res_blocks=1).save_pretrained(folder / "wan")
    return folder


@pytest.fixture
def inside(world, monkeypatch, tmp_path) -> Path:
    """A working directory with the clips and weights of `world`, to change at will."""
    shutil.copytree(world, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def words(models: str, data: str = "clips", save_dir: str = "out") -> list[str]:
    return ["evaluate", "--dataset.data_path", data, "--models", models, "--save_dir", save_dir, "--device", "cpu"]


def run(*flags: object, models: str = "dct", **where: str) -> None:
    main("workbench", COMMANDS, [*words(models, **where), *map(str, flags)])


def results(folder: Path) -> dict:
    return json.loads((folder / "results.json").read_text(encoding="utf-8"))


def result_files(folder: Path) -> dict[Path, int]:
    """The files of finished clips and when they were written; a kill may leave hidden, partial ones beside them."""
    files = (folder / "results").glob("*/[!.]*.json")
    return {path: path.stat().st_mtime_ns for path in files if path.name != "model.json"}


# What is asked for


def test_models_are_names_with_or_without_weights():
    entries = parse_models("dct, video_dc_ae@runs/a@b/step-1,diffusers:AutoencoderKLWan@random,diffusers:org/repo")
    assert [(entry.name, entry.weights) for entry in entries] == [
        ("dct", None),
        ("video_dc_ae", "runs/a@b/step-1"),
        ("diffusers:AutoencoderKLWan", "random"),
        ("diffusers:org/repo", None),
    ]
    assert entries[1].label == "video_dc_ae@runs/a@b/step-1"


@pytest.mark.parametrize(
    ("models", "error", "message"),
    [
        ("dct,dct", ConfigError, "`models`: 'dct' is given twice"),
        ("dct,", ConfigError, "`models`: '' is not NAME"),
        ("dct@", ConfigError, "`models`: 'dct@' is not NAME"),
        ("dcd", ConfigError, "`models`: 'dcd' is not one of.*did you mean dct"),
        ("video_dc_ae", WeightsError, "video_dc_ae needs weights: write video_dc_ae@FILE"),
    ],
)
def test_wrong_entries_are_named_before_any_work(models, error, message):
    with pytest.raises(error, match=message):
        EvaluateSettings(models=models)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--models", "dct@weights.pt"], "dct has no weights"),
        (["--models", "video_dc_ae@missing.pt"], "not found"),
        (["--model.spatial_tile_size", "33"], "no multiple of 32"),
        (["--resolution", "25x"], "resolution"),
        (["--dataset.data_path", "nowhere"], "no such file"),
    ],
)
def test_mistakes_exit_2(inside, capsys, flags, message):
    given = {"--dataset.data_path": "clips", "--models": "dct"} | dict([flags])
    with pytest.raises(SystemExit) as exit:
        main("workbench", COMMANDS, ["evaluate", *(word for pair in given.items() for word in pair)])
    assert exit.value.code == 2
    assert message in capsys.readouterr().err


# Figures


@pytest.mark.parametrize("tiling", [Tiling(use_spatial_tiling=False), Tiling(spatial_tile_size=32)])
def test_figures_are_those_of_reconstruct_on_the_same_frames(world, tiling):
    path = world / "clips" / NASTY
    ae = load_autoencoder("video_dc_ae", world / "small.safetensors", "cpu")
    evaluation = evaluate_clip(ae, open_clip(path, ClipPolicy()), tiling)
    found, panels = evaluation.result, evaluation.panels
    expected = reconstruct(ae, read_video(path), tiling)
    assert found.metrics.keys() == expected.metrics.keys()
    for name, values in expected.metrics.items():
        assert found.metrics[name] == pytest.approx(values, nan_ok=True)
    assert found.latent_shape == tuple(expected.latents.shape[1:])
    assert panels.shape == (3, 48, 3 * 70)
    assert torch.equal(panels[:, :, :70], expected.original.frames[found.worst_frame])


def round_trip(size, latent_shape, psnr) -> RoundTrip:
    figures = dict(zip(("num_frames", "height", "width"), size, strict=True))
    return RoundTrip(
        **figures,
        **Clock().seconds,
        ran=Ran("tiles", None, 1.0, True, None),
        fps=25.0,
        timestamps_s=None,
        latent_shape=latent_shape,
        metrics={"psnr": psnr},
        warnings=(),
    )


def test_padding_is_charged_at_the_size_of_the_clip():
    """5 frames of 33 x 40 become 8 of 64 x 64 for a stride of 4 x 32 x 32: 2 x 2 x 2 latents of 128 values."""
    clip = round_trip((5, 33, 40), (128, 2, 2, 2), [30.0] * 5)
    assert clip.values_per_pixel == 128 * 8 / (5 * 33 * 40)


def test_the_difference_is_taken_before_scaling_down():
    original = torch.full((3, 640, 640), 100, dtype=torch.uint8)
    output = original.clone()
    output[:, ::2] += 10
    output[:, 1::2] -= 10
    panels = worst_panels(original, output)
    assert panels.shape == (3, 320, 960)
    assert (panels[:, :, 320:640] == 100).all()
    assert (panels[:, :, 640:] == 40).all()


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="needs Linux")
def test_peak_memory_counts_what_was_freed_again():
    # In a process of its own: memory that other tests have freed would be used again.
    code = """
import torch
from workbench.memory import watch_peak_memory
peak = watch_peak_memory(torch.device("cpu"))
torch.ones(64 * 2**20, dtype=torch.uint8).add_(1)
print(peak())
"""
    command = [sys.executable, "-c", code]
    printed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert 60 < float(printed) < 200


# Options


@pytest.fixture
def feature_network(inside) -> Path:
    """TorchScript that gives 3 features of a clip: mean, deviation and motion; it declares one of I3D's arguments."""

    class Features(torch.nn.Module):
        def forward(self, x: torch.Tensor, return_features: bool = False) -> torch.Tensor:
            assert return_features
            motion = (x[:, :, 1:] - x[:, :, :-1]).abs().mean((1, 2, 3, 4))
            return torch.stack([x.mean((1, 2, 3, 4)), x.std((1, 2, 3, 4)), motion], dim=1)

    torch.jit.script(Features()).save(inside / "features.pt")
    return inside / "features.pt"


def test_rfvd_is_that_of_scipy_over_all_windows(inside, feature_network, capsys):
    """Three clips of 16, 33 and 40 frames hold five windows; 3 features need four."""
    shutil.rmtree(inside / "clips")
    (inside / "clips").mkdir()
    for seed, frames in enumerate((16, 33, 40, 5)):
        write_clip(inside / "clips" / f"{seed}.mkv", frames, 32, 48, seed)
    run("--fvd_network", feature_network)
    assert "rFVD over 5 windows of 16 frames" in capsys.readouterr().out
    ae, network = load_autoencoder("dct", device="cpu"), torch.jit.load(feature_network)
    sets: tuple[list, list] = ([], [])
    for path in sorted((inside / "clips").iterdir()):
        video = read_video(path)
        output = reconstruct(ae, video, Tiling()).output
        for features, frames in zip(sets, (video.frames, output.frames), strict=True):
            for start in range(0, len(frames) - 15, 16):
                window = frames[start : start + 16].float() / 127.5 - 1
                resized = F.interpolate(window, (224, 224), mode="bilinear").transpose(0, 1)[None]
                features.append(network(resized, return_features=True)[0].double().numpy())
    (mean_a, cov_a), (mean_b, cov_b) = ((np.mean(s, 0), np.cov(s, rowvar=False)) for s in sets)
    root = linalg.sqrtm(cov_a @ cov_b).real
    expected = ((mean_a - mean_b) ** 2).sum() + np.trace(cov_a + cov_b - 2 * root)
    assert results(inside / "out")["leaderboard"][0]["fvd_frechet"] == pytest.approx(expected, rel=1e-3)
    assert "rFVD" in (inside / "out" / "leaderboard.html").read_text(encoding="utf-8")


def test_the_squared_distance_of_each_window_is_a_figure_of_its_own(inside, feature_network):
    write_clip(inside / "clips" / "long.mkv", 33, 32, 32)
    run("--fvd_network", feature_network)
    row = results(inside / "out")["leaderboard"][0]
    ae, network = load_autoencoder("dct", device="cpu"), FeatureNetwork(feature_network)
    video = read_video(inside / "clips" / "long.mkv")
    a, b = (network.features(clip) for clip in (video.frames, reconstruct(ae, video, Tiling()).output.frames))
    assert row["i3d_per_clip_sq"] == pytest.approx((a - b).square().sum(1).mean().item(), rel=1e-4)
    assert "fvd_frechet" not in row  # two windows are too few


def test_rfvd_of_too_few_windows_is_left_out_and_said(inside, feature_network, capsys):
    run("--fvd_network", feature_network)
    assert "rFVD left out: no clip has 16 frames" in capsys.readouterr().out
    write_clip(inside / "clips" / "long.mkv", 48, 32, 32)
    run("--fvd_network", feature_network)
    assert "there are 3 windows of 16 frames, its network needs 4" in capsys.readouterr().out
    assert "fvd_frechet" not in results(inside / "out")["leaderboard"][0]


def test_the_warp_error_is_measured_on_request(inside):
    run(save_dir="without")
    run("--warp_error", True)
    without, found = (results(inside / name)["leaderboard"][0] for name in ("without", "out"))
    assert found.keys() - without.keys() == {"warp_error"}
    assert found["warp_error"] > 0


@pytest.mark.parametrize(
    ("content", "message"), [(None, "is no file; rFVD needs a TorchScript"), ("text", "is not TorchScript")]
)
def test_a_missing_or_wrong_feature_network_is_refused_before_any_work(inside, capsys, content, message):
    if content:
        Path("network.pt").write_text(content)
    with pytest.raises(SystemExit):
        run("--fvd_network", "network.pt")
    assert message in capsys.readouterr().err
    assert not (inside / "out").exists()


# A whole evaluation


@pytest.fixture(scope="module")
def finished(world, tmp_path_factory) -> Path:
    """All clips and one that cannot be read, by three models."""
    models = f"dct,video_dc_ae@{world}/small.safetensors,diffusers:{world}/wan"
    folder = tmp_path_factory.mktemp("finished")
    shutil.copytree(world / "clips", folder / "all")
    (folder / "all" / "bad.mp4").write_text("not a video")
    with pytest.raises(SystemExit):
        run(models=models, data=str(folder / "all"), save_dir=str(folder / "out"))
    return folder / "out"


def test_tables_hold_every_clip_frame_and_model(finished):
    record = results(finished)
    assert len(record["clips"]) == 9
    assert {one["reason"] for one in record["failures"]} == {
        f"{str(finished.parent / 'all' / 'bad.mp4')!r}: this is text, not a video or an image"
    }
    assert record["common_clips"] == 3
    with (finished / "frames.csv").open(encoding="utf-8", newline="") as file:
        frames = list(csv.DictReader(file))
    assert len(frames) == 3 * sum(frames for frames, _, _ in SIZES.values())
    for row in record["clips"]:
        own = [one for one in frames if (one["model"], one["clip"]) == (row["model"], row["clip"])]
        assert math.fsum(float(one["psnr"]) for one in own) / len(own) == pytest.approx(row["psnr"])
        assert row["bits_per_pixel"] == pytest.approx(16 * row["values_per_pixel"])
    leaders = record["leaderboard"]
    assert [row["psnr"] for row in leaders] == sorted((row["psnr"] for row in leaders), reverse=True)
    dct = [row["psnr"] for row in record["clips"] if row["model"] == "dct"]
    assert next(row for row in leaders if row["model"] == "dct")["psnr"] == pytest.approx(sum(dct) / 3)


def test_the_page_is_whole_in_itself_and_escapes_names(finished):
    page, *scripts = (finished / "leaderboard.html").read_text(encoding="utf-8").split("<script>")
    assert not re.findall(r"(?:src|href|url)[=(][\"']?(?!data:|[\"'])", page)
    assert page.count("data:image/png;base64,") == 3 * 3 * 3
    assert "=a &lt;b&gt;&amp;&#x27;.mkv" in page
    assert "bad.mp4" in page
    assert "<b>" not in page + scripts[-1]


def test_the_page_works_in_a_browser(finished, tmp_path):
    if not CHROMIUM.exists():
        pytest.skip(f"no browser: {CHROMIUM} is not installed")
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=str(CHROMIUM), args=["--no-sandbox"])
        context = browser.new_context(viewport={"width": 390, "height": 844}, offline=True)
        page = context.new_page()
        problems: list[str] = []
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on("request", lambda request: problems.append(request.url) if request.url.startswith("http") else None)
        page.goto((finished / "leaderboard.html").as_uri())
        page.locator(".main-svg").first.wait_for()
        page.get_by_label("against").select_option("decode_fps")
        page.get_by_text("frames decoded per second").last.wait_for()
        page.get_by_role("button", name="SSIM").click()
        shown = page.locator("tbody tr").evaluate_all("rows => rows.map(row => +row.cells[2].dataset.value)")
        assert shown == sorted(shown, reverse=True)
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
        assert not problems
        browser.close()


# Going on


def test_a_second_run_computes_only_what_is_missing(inside):
    run("--max_frames", 3)
    before = result_files(inside / "out")
    assert len(before) == 3
    write_clip(inside / "clips" / "two.mkv", 4, 40, 40, 9)
    run("--max_frames", 3, models="dct,video_dc_ae@small.safetensors")
    after = result_files(inside / "out")
    assert len(after) == 6
    assert sorted(path.name[:3] for path in before if before[path] != after[path]) == ["two"]
    assert {row["frames"] for row in results(inside / "out")["clips"]} == {3}


def test_another_policy_is_refused_by_name(inside, capsys):
    run("--max_frames", 3)
    before = result_files(inside / "out")
    with pytest.raises(SystemExit):
        run("--max_frames", 4)
    assert "max_frames was 3, is 4; give those settings again, or another --save_dir" in capsys.readouterr().err
    assert result_files(inside / "out") == before


def test_other_weights_under_the_same_name_are_refused(inside, capsys):
    models = "video_dc_ae@small.safetensors"
    run("--max_frames", 2, models=models)
    state = {name: tensor + 1e-3 for name, tensor in small_model("video_dc_ae").state_dict().items()}
    save_weights(inside / "small.safetensors", state, "video_dc_ae", ARCHITECTURES["video_dc_ae"])
    with pytest.raises(SystemExit):
        run("--max_frames", 2, models=models)
    assert "weights_sha256 was" in capsys.readouterr().err


def test_a_killed_evaluation_goes_on_without_repeating_clips(inside):
    run_until_killed(words("dct,diffusers:wan"), "results/*/[!m]*.json", 4)
    before = result_files(inside / "out")
    assert len(before) == 4
    assert not (inside / "out" / "results.json").exists()
    run(models="dct,diffusers:wan")
    after = result_files(inside / "out")
    assert len(after) == 6
    assert {path: after[path] for path in before} == before


@pytest.mark.slow
def test_two_ranks_find_what_one_finds(inside):
    models = "dct,video_dc_ae@small.safetensors"
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    command = [*torchrun, "-m", "workbench", *words(models, save_dir="two")]
    done = subprocess.run(command, cwd=inside, env=environment, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.count("see two/leaderboard.html") == 1
    run(models=models, save_dir="one")
    one, two = results(inside / "one"), results(inside / "two")
    assert len(two["clips"]) == 6
    assert {row["ranks"] for row in two["clips"]} == {2}
    for expected, found in zip(one["clips"], two["clips"], strict=True):
        assert (found["model"], found["clip"]) == (expected["model"], expected["clip"])
        for name in ("frames", "psnr", "ssim", "temporal_error", "worst_frame", "bits_per_pixel"):
            assert found[name] == pytest.approx(expected[name], rel=1e-4), name


def test_the_worst_frame_is_that_of_the_lowest_psnr():
    clip = round_trip((3, 8, 8), (1, 1, 1, 1), [30.0, 20.0, 25.0])
    assert clip.worst_frame == summarise(clip.metrics)["psnr"].worst_frame == 1
