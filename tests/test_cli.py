"""The command line as a user meets it: real processes, real files, exit codes."""

import csv
import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import huggingface_hub
import pytest
import torch
from clips import moving_video, write_clip
from small_models import ARCHITECTURES, small_model

from workbench.__main__ import COMMANDS
from workbench.cli import flag_words, main, parse
from workbench.commands.progress import StageBar
from workbench.errors import ConfigError
from workbench.files import plain_stem
from workbench.jobs.reconstruct import safe_stem
from workbench.media.reader import read_video
from workbench.media.writer import write_video
from workbench.models.catalogue import DIFFUSERS_CLASSES
from workbench.models.weights import save_weights
from workbench.records import clip_key
from workbench.steps import Progress
from workbench.tile_settings import Tiling

ROOT = Path(__file__).parents[1]


def run(*arguments, cwd):
    command = [sys.executable, "-m", "workbench", *map(str, arguments)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=600)


def parsed(*argv, command="reconstruct"):
    return parse(COMMANDS[command], argv)


def test_flags_become_typed_settings():
    config, words = parsed("a.mp4", "--model", "dct", "--model.spatial_tile_size=128", "--max-frames", "7", "b.png")
    assert words == ["a.mp4", "b.png"]
    assert (config.model.name, config.model.spatial_tile_size, config.max_frames) == ("dct", 128, 7)
    config, _ = parsed("--model.from_pretrained", "007", "--resolution", "256")
    assert (config.model.from_pretrained, config.resolution) == ("007", "256")


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--modle", "dct"], "did you mean --model"),
        (["--spatial_tile_size", "64"], r"did you mean --model\.spatial_tile_size"),
        (["--lossless"], "--lossless needs a value, as in --lossless True"),
        (["--resolution", "--dtype", "float32"], "--resolution needs a value"),
        (["--max_frames", "0"], "--max_frames.*between 1 and"),
        (["--num_frames", "9" * 30], "--num_frames.*between 1 and 10000000"),
        (["--max_frames", "x"], "--max_frames"),
        (["--max_frames", "1", "--max_frames", "2"], "given twice"),
        (["--model.tile_overlap_factor", "0.6"], "tile_overlap_factor.*between 0.0 and 0.5"),
        (["--preset", "video_dcae"], "--preset.*did you mean video_dc_ae"),
        (["--preset", "video_dc_ae", "--max_frames", "5"], "--num_frames asks for exactly 96"),
        (["--resolution", "256pxx"], "--resolution: '256pxx'"),
        (["--resolution="], "--resolution= needs a value"),
        (["--max_frames", "True"], "--max_frames: True"),
        (["-device", "cpu"], "flags begin with --"),
    ],
)
def test_wrong_flags_are_named_before_any_work(argv, message, capsys):
    with pytest.raises(SystemExit) as stop:
        main("workbench", COMMANDS["reconstruct"], ["clip.mp4", *argv])
    assert stop.value.code == 2
    assert re.search(message, capsys.readouterr().err)


def test_presets_are_the_published_settings_and_flags_override_them():
    config, _ = parsed("--preset", "video_dc_ae", "--dtype", "float32")
    assert (config.model.name, config.resolution, config.num_frames, config.fps_max) == (
        "video_dc_ae",
        "512px_ar1:1",
        96,
        16,
    )
    assert (config.model.spatial_tile_size, config.model.temporal_tile_size) == (256, 32)
    assert config.model.use_spatial_tiling
    assert config.model.use_temporal_tiling
    assert (config.dtype, config.save_dir) == ("float32", "samples/video_dc_ae")
    config, _ = parsed("--preset", "hunyuan_vae")
    assert (config.num_frames, config.model.scale_factor) == (97, 0.476986)


def test_reconstruct_writes_everything_and_a_summary(tmp_path):
    folder = tmp_path / "clips"
    folder.mkdir()
    write_clip(folder / "=one.mp4", 6, 40, 50)
    write_clip(folder / "two.mkv", 3, 33, 32)
    (folder / "bad.mp4").write_text("not a video")
    result = run("reconstruct", folder, "--save_dir", "out", cwd=tmp_path)
    assert result.returncode == 2, result.stderr
    assert "bad.mp4" in result.stderr
    assert "1 of 3 inputs were skipped" in result.stderr
    assert "Traceback" not in result.stderr
    for clip, frames in (("=one", 6), ("two", 3)):
        files = {path.name for path in (tmp_path / "out" / clip).iterdir()}
        videos = {"original.mp4", "reconstruction.mp4", "side_by_side.mp4"}
        assert files == {*videos, "worst_frame.png", "metrics.json", "metrics.csv", ".source"}
        record = json.loads((tmp_path / "out" / clip / "metrics.json").read_text())
        assert len(record["metrics"]["psnr"]) == record["num_frames"] == frames
        assert len((tmp_path / "out" / clip / "metrics.csv").read_text().splitlines()) == frames + 1
    assert "'=one.mp4" in (tmp_path / "out" / "summary.csv").read_text()
    assert not (tmp_path / "out" / "bad").exists()


def test_a_wrong_tile_size_stops_at_once_and_the_next_run_has_the_same_folder(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    write_clip(tmp_path / "clip.mp4", 2, 32, 32)
    (tmp_path / "bad.mp4").write_text("not a video")
    for arguments in (
        ["clip.mp4", "bad.mp4", "--model.spatial_tile_size", "100"],
        ["bad.mp4"],
        ["clip.mp4", "gone.mp4"],
    ):
        with pytest.raises(SystemExit) as exit:
            main("workbench", COMMANDS, ["reconstruct", *arguments, "--save_dir", "out"])
        assert exit.value.code == 2
        assert "skipped" not in capsys.readouterr().err
    assert not list(tmp_path.glob("out/*"))
    main("workbench", COMMANDS, ["reconstruct", "clip.mp4", "--save_dir", "out"])
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"clip", "summary.csv"}


def test_a_failed_rerun_leaves_the_earlier_result_its_owner(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_clip(tmp_path / "clip.mp4", 2, 32, 32)
    main("workbench", COMMANDS, ["reconstruct", "clip.mp4", "--save_dir", "out"])
    before = {path.name for path in (tmp_path / "out" / "clip").iterdir()}
    with pytest.raises(SystemExit):
        main("workbench", COMMANDS, ["reconstruct", "clip.mp4", "--save_dir", "out", "--num_frames", "99"])
    assert {path.name for path in (tmp_path / "out" / "clip").iterdir()} == before


@pytest.mark.parametrize("save_dir", ["/proc/none", "clip.mp4"])
def test_a_folder_that_cannot_be_written_is_refused_in_one_line(tmp_path, monkeypatch, capsys, save_dir):
    monkeypatch.chdir(tmp_path)
    write_clip(tmp_path / "clip.mp4", 2, 32, 32)
    with pytest.raises(SystemExit) as exit:
        main("workbench", COMMANDS, ["reconstruct", "clip.mp4", "--save_dir", save_dir])
    assert exit.value.code == 2
    assert "cannot be written" in capsys.readouterr().err


def test_sigterm_removes_what_is_half_written(tmp_path):
    write_clip(tmp_path / "clip.mp4", 640, 96, 128)
    command = [sys.executable, "-m", "workbench", "reconstruct", "clip.mp4", "--save_dir", "out"]
    process = subprocess.Popen(
        command, cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)}, stderr=subprocess.PIPE
    )
    deadline = time.monotonic() + 60
    while not list(tmp_path.glob("out/clip/.*.mp4")) and time.monotonic() < deadline:
        time.sleep(0.05)
    process.terminate()
    assert process.wait(60) == 143
    assert not (tmp_path / "out" / "clip").exists()


def test_clips_of_the_same_name_get_folders_of_their_own_and_reruns_reuse_theirs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for number, folder in enumerate(("a", "b"), 1):
        (tmp_path / folder).mkdir()
        write_clip(tmp_path / folder / "clip.mp4", number, 32, 32)
    for _ in range(2):
        main("workbench", COMMANDS, ["reconstruct", "a/clip.mp4", "b/clip.mp4", "--save_dir", "out", "--device", "cpu"])
    records = {p.parent.name: json.loads(p.read_text()) for p in (tmp_path / "out").glob("*/metrics.json")}
    assert {name: record["num_frames"] for name, record in records.items()} == {"clip": 1, "clip-2": 2}


def test_no_name_of_a_clip_leads_out_of_its_folder_or_onto_the_summary(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = ["...mp4", "..mp4", "summary.csv.mp4", " .mp4"]
    for number, name in enumerate(names, 1):
        write_clip(tmp_path / name, number, 32, 32)
    main("workbench", COMMANDS, ["reconstruct", *names, "--save_dir", "out/deep", "--device", "cpu"])
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([*names, "out"])
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["deep"]
    folders = {path.name: len(list(path.iterdir())) for path in (tmp_path / "out/deep").iterdir() if path.is_dir()}
    assert folders == dict.fromkeys(("clip", "clip-2", "clip-3", "summary.csv-2"), 7)
    assert len((tmp_path / "out/deep/summary.csv").read_text().splitlines()) == 5


@pytest.mark.parametrize("name", ["...mp4", "..mp4", ".mp4", "summary.csv.mp4", "../..mp4", "=1+1.mp4", "a\nb.mp4"])
def test_names_made_of_a_clips_name_are_plain_file_names(name):
    """Folders of `reconstruct`, results of `evaluate`, latents, and what the app offers to take along."""
    for made in (plain_stem(Path(name)), clip_key(Path(name)), safe_stem(Path(name))):
        assert made not in ("", ".", "..")
        assert Path(made).name == made
        assert not made.startswith(".")


@pytest.mark.parametrize("arguments", [["--help"], ["reconstruct", "--help"], ["bench", "--frames", "x", "--help"]])
def test_help_comes_before_anything_else(arguments, capsys):
    main("python -m workbench", COMMANDS, arguments)
    assert "usage:" in capsys.readouterr().out


@pytest.mark.parametrize(
    "arguments",
    [["reconstrct"], ["reconstruct", "nothing.mp4"], ["reconstruct"], ["models", "--x", "1"], ["models", "x"]],
)
def test_errors_exit_2_in_one_line_and_write_nothing(arguments, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as exit:
        main("python -m workbench", COMMANDS, arguments)
    assert exit.value.code == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("python -m workbench")
    assert not list(tmp_path.iterdir())


def test_the_record_holds_what_was_left_to_defaults_as_it_came_out(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_clip(tmp_path / "clip.mp4", 5, 32, 32)
    small, architecture = small_model("video_dc_ae"), ARCHITECTURES["video_dc_ae"]
    save_weights(tmp_path / "small.safetensors", small.state_dict(), "video_dc_ae", architecture)
    arguments = ["--model", "video_dc_ae", "--model.from_pretrained", "small.safetensors", "--device", "cpu"]
    main("workbench", COMMANDS, ["reconstruct", "clip.mp4", *arguments, "--model.use_spatial_tiling", "False"])
    used = json.loads((tmp_path / "samples" / "clip" / "metrics.json").read_text())["used"]
    assert used["weights"] == str(tmp_path / "small.safetensors")
    assert used["architecture"]["widths"] == list(ARCHITECTURES["video_dc_ae"]["widths"])
    assert (used["class"], used["device"], used["dtype"]) == ("VideoDCAE", "cpu", "float32")
    assert (used["spatial_tile_size"], used["temporal_tile_size"], used["tiles"]) == (None, 32, 1)
    assert used["torch"] == torch.__version__


def test_the_worst_frame_is_named_and_shown(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    video = moving_video(12, 64, 64)
    video.frames[7] = torch.randint(0, 256, (3, 64, 64), generator=torch.Generator().manual_seed(0))
    write_video(video, tmp_path / "clip.mkv", lossless=True)
    main("workbench", COMMANDS, ["reconstruct", "clip.mkv", "--model", "dct", "--lossless", "True"])
    told = capsys.readouterr().out
    assert max(map(len, told.splitlines())) <= 120
    assert "worst_frame" in told
    (cells,) = csv.DictReader((tmp_path / "samples" / "summary.csv").open())
    record = json.loads((tmp_path / "samples" / "clip" / "metrics.json").read_text())
    assert min(range(12), key=record["metrics"]["psnr"].__getitem__) == 7
    assert (cells["worst_frame"], float(cells["worst_at_s"])) == ("7", 0.28)
    assert float(cells["worst_psnr"]) == pytest.approx(min(record["metrics"]["psnr"]), abs=0.01)
    picture = read_video(tmp_path / "samples" / "clip" / "worst_frame.png").frames[0]
    output = read_video(tmp_path / "samples" / "clip" / "reconstruction.mkv").frames[7]
    bottom = picture[:, picture.shape[1] - 64 :]
    assert torch.equal(bottom[:, :, :64], video.frames[7])
    assert torch.equal(bottom[:, :, 68:132], output)
    difference = 4 * (video.frames[7].int() - output.int()).abs()
    assert torch.equal(bottom[:, :, 136:200].int(), difference.clamp(max=255))


def test_what_commands_of_the_readme_write_is_ignored_by_git():
    named = re.findall(r"^[^|\n]*--(?:out|save_dir) ([\w./]+)", (ROOT / "README.md").read_text(), re.MULTILINE)
    ignored = (ROOT / ".gitignore").read_text().splitlines()
    assert len(named) > 4
    assert [name for name in named if not {f"/{name}", f"/{name.split('/')[0]}/"} & set(ignored)] == []


def test_a_closed_pipe_ends_a_command_quietly(tmp_path):
    command = f"{sys.executable} -m workbench models | head -n 1; exit ${{PIPESTATUS[0]}}"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(["bash", "-c", command], env=environment, capture_output=True, text=True, timeout=600)
    assert done.stdout.startswith("model ")
    assert done.stderr == ""
    assert done.returncode in (0, 141)  # 0 where all was written before the pipe closed


def test_the_hub_is_asked_once_and_its_absence_is_one_line(tmp_path, monkeypatch, capfd):
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:1")
    monkeypatch.chdir(tmp_path)
    write_clip(tmp_path / "clip.mp4", 2, 32, 32)
    weights = ["--model", "video_dc_ae", "--model.from_pretrained", "nobody/nothing/ae.safetensors"]
    asked, ask = [], huggingface_hub.get_hf_file_metadata

    def note(url: str) -> object:
        asked.append(url)
        return ask(url)

    monkeypatch.setattr("huggingface_hub.get_hf_file_metadata", note)
    monkeypatch.setattr("huggingface_hub.hf_hub_download", pytest.fail)  # it would try for half a minute
    with pytest.raises(SystemExit):
        main("workbench", COMMANDS, ["reconstruct", "clip.mp4", *weights])
    assert len(asked) == 1
    lines = capfd.readouterr().err.splitlines()
    assert len(lines) == 1
    assert "nobody/nothing/ae.safetensors: not a local file, nor to be had from the Hub" in lines[0]


def test_the_bar_shows_every_stage_and_ends_full(monkeypatch):
    monkeypatch.setattr("time.monotonic", iter(range(100)).__next__)
    with StageBar("1/12 a clip with a name that is long.mp4") as bar:
        bar.show(Progress("count", 40, 40))
        for stage, total in (("encode", 2), ("decode", 2)):
            for done in range(1, total + 1):
                bar.show(Progress(stage, done, total))
        assert bar.n == pytest.approx(2 / 3)
        bar.show(Progress("measure", 8, 40))
        assert "about 00:04 left" in bar.postfix  # one second for 8 frames, 32 to go
        assert "8/40 frames measured" in bar.postfix
        assert len(str(bar)) <= 90
        bar.show(Progress("measure", 40, 40))
        assert bar.n == pytest.approx(1.0)


def test_models_and_bench_print_tables(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    repository = tmp_path / "hub" / "models--hpcai-tech--Open-Sora-v2"
    for file, content in (("refs/main", "abc"), ("snapshots/abc/hunyuan_vae.safetensors", "")):
        (repository / file).parent.mkdir(parents=True)
        (repository / file).write_text(content)
    main("workbench", COMMANDS, ["models"])
    listed = capsys.readouterr().out
    assert "459462147" in listed
    assert "streamed, exact" in listed
    assert "F32T4C128_AE.safetensors, not here: python -m workbench fetch video_dc_ae" in listed
    assert "hunyuan_vae.safetensors, here" in listed
    assert max(map(len, listed.splitlines())) <= 125
    assert all(name in listed for name in DIFFUSERS_CLASSES)
    small = ["--model", "dct", "--frames", "4", "--height", "32", "--width", "32", "--repeats", "1", "--out", "b.json"]
    main("workbench", COMMANDS, ["bench", *small, "--variants", "channels_last,eager"])
    out, err = capsys.readouterr()
    assert "dct on " in out
    assert "float32" in out
    assert "4/4" not in err
    assert "6/6" in err
    record = json.loads((tmp_path / "b.json").read_text())
    rows = record["rows"]
    assert record["matmul_tflop_per_s"] > 0
    assert rows[0]["peak_share"] == pytest.approx(rows[0]["tflop_per_s"] / record["matmul_tflop_per_s"])
    weights_mb = 2 * 128 * 3 * 32 * 32 * (4 + 1) / 2 * 4 / 1e6
    assert all(row["memory_mb"] >= row["activations_mb"] + weights_mb for row in rows)
    assert [(row["variant"], row["direction"]) for row in rows] == [
        (variant, direction) for variant in ("channels_last", "eager") for direction in ("encode", "decode")
    ]
    assert all(row["seconds"] > 0 and row["tflop"] > 0 for row in rows)


def test_bench_compares_tiling_modes_with_the_first(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    size = ["--frames", "11", "--height", "96", "--width", "64", "--repeats", "1", "--out", "b.json"]
    model = ["--model", "tiny", "--model.spatial_tile_size", "64", "--model.temporal_tile_size", "8"]
    push = ["--model.push_frames", "4"]  # for those that stream
    main("workbench", COMMANDS, ["bench", *model, *size, *push, "--modes", "tiles,stages"])
    assert "max_difference" in capsys.readouterr().out
    record = json.loads((tmp_path / "b.json").read_text())
    assert "tiling_mode" not in record["used"]  # one record for several
    rows = {(row["mode"], row["direction"]): row for row in record["rows"]}
    assert list(rows) == [(mode, way) for mode in ("tiles", "stages") for way in ("encode", "decode")]
    assert rows["tiles", "decode"]["tflop_ratio"] == rows["tiles", "decode"]["speedup"] == 1
    assert rows["stages", "decode"]["tflop_ratio"] < 0.8
    assert rows["tiles", "decode"]["max_difference"] == 0 < rows["stages", "decode"]["max_difference"] < 2
    assert rows["stages", "encode"]["predicted_mb"] > 0 < rows["stages", "encode"]["cpu_seconds"]
    with pytest.raises(SystemExit):
        main("workbench", COMMANDS, ["bench", "--modes", "tiles", "--metrics", "True"])


def test_bench_shows_what_modes_do_to_a_clip(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    write_video(moving_video(12, 64, 96), tmp_path / "clip.mkv", lossless=True)
    sizes = ["--model.spatial_tile_size", "32", "--model.temporal_tile_size", "8", "--out", "b.json"]
    shape = {"widths": (8, 8, 16), "encoder_depths": (1, 1, 1), "decoder_depths": (1, 1, 1), "latent_channels": 8}
    model = ["--model", "video_dc_ae", "--model.from_pretrained", "random", "--model.architecture", str(shape)]
    main(
        "workbench",
        COMMANDS,
        ["bench", *model, *sizes, "--clip", "clip.mkv", "--modes", "tiles,windows", "--frames", "11"],
    )
    rows = {row["way"]: row for row in json.loads((tmp_path / "b.json").read_text())["rows"]}
    assert list(rows) == ["one piece", "one piece, attention as its mean", "tiles", "windows"]
    assert rows["one piece"]["difference"] == 0 < rows["windows"]["difference"] < rows["tiles"]["difference"]
    assert rows["one piece, attention as its mean"]["difference"] > 0
    assert rows["one piece"]["width"] is None
    assert rows["tiles"]["width"] > 0
    with pytest.raises(SystemExit):
        main("workbench", COMMANDS, ["bench", "--clip", "clip.mkv"])
    assert "give --modes too" in capsys.readouterr().err


def test_bench_tells_what_metrics_cost_and_which_are_not_here(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("torch.hub.get_dir", lambda: str(tmp_path))
    size = ["--frames", "2", "--height", "64", "--width", "64", "--repeats", "1", "--out", str(tmp_path / "m.json")]
    main("workbench", COMMANDS, ["bench", "--metrics", "True", *size])
    assert "left out: lpips_vgg: its network is not here" in capsys.readouterr().out
    rows = {row["metric"]: row for row in json.loads((tmp_path / "m.json").read_text())["rows"]}
    assert {"psnr", "ssim", "temporal_error", "flicker"} <= set(rows)
    assert rows["ssim"]["s_per_megapixel"] == pytest.approx(rows["ssim"]["seconds"] / (2 * 64 * 64 / 1e6))


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--modes", "tiles,stages", "--model.tiling_mode", "stages"], "--model.tiling_mode: --modes says which"),
        (["--modes", "tiles", "--model.push_frames", "4"], "--model.push_frames: nothing is streamed here"),
        (["--model.push_frames", "4"], "--model.push_frames: nothing is streamed here"),
    ],
)
def test_bench_refuses_what_its_modes_have_no_use_for(flags, said, capsys):
    with pytest.raises(SystemExit):
        main("workbench", COMMANDS, ["bench", "--model", "dct", *flags])
    assert said in capsys.readouterr().err


def test_bench_refuses_what_no_memory_holds_before_it_builds_a_model(monkeypatch, capsys):
    monkeypatch.setattr("workbench.commands.bench.ModelSettings.load", None)
    with pytest.raises(SystemExit) as exit:
        main("workbench", COMMANDS, ["bench", "--frames", "100000000"])
    assert exit.value.code == 2
    assert "GB are free" in capsys.readouterr().err


def test_errors_name_settings_and_the_command_line_names_its_flags(capsys):
    with pytest.raises(ConfigError, match=r"^`tile_overlap_factor`: 0\.9 is out of range"):
        Tiling(tile_overlap_factor=0.9)
    with pytest.raises(SystemExit) as stop:
        main("workbench", COMMANDS["reconstruct"], ["clip.mp4", "--model.tile_overlap_factor", "0.9"])
    assert stop.value.code == 2
    assert "error: --model.tile_overlap_factor: 0.9 is out of range" in capsys.readouterr().err
    told = flag_words("`model.name` beside `nothing_like_it`", COMMANDS["reconstruct"])
    assert told == "--model beside `nothing_like_it`"
