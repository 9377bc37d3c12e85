"""Side-by-side frames, tables that are safe to open anywhere, and figures."""

import csv
import json
import math
from pathlib import Path

import plotly.graph_objects as go
import pytest
import torch

from workbench.compare.figures import metric_curves
from workbench.compare.palette import COLOURS
from workbench.compare.side_by_side import absolute_difference, side_by_side
from workbench.compare.tables import frame_rows, text_table
from workbench.course.pictures import difference_heatmap
from workbench.errors import FileError, ShapeError
from workbench.files import csv_cell, write_csv, write_json


def clip(frames: int, height: int, width: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (frames, 3, height, width), dtype=torch.uint8, generator=generator)


# Side by side


def test_panels_are_the_untouched_frames_from_left_to_right():
    original, output = clip(3, 48, 64), clip(3, 48, 64, seed=1)
    picture = side_by_side({"original": original, "dct": output})
    assert picture.dtype == torch.uint8
    assert torch.equal(picture[:, :, -48:, :64], original)
    assert torch.equal(picture[:, :, -48:, -64:], output)


def test_the_difference_panel_is_amplified_and_clipped():
    original = torch.full((1, 3, 40, 40), 100, dtype=torch.uint8)
    output = original.clone()
    output[:, :, :20] = 103
    output[:, 0, 20:] = 0
    picture = side_by_side({"original": original, "dct": output}, difference_gain=8)
    difference = picture[0, :, -40:, -40:]
    assert torch.equal(difference[:, :20], torch.full((3, 20, 40), 24, dtype=torch.uint8))
    assert difference[0, 20:].min() == 255
    assert difference[1:, 20:].max() == 0
    assert torch.equal(absolute_difference(output, original, 8), absolute_difference(original, output, 8))


def test_labels_stand_above_the_panels_and_differ():
    frames = clip(1, 60, 120)
    first = side_by_side({"original": frames, "dct": frames})
    second = side_by_side({"original": frames, "tiny": frames})
    strip = first.shape[2] - 60
    assert not torch.equal(first[:, :, :strip, -120:], second[:, :, :strip, -120:])
    assert torch.equal(first[:, :, strip:], second[:, :, strip:])
    assert torch.equal(first[:, :, :, :120], second[:, :, :, :120])
    assert first[:, :, :strip].max() > 200, "the text is bright"


@pytest.mark.parametrize(("height", "width"), [(1, 1), (3, 5), (33, 47), (720, 10), (1080, 64)])
def test_any_size_and_label_gives_even_sides(height, width):
    frames = clip(1, height, width)
    labels = ["", "very long " * 30, "строка\n改行 <b>"]
    picture = side_by_side({label: frames for label in labels}, difference_gain=2.5)
    assert picture.shape[2] % 2 == picture.shape[3] % 2 == 0
    assert torch.equal(picture[:, :, picture.shape[2] - height - (height % 2 and 1) :, :width][:, :, :height], frames)


def test_slabs_give_the_frames_of_the_whole_clip():
    original, output = clip(5, 24, 32), clip(5, 24, 32, seed=1)
    whole = side_by_side({"a": original, "b": output}, difference_gain=4)
    slabs = [
        side_by_side({"a": x, "b": y}, difference_gain=4)
        for x, y in zip(original.split(2), output.split(2), strict=True)
    ]
    assert torch.equal(torch.cat(slabs), whole)


def test_clips_that_do_not_match_are_refused():
    frames = clip(2, 8, 8)
    for other in (frames[:1], frames.float(), frames[0], clip(2, 8, 9)):
        with pytest.raises(ShapeError, match="one shape"):
            side_by_side({"a": frames, "b": other})
    with pytest.raises(ShapeError):
        side_by_side({})


# Tables


def test_json_has_null_for_what_is_not_a_number(tmp_path):
    path = tmp_path / "metrics.json"
    write_json(path, {"psnr": [30.5, math.inf], "flicker": (math.nan, -0.5), "name": "ü\udc80", "n": 3, "none": None})
    assert json.loads(path.read_text(encoding="utf-8")) == {
        "psnr": [30.5, None],
        "flicker": [None, -0.5],
        "name": "ü\udc80",
        "n": 3,
        "none": None,
    }


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "\n=1", "＝1"])
def test_text_that_a_spreadsheet_would_run_is_escaped(text):
    assert csv_cell(text) == "'" + text


def test_numbers_and_other_text_stay_as_they_are():
    assert [csv_cell(value) for value in (-1.5, 3, True, "a=b", "", None, math.nan, -math.inf)] == [
        -1.5, 3, True, "a=b", "", "", "", "",
    ]  # fmt: skip


def test_csv_reads_back_with_any_file_name(tmp_path):
    names = ["=cmd|' /C calc'!A0.mp4", 'quote".mp4', "comma, line\nbreak.mp4", "日本.mp4", "<b>.mp4"]
    rows = [{"file": name, "psnr": -1.25} for name in names] + [{"psnr": math.nan, "=extra": 1}]
    path = tmp_path / "metrics.csv"
    write_csv(path, rows)
    with path.open(newline="", encoding="utf-8") as file:
        header, *lines = csv.reader(file)
    assert header == ["file", "psnr", "'=extra"]
    assert [line[0] for line in lines] == ["'" + names[0], *names[1:], ""]
    assert [line[1] for line in lines] == ["-1.25"] * 5 + [""]


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "metrics.json"
    write_json(path, {"old": 1})
    with pytest.raises(TypeError):
        write_json(path, {"not plain": object()})
    with pytest.raises(FileError, match="cannot be written"):
        write_csv(tmp_path / "no folder" / "metrics.csv", [{"a": 1}])
    assert json.loads(path.read_text()) == {"old": 1}
    assert [entry.name for entry in tmp_path.iterdir()] == ["metrics.json"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_is_a_clean_error(tmp_path, monkeypatch):
    def full(self, *arguments, **options):
        with open("/dev/full", "w", encoding="utf-8") as device:
            return device.write("x" * 100_000)

    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(FileError, match="No space left"):
        write_json(tmp_path / "metrics.json", {})
    assert not list(tmp_path.iterdir())


def test_frames_become_rows():
    rows = frame_rows({"psnr": [30.0, 31.0], "flicker": [math.nan, 2.0]}, timestamps_s=[0.0, 0.04])
    assert rows[1] == {"frame": 1, "time_s": 0.04, "psnr": 31.0, "flicker": 2.0}
    assert list(frame_rows({"psnr": [30.0]})[0]) == ["frame", "psnr"]
    with pytest.raises(ValueError, match="shorter"):
        frame_rows({"psnr": [30.0, 31.0], "ssim": [1.0]})


def test_the_terminal_table_is_aligned_and_shows_no_control_characters():
    table = text_table([{"clip": "a\x1b[2J\n.mp4", "psnr": 30.123456}, {"clip": "long name.mp4", "psnr": math.nan}])
    assert table.splitlines() == [
        "clip             psnr",
        "--------------  -----",
        "a\\x1b[2J\\n.mp4  30.12",
        "long name.mp4       -",
    ]


# Figures


def test_curves_hold_the_values_and_labels_are_escaped():
    metrics = {"psnr": [30.0, 31.0, 29.0], "flicker": [math.nan, 1.0, 2.0]}
    figure = metric_curves({"<b>a</b>.mp4": metrics, "dct": {"psnr": [1.0, 2.0, 3.0]}}, timestamps_s=[0, 0.1, 0.2])
    assert list(figure.data[0].y) == [30.0, 31.0, 29.0]
    assert len(figure.data) == 3
    assert figure.data[0].name == "&lt;b&gt;a&lt;/b&gt;.mp4"
    assert [trace.showlegend for trace in figure.data] == [True, False, True]
    assert [title.text for title in figure.layout.annotations] == [
        "PSNR (dB) ↑",
        "Flicker (grey levels) ↓",
    ]
    assert [axis.dtick for axis in figure.select_xaxes()] == [1, 1]  # no ticks at half frames
    json.loads(figure.to_json())


def test_curves_have_the_colours_of_the_other_charts():
    figure = metric_curves({str(number): {"psnr": [30.0]} for number in range(len(COLOURS))})
    assert tuple(trace.line.color for trace in figure.data) == COLOURS


def test_a_heatmap_holds_mean_absolute_differences_at_their_place():
    original = torch.zeros(3, 700, 900, dtype=torch.uint8)
    output = original.clone()
    output[0, 600:603, 300:303] = 90
    heatmap = difference_heatmap(original, output).data[0]
    assert isinstance(heatmap, go.Heatmap)
    assert (len(heatmap.z), len(heatmap.z[0])) == (234, 300)
    assert heatmap.z[200][100] == pytest.approx(30)
    assert (heatmap.x0 + 100 * heatmap.dx, heatmap.y0 + 200 * heatmap.dy) == (301, 601)
    with pytest.raises(ShapeError):
        difference_heatmap(original, output[:, 1:])
