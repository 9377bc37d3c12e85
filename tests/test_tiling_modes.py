"""Ways to run a model over a clip: what they cost, how they are chosen, and that all commands go through them."""

import json
import os
import re
import subprocess
import sys
from dataclasses import replace

import pytest
import torch
from clips import moving_video, write_clip
from reference_weights import load_formula_weights
from small_models import ARCHITECTURES, small_model

import workbench as wb
from workbench.__main__ import COMMANDS
from workbench.cli import main
from workbench.commands.settings import ModelSettings
from workbench.counting import Counter
from workbench.errors import ConfigError, DeviceMemoryError
from workbench.latents.clips import encode_clip
from workbench.media.policy import ClipPolicy
from workbench.media.source import open_clip
from workbench.memory import left_of_groups
from workbench.models.auto import Choice, choose, ran, within_memory
from workbench.models.coding import encode_tiled
from workbench.models.cost import coding_cost
from workbench.models.plans import encode_plan
from workbench.models.registry import build_autoencoder
from workbench.steps import drain

SIZE = 11, 70, 66
TILES = {"spatial_tile_size": 64, "temporal_tile_size": 8}
MODES = ("tiles", "stages", "frames", "windows")


@pytest.fixture(scope="module")
def ae() -> wb.Autoencoder:
    architecture = {"widths": (4, 4, 8, 8, 8, 8), "encoder_depths": (1,) * 6, "decoder_depths": (1,) * 6}
    model = build_autoencoder("video_dc_ae", architecture | {"latent_channels": 4}).eval().requires_grad_(False)
    load_formula_weights(model)
    return model


@pytest.fixture(scope="module")
def full() -> wb.Autoencoder:
    with torch.device("meta"):
        return build_autoencoder("video_dc_ae").to(torch.bfloat16)


@pytest.mark.parametrize(
    ("mode", "size", "most"),
    [
        ("stages", (128, 720, 1280), 0.45),
        ("frames", (128, 720, 1280), 0.42),
        ("stages", (256, 1080, 1920), 0.4205),
        ("frames", (256, 1080, 1920), 0.40),
    ],
)
def test_the_full_model_does_less_than_half_of_the_work_of_the_published_tiles(full, mode, size, most):
    published = coding_cost(full, size, wb.Tiling(tiling_mode="tiles"))
    assert published.work > 2.4
    cost = coding_cost(full, size, wb.Tiling(tiling_mode=mode, push_frames=64))
    assert cost.operations <= most * published.operations
    assert 1.0 < cost.work < 1.1


@pytest.mark.parametrize("mode", MODES)
def test_counted_operations_are_those_that_run(ae, mode):
    x, tiling = moving_video(*SIZE).to_tensor(), wb.Tiling(**TILES, push_frames=3).in_mode(mode)
    z = encode_tiled(ae, x, tiling)
    with Counter() as counter:
        encode_tiled(ae, x, tiling)
        wb.decode_tiled(ae, z, tiling, SIZE[0], SIZE[1:])
    assert coding_cost(ae, SIZE, tiling).operations == pytest.approx(counter.operations, rel=0.02)


def test_dct_and_tiny_are_streamed_by_default_and_waste_nothing():
    for name in ("dct", "tiny"):
        model = small_model(name)
        assert ran(model, (22, 130, 100), Choice(wb.Tiling())).work == 1.0
        assert ran(model, (64, 1000, 1000), Choice(wb.Tiling(tiling_mode="tiles"))).work > 1.1


def test_rows_that_strips_of_several_ranks_share_are_work(full):
    """The trunk is 95 % of the operations, and half of 90 rows of cells is read with 5 or 7 more."""
    size, choice = (32, 720, 1280), Choice(wb.Tiling(tiling_mode="frames"))
    assert ran(full, size, choice).work < 1.01
    assert 1.10 < ran(full, size, choice, ranks=2).work < 1.16


@pytest.mark.parametrize(
    ("name", "tiling", "is_exact", "most_read"),
    [
        ("dct", wb.Tiling(), True, 1.01),
        ("tiny", wb.Tiling(), True, 1.01),
        ("dct", wb.Tiling(tiling_mode="tiles"), False, 2.6),
        ("video_dc_ae", wb.Tiling(), False, 2.6),
        ("video_dc_ae", wb.Tiling(tiling_mode="stages"), False, 1.01),
        ("video_dc_ae", wb.Tiling(tiling_mode="windows"), False, 1.01),
        ("video_dc_ae", wb.ONE_PIECE, True, 1.01),
    ],
)
def test_a_model_says_what_its_tiles_cost_and_whether_they_change_anything(name, tiling, is_exact, most_read):
    """At 1080p, which is padded by 8 rows: a block transform is charged for no tile."""
    plan = encode_plan(small_model(name), (96, 1080, 1920), tiling)
    assert plan.is_exact == is_exact
    assert most_read - 0.1 < plan.read_ratio <= most_read


@pytest.mark.parametrize("mode", MODES)
def test_a_file_becomes_what_its_frames_in_memory_become(ae, tmp_path, mode):
    source, tiling = write_clip(tmp_path / "in.mkv", *SIZE), wb.Tiling(**TILES, tiling_mode=mode)
    report = wb.reconstruct_file(ae, source, tmp_path / "out.mkv", tiling)
    result = wb.reconstruct(ae, wb.read_video(source), tiling)
    assert (report.ran.tiling_mode, report.ran.chosen) == (mode, None)
    assert torch.equal(wb.read_video(tmp_path / "out.mkv").frames, result.output.frames)
    latents = encode_clip(ae, open_clip(source, ClipPolicy(), 32), tiling)
    torch.testing.assert_close(latents, result.latents[0])


def test_a_model_without_windows_says_which_modes_it_has():
    hunyuan = build_autoencoder("hunyuan_vae", ARCHITECTURES["hunyuan_vae"])
    with pytest.raises(ConfigError, match="`tiling_mode`: hunyuan_vae has no attention in windows; use tiles, stages"):
        encode_tiled(hunyuan, torch.zeros(1, 3, 1, 64, 64), wb.Tiling(tiling_mode="windows"))


def test_auto_takes_less_the_less_memory_there_is(ae):
    size, asked = (32, 64, 256), wb.Tiling(spatial_tile_size=64, tiling_mode="auto")
    two_at_once = coding_cost(ae, size, replace(asked, tiling_mode="stages", push_frames=2)).peak_bytes
    taken = []
    for memory_gb in (8.0, 1.001 * two_at_once / 1e9, 0.001):
        choice = next(choose(ae, size, replace(asked, memory_gb=memory_gb)))
        taken.append((choice.tiling.tiling_mode, choice.tiling.push_frames))
        assert f"`tiling_mode` auto took {taken[-1][0]}" in choice.reason
    assert taken == [
        ("frames", 4),
        ("stages", 2),
        ("stages", 1),
    ]  # which needs less than tiles do here
    assert choice.reason.endswith("smaller ones (`spatial_tile_size`) need less")


def test_auto_takes_tiles_where_those_need_the_least(ae):
    size, asked = (
        (64, 512, 512),
        wb.Tiling(spatial_tile_size=32, temporal_tile_size=8, tiling_mode="auto", memory_gb=1e-3),
    )
    needs = {mode: coding_cost(ae, size, asked.in_mode(mode, 1)).peak_bytes for mode in ("tiles", "stages", "frames")}
    assert needs["tiles"] < min(needs["stages"], needs["frames"])
    assert next(choose(ae, size, asked)).tiling.tiling_mode == "tiles"


def test_auto_goes_on_with_less_where_memory_runs_out(ae):
    asked = wb.Tiling(spatial_tile_size=64, temporal_tile_size=8, tiling_mode="auto", memory_gb=8.0)

    def attempt(tiling):
        yield from ()
        if tiling.tiling_mode != "tiles":
            raise DeviceMemoryError("out of memory")
        return "done"

    result, choice = drain(within_memory(ae, (32, 256, 512), asked, attempt))
    assert result == "done"
    assert choice.reason.endswith("memory ran out with frames, 1 frame at once")
    with pytest.raises(DeviceMemoryError):
        drain(within_memory(ae, (32, 64, 256), wb.Tiling(tiling_mode="stages"), attempt))


@pytest.mark.parametrize("settings", [wb.Tiling(), ModelSettings(name="video_dc_ae")])
@pytest.mark.parametrize("push", [None, 3])
def test_auto_tries_ways_that_need_less_and_less(ae, settings, push):
    """For settings of a command too, which hold a dict."""
    size = 32, 256, 512
    asked = replace(
        settings, tiling_mode="auto", memory_gb=8.0, push_frames=push, spatial_tile_size=64, temporal_tile_size=8
    )
    ways = [choice.tiling for choice in choose(ae, size, asked)]
    needs = [coding_cost(ae, size, way).peak_bytes for way in ways]
    assert needs == sorted(set(needs), reverse=True)
    assert ways[0].tiling_mode == "frames"
    assert ways[-1].tiling_mode == "tiles"


def test_a_command_says_what_auto_took(tmp_path, capsys):
    source = write_clip(tmp_path / "in.mkv", 5, 64, 64)
    flags = "--model", "dct", "--model.tiling_mode", "auto", "--model.memory_gb", "0.5", "--device", "cpu"
    main("workbench", COMMANDS, ["reconstruct", str(source), *flags, "--save_dir", str(tmp_path / "out")])
    said = capsys.readouterr().err
    assert re.search(r"--model.tiling_mode auto took stages, 4 frames at once: 0\.\d+ GB of 0.5 GB", said)
    used = json.loads((tmp_path / "out" / "in" / "metrics.json").read_text())["used"]
    assert used["tiling_mode"] == "stages"
    assert used["chosen"].startswith("`tiling_mode` auto took stages")
    assert "mode stages, no overlap, exact" in said


@pytest.mark.parametrize(
    ("side", "words"),
    [("64", "1 tile reading 1.00 times the clip, exact"), ("32", "4 tiles reading 1.00 times the clip")],
)
def test_a_command_says_what_tiles_read(tmp_path, capsys, side, words):
    source = write_clip(tmp_path / "in.mkv", 4, 64, 64)
    flags = "--model", "dct", "--model.spatial_tile_size", side, "--device", "cpu"
    main("workbench", COMMANDS, ["reconstruct", str(source), *flags, "--save_dir", str(tmp_path / "out")])
    assert words in capsys.readouterr().err


@pytest.mark.parametrize("mode", ["tiles", "stages"])
@pytest.mark.parametrize("name", ["dct", "tiny"])
def test_work_of_a_record_is_that_of_a_plan(name, mode):
    model, size, tiling = small_model(name), (22, 130, 100), wb.Tiling(**TILES, tile_overlap_factor=0.5).in_mode(mode)
    work = ran(model, size, Choice(tiling)).work
    assert work == pytest.approx(coding_cost(model, size, tiling).work, rel=0.01)  # parts of both have other shares
    assert work > 2 if mode == "tiles" else work == 1


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"memory_gb": 8.0}, "`memory_gb`: only `tiling_mode` auto goes by it"),
        ({"memory_gb": 8.0, "tiling_mode": "stages"}, "`memory_gb`: only `tiling_mode` auto goes by it"),
        ({"push_frames": 2, "tiling_mode": "tiles"}, "`push_frames`: nothing is streamed in tiles"),
        ({"push_frames": 2}, "`push_frames`: video_dc_ae is run in tiles, .* or add `tiling_mode` stages"),
        ({"push_frames": 2, "tiling_mode": None, "spatial_tile_size": 64}, "`push_frames`: a tile size asks for tiles"),
    ],
)
def test_what_a_mode_has_no_use_for_is_refused(ae, settings, message):
    with pytest.raises(ConfigError, match=message):
        encode_plan(ae, SIZE, wb.Tiling(**settings))


def test_a_command_refuses_what_a_mode_has_no_use_for_before_it_begins(tmp_path, capsys):
    source = write_clip(tmp_path / "in.mkv", 2, 32, 32)
    flags = "--model.spatial_tile_size", "32", "--model.push_frames", "2", "--save_dir", str(tmp_path / "out")
    for command in (["reconstruct", str(source)], ["encode", "--dataset.data_path", str(source)]):
        with pytest.raises(SystemExit):
            main("workbench", COMMANDS, [*command, *flags, "--model", "dct", "--device", "cpu"])
        assert "--model.push_frames: a tile size asks for tiles" in capsys.readouterr().err
    assert not [path for path in (tmp_path / "out").rglob("*") if path.is_file()]


def test_a_mode_keeps_only_what_it_has_a_use_for():
    asked = wb.Tiling(tiling_mode="auto", memory_gb=8.0, push_frames=3, spatial_tile_size=64)
    tiles = wb.Tiling(tiling_mode="tiles", spatial_tile_size=64)
    assert asked.in_mode("tiles") == tiles
    assert asked.in_mode("stages", 2) == wb.Tiling(tiling_mode="stages", push_frames=2, spatial_tile_size=64)
    assert asked.in_mode("auto") == asked


def test_limits_of_control_groups_are_limits(tmp_path):
    """Those of the groups above, too; what is used counts without caches."""
    for folder, limit, used, cache in (("", "max", 5, 1), ("job", "1000", 700, 100), ("job/step", "max", 300, 50)):
        group = tmp_path / folder
        group.mkdir(exist_ok=True)
        (group / "memory.max").write_text(f"{limit}\n")
        (group / "memory.current").write_text(f"{used}\n")
        (group / "memory.stat").write_text(f"anon 1\ninactive_file {cache}\n")
    own = tmp_path / "own"
    for path in ("/job/step", "/job"):
        own.write_text(f"0::{path}\n")
        assert list(left_of_groups(own, tmp_path)) == [400]
    own.write_text("0::/of/outside\n")
    assert list(left_of_groups(own, tmp_path / "job")) == [400]  # a container's own group lies at the root
    older = tmp_path / "memory" / "group"
    older.mkdir(parents=True)
    for name, text in (("limit_in_bytes", "900"), ("usage_in_bytes", "500"), ("stat", "total_inactive_file 20")):
        (older / f"memory.{name}").write_text(text)
    own.write_text("4:memory:/group\n3:cpu:/elsewhere\n")
    assert list(left_of_groups(own, tmp_path)) == [420]
    own.unlink()  # a kernel that knows no groups
    assert list(left_of_groups(own, tmp_path)) == []


MEASURED = """
import sys, torch, workbench as wb
from workbench.allocator import _set
from workbench.memory import watch_peak_memory
from workbench.models.cost import coding_cost
from workbench.models.registry import build_autoencoder
_set({-3: 65536, -1: 0})  # everything that is freed goes back at once
torch.set_num_threads(1)
depths = {"encoder_depths": (1,) * 6, "decoder_depths": (1,) * 6}
ae = build_autoencoder("video_dc_ae", {"widths": (16, 16, 32, 32, 32, 32), "latent_channels": 8} | depths).eval()
size = 8, 192, 192
for mode, push in (("tiles", None), ("stages", 4), ("frames", 1), ("windows", 2)):
    tiling = wb.Tiling(tiling_mode=mode, push_frames=push, spatial_tile_size=128)
    cost, x = coding_cost(ae, size, tiling), torch.rand(1, 3, *size) * 2 - 1
    wb.decode_tiled(ae, wb.encode_tiled(ae, x[:, :, :, :64, :64], tiling), tiling)  # the first run makes tables
    for direction, code, given in (("encode", wb.encode_tiled, x), ("decode", wb.decode_tiled, None)):
        peak = watch_peak_memory(ae.device)
        z = code(ae, z if given is None else given, tiling)
        print(mode, direction, cost.peak_bytes_of(direction) + z.nbytes, peak() * 1e6)
"""


def test_views_of_weights_take_no_memory():
    weight, added = torch.empty(8, 4, device="meta"), 2 * 4 * 8
    with Counter() as counter:
        before, after = weight.chunk(2)
        assert counter.bytes == 0
        y = torch.empty(2, 4, device="meta") @ weight.t()
        assert (counter.bytes, counter.peak_bytes) == (added, added + 2 * 4 * 4)
        del y, before, after
    assert counter.bytes == 0


@pytest.mark.skipif(sys.platform != "linux", reason="the peak is known on Linux only")
def test_memory_is_what_was_predicted():
    done = subprocess.run([sys.executable, "-c", MEASURED], capture_output=True, text=True, check=False)
    rows = [line.split() for line in done.stdout.splitlines()]
    assert len(rows) == 8, done.stderr[-2000:]
    for mode, direction, predicted, measured in rows:
        assert 0.9 < float(predicted) / float(measured) < 1.35, (mode, direction)


def test_what_suits_a_model_is_tiled_where_memory_runs_out():
    def attempt(tiling):
        yield from ()
        if tiling.tiling_mode != "tiles":
            raise DeviceMemoryError("out of memory")
        return "done"

    dct = small_model("dct")
    result, choice = drain(within_memory(dct, (4, 64, 64), wb.Tiling(), attempt))
    assert result == "done"
    assert choice.reason == "tiles instead, which need less memory; memory ran out with stages, 4 frames at once"


LIMITED = """
import resource, sys, torch, workbench as wb
torch.set_num_threads(1)
ae = wb.load_autoencoder("dct")
import workbench.models.cost
wb.reconstruct_file(ae, sys.argv[1], sys.argv[2], wb.Tiling(tiling_mode="stages"))
used = int(open("/proc/self/statm").read().split()[0]) * 4096
resource.setrlimit(resource.RLIMIT_AS, (used + int(sys.argv[3]),) * 2)
tiling = wb.Tiling(tiling_mode="auto", spatial_tile_size=64, temporal_tile_size=8, **eval(sys.argv[4]))
print(wb.reconstruct_file(ae, sys.argv[1], sys.argv[2], tiling).ran.chosen)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="limits the memory of a process")
@pytest.mark.parametrize(
    ("limit", "settings", "words"),
    [
        (300_000_000, {"memory_gb": 50.0, "push_frames": 400}, "memory ran out with stages, 400 frames at once"),
        (400_000_000, {}, "auto took stages, 4 frames at once: 0.1"),
    ],
)
def test_a_real_lack_of_memory_is_got_over(tmp_path, limit, settings, words):
    """What was said to be there is not; and a limit that nobody named is known."""
    source = write_clip(tmp_path / "in.mkv", 120, 512, 512)
    command = [sys.executable, "-c", LIMITED, str(source), str(tmp_path / "out.mkv"), str(limit), repr(settings)]
    one_heap = os.environ | {"MALLOC_ARENA_MAX": "1"}  # that of every thread of an encoder would reserve 64 MB
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=one_heap)
    assert words in done.stdout, done.stderr[-2000:]
    assert wb.read_video(tmp_path / "out.mkv").num_frames == 120
