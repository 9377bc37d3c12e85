"""The fault suite: every figure by hand, and planted faults, each found by the figure that should find it."""

import json
import math
import shutil

import pytest
import torch
from torch import Tensor

from workbench.__main__ import COMMANDS
from workbench.cli import main
from workbench.errors import ShapeError
from workbench.media.files import EXAMPLES
from workbench.models.dct import DCT, DCTConfig
from workbench.steps import drain
from workbench.suite import figures as f
from workbench.suite.clips import CLIPS, COLOURS, FRAMES, SIDE
from workbench.suite.measure import FIGURES, faults_steps, verdict
from workbench.suite.reading import letters_read, written
from workbench.suite.rounds import rounds_steps
from workbench.suite.run import model_faults_steps
from workbench.tile_settings import Tiling

TILES = Tiling(tiling_mode="tiles", spatial_tile_size=64, tile_overlap_factor=0.0)


class Planted(DCT):
    """The linear baseline with a fault in its decoder."""

    default_tiling_mode = "tiles"

    def __init__(self, fault=lambda y: y) -> None:
        super().__init__(DCTConfig())
        self.fault = fault

    def _decode(self, z: Tensor, num_frames: int) -> Tensor:
        return self.fault(super()._decode(z, num_frames))


def shadow(y: Tensor) -> Tensor:
    """Darker towards the right of whatever is decoded at once, as a network leans on its tile's position."""
    return y - torch.linspace(0, 0.3, y.shape[4])


def late(y: Tensor) -> Tensor:
    """Without one frame of the middle: all later ones come a frame too early."""
    return torch.cat([y[:, :, :9], y[:, :, 10:], y[:, :, -1:]], dim=2) if y.shape[2] > 9 else y


def overflown(y: Tensor) -> Tensor:
    return (y.half() * 6e4 / 6e4).float() if y.abs().max() > 1.0 else y


def of_whole_groups(y: Tensor) -> Tensor:
    """Fails where a clip has a rest beyond its last group but one."""
    if y.shape[2] == 8:
        raise ShapeError("two groups are too many")
    return y


FAULTS = {
    "gain_red": lambda y: 1.3 * y,
    "bias_blue": lambda y: y - 0.1,
    "order": lambda y: y.flip(1),
    "misplaced": late,
    "not_finite": overflown,
    "tiles": shadow,
    "counts": of_whole_groups,
    "flicker": lambda y: y + 0.05 * torch.tensor([1.0, -1.0]).repeat(y.shape[2])[: y.shape[2], None, None],
    "grid": lambda y: y + 0.08 * (torch.arange(y.shape[4]) % 8 < 4),
    "position": lambda y: y + torch.tensor([0.0, 0.0, 0.0, 0.6]).repeat(y.shape[2])[: y.shape[2], None, None],
    "cut_leak": lambda y: torch.cat([y[:, :, :1], 0.5 * (y[:, :, 1:] + y[:, :, :-1])], dim=2),
    "ends": lambda y: torch.cat([y[:, :, :1] + 0.8, y[:, :, 1:]], dim=2),
}


@pytest.fixture(scope="module")
def sound() -> dict[str, float]:
    return drain(faults_steps(Planted(), TILES))


def test_the_linear_baseline_has_no_fault_but_its_blocks(sound):
    assert list(sound) == [name for name in FIGURES if not name.startswith("read_")]
    assert {name for name, value in sound.items() if verdict(name, value) not in ("good", "")} <= {"cells"}
    assert verdict("cells", sound["cells"]) != "bad"
    assert (sound["grid"], sound["flicker"], sound["gain_red"]) == pytest.approx((0, 0, 1), abs=1e-3)


@pytest.mark.parametrize("name", FAULTS)
def test_a_planted_fault_is_found_by_the_figure_that_should_find_it(sound, name):
    found = drain(faults_steps(Planted(FAULTS[name]), TILES))
    assert verdict(name, found[name]) == "bad"
    assert verdict(name, sound[name]) != "bad"


def test_a_model_that_overflows_everywhere_fails_every_number_of_frames_and_leaves_the_rounds_out():
    found = drain(model_faults_steps(Planted(lambda y: y * math.nan), TILES, rounds=1))
    assert found.figures["counts"] == 9.0
    assert found.rounds == {}
    assert all("not finite" in reason for reason in found.left_out.values())
    assert len(found.left_out) == 3


def test_clips_are_what_they_say():
    for name, clip in CLIPS.items():
        frames = clip()
        assert (frames.dtype, frames.shape) == (torch.uint8, (FRAMES, 3, SIDE, SIDE)), name
    assert all((CLIPS[colour]() == torch.tensor(COLOURS[colour]).view(3, 1, 1)).all() for colour in COLOURS)
    text, edge = CLIPS["moving text"](), CLIPS["moving edge"]()
    assert torch.equal(text[1, :, :, :-1], text[0, :, :, 1:])
    assert (edge[5].float().mean() - edge[4].float().mean()).item() == pytest.approx(130 * 4 / SIDE, rel=0.2)


def test_the_grid_of_a_flat_colour_is_the_deviation_over_space():
    y = torch.full((2, 3, 8, 8), 100.0)
    assert f.grid_level(y) == pytest.approx(0.0, abs=1e-9)
    y[1, 2, ::2] += 6.0
    assert f.grid_level(y) == pytest.approx(3.0)


def test_jumps_at_borders_over_those_elsewhere():
    x = torch.zeros(2, 3, 16, 16)
    blocks = torch.arange(16) // 4 * 2.0
    y = x + blocks + 0.1 * (torch.arange(16) % 2)
    rows_elsewhere, columns_elsewhere, at = 12 * 0.0, 12 * 0.1, 3 * 1.9
    assert f.border_ratio(x, y, 4) == pytest.approx((at / 6) / ((rows_elsewhere + columns_elsewhere) / 24))
    assert math.isnan(f.border_ratio(x, x, 4))


def test_places_in_a_group_and_ends():
    values = torch.tensor([20.0, 31, 32, 33, 30, 31, 32, 33, 30, 31, 32, 33, 30, 31, 32, 25])
    assert f.position_spread(values, 4) == 3.0
    assert f.end_gap(values, 4) == 11.0


def test_gain_and_bias_are_those_of_the_line():
    x = CLIPS["ramp"]().float()
    gain, bias = f.gains(x, 0.8 * x + torch.tensor([10.0, 0.0, 30.0]).view(3, 1, 1))
    assert gain.tolist() == pytest.approx([0.8] * 3)
    assert bias.tolist() == pytest.approx([10 - 25.5, -25.5, 30 - 25.5])


def test_a_bright_frame_that_leaks_is_seen_in_its_neighbours():
    x = CLIPS["flash"]().float()
    y = x.clone()
    y[9] += 40.0
    assert f.leak(x, y, 9, 11) == pytest.approx(40.0)
    assert f.leak(x, x + 5.0, 9, 11) == 0.0


@pytest.mark.skipif(shutil.which("tesseract") is None, reason="the program tesseract is not here")
def test_text_is_read_less_the_less_of_it_is_left(sound):
    large, small = (written(size).float() for size in (32, 12))
    assert letters_read(large, large) == letters_read(small, small) == 1.0
    blurred = torch.nn.functional.avg_pool2d(small, 9, stride=1, padding=4)
    assert letters_read(small, blurred) < 0.5
    assert letters_read(large, torch.full_like(large, 128.0)) == 0.0


def test_text_is_not_read_without_the_program(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SystemExit, match="2"):
        main(
            "workbench", COMMANDS, ["evaluate", "--suite", "faults", "--ocr", "True", "--save_dir", str(tmp_path / "o")]
        )
    assert "--ocr: needs the program Tesseract" in capsys.readouterr().err
    assert not (tmp_path / "o").exists()


def test_several_ranks_are_refused(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("RANK", "0")
    with pytest.raises(SystemExit, match="2"):
        main("workbench", COMMANDS, ["evaluate", "--suite", "faults", "--save_dir", str(tmp_path / "o")])
    assert "--suite works in one process: start it without torchrun" in capsys.readouterr().err
    assert not (tmp_path / "o").exists()


def test_rounds_of_the_linear_baseline_lose_only_once_and_a_gain_adds_up():
    clip = CLIPS["ramp"]()[:4]
    still, drifting = (drain(rounds_steps(ae, clip, 4, Tiling())) for ae in (Planted(), Planted(lambda y: y + 0.02)))
    assert still[-1].psnr == pytest.approx(still[0].psnr, abs=0.5)
    assert [one.red for one in drifting] == pytest.approx([2.55 * n for n in (1, 2, 3, 4)], abs=0.8)


def test_the_command_writes_a_page_and_goes_on_where_it_was(tmp_path, capsys):
    command = ["evaluate", "--suite", "faults", "--rounds", "1", "--save_dir", str(tmp_path), "--device", "cpu"]
    main("workbench", COMMANDS, [*command, "--models", "dct"])
    first = json.loads((tmp_path / "faults.json").read_text())
    first["models"]["dct"]["figures"]["grid"] = 77.0
    (tmp_path / "faults.json").write_text(json.dumps(first))
    main("workbench", COMMANDS, [*command, "--models", "dct"])
    said = capsys.readouterr().out
    assert "77 bad" in said  # taken from the file, not measured again
    page = (tmp_path / "faults.html").read_text()
    assert "contrast" in page
    assert "src=" not in page.split("<script>")[0]
    clips = ["--dataset.data_path", str(EXAMPLES / "bunny.mp4"), "--max_frames", "4", "--resolution", "64"]
    main("workbench", COMMANDS, ["evaluate", *clips, "--models", "dct", "--save_dir", str(tmp_path), "--device", "cpu"])
    assert '<a href="faults.html">' in (tmp_path / "leaderboard.html").read_text()
    with pytest.raises(SystemExit, match="2"):
        main("workbench", COMMANDS, [*command[:4], "2", *command[5:], "--models", "dct"])
    assert "holds a fault suite under other settings" in capsys.readouterr().err
    (tmp_path / "faults.json").write_text('{"settings": ')
    with pytest.raises(SystemExit, match="2"):
        main("workbench", COMMANDS, [*command, "--models", "dct"])
    assert "its faults.json is damaged" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--suite", "faults", "--max_frames", "3"], "--max_frames: --suite faults draws its own clips"),
        (["--suite", "faults", "--dataset.data_path", "clips"], "draws its own clips"),
        (["--ocr", "True"], "--ocr: is a setting of --suite faults"),
    ],
)
def test_settings_that_would_not_be_looked_at_are_refused(tmp_path, capsys, flags, said):
    with pytest.raises(SystemExit, match="2"):
        main("workbench", COMMANDS, ["evaluate", *flags, "--save_dir", str(tmp_path / "out")])
    assert said in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
