"""An index describes a folder, is read back from CSV or Parquet, and its faults are named."""

import csv

import pyarrow as pa
import pyarrow.parquet as pa_parquet
import pytest
from clips import moving_frames, write_clip

from workbench.data.indexing import build_index
from workbench.errors import DataError, FileError
from workbench.media.image import write_image
from workbench.media.index import COLUMNS, Clip, read_index


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Two clips, one below and one whose header does not state its length, an image, and two broken files."""
    root = tmp_path_factory.mktemp("clips")
    (root / "deep" / "er").mkdir(parents=True)
    write_clip(root / "wide.mp4", 10, 48, 64)
    write_clip(root / "deep" / "er" / "tall.mkv", 7, 64, 48)
    write_image(moving_frames(1, 30, 40)[0], root / "deep" / "photo.png")
    (root / "empty.mp4").write_bytes(b"")
    (root / "text.mp4").write_text("hello")
    (root / "notes.txt").write_text("not media")
    return root


def rows_of(path):
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def write_rows(path, rows, encoding="utf-8"):
    with path.open("w", encoding=encoding, newline="") as file:
        writer = csv.DictWriter(file, rows[0].keys())
        writer.writeheader()
        writer.writerows(rows)
    return path


@pytest.fixture
def rows(tmp_path):
    """Rows as Open-Sora writes them, with a caption, of two files that exist."""
    for name in ("a.mp4", "b.mp4"):
        (tmp_path / name).write_bytes(b"")
    common = {"num_frames": "51.0", "height": "360", "width": "640", "aspect_ratio": "0.5625", "resolution": "230400"}
    return [
        {"path": str(tmp_path / name), "text": 'a "cat",\nrunning', **common, "fps": "29.97", "aes": "5.1"}
        for name in ("a.mp4", "b.mp4")
    ]


@pytest.mark.parametrize("extension", [".csv", ".parquet"])
def test_a_folder_becomes_an_index_with_its_images_and_lists_what_cannot_be_read(folder, tmp_path, extension):
    report = build_index(folder, tmp_path / f"data{extension}", progress=False)
    assert (report.num_videos, report.num_images) == (2, 1)
    assert {path.rsplit("/")[-1]: "empty" in why for path, why in report.failed.items()} == {
        "empty.mp4": True,
        "text.mp4": False,
    }
    index = read_index(report.path)
    assert {clip.path.removeprefix(f"{folder}/"): clip for clip in index.clips} == {
        "wide.mp4": Clip(str(folder / "wide.mp4"), 10, 48, 64, 25.0),
        "deep/er/tall.mkv": Clip(str(folder / "deep/er/tall.mkv"), 7, 64, 48, 25.0),
        "deep/photo.png": Clip(str(folder / "deep/photo.png"), 1, 30, 40, 0.0),
    }


def test_the_columns_are_those_of_open_sora(folder, tmp_path):
    build_index(folder, tmp_path / "data.csv", progress=False)
    rows = rows_of(tmp_path / "data.csv")
    assert tuple(rows[0]) == COLUMNS
    tall = next(row for row in rows if row["path"].endswith("tall.mkv"))
    assert float(tall["aspect_ratio"]) == pytest.approx(64 / 48)
    assert tall["resolution"] == str(64 * 48)
    assert next(row for row in rows if row["path"].endswith(".png"))["fps"] == ""


def test_paths_below_the_index_are_relative_to_it_so_that_the_folder_can_move(tmp_path):
    (tmp_path / "old").mkdir()
    write_clip(tmp_path / "old" / "=cmd.mp4", 3, 16, 16)
    write_clip(tmp_path / "old" / 'two\nlines, "quoted".mp4', 3, 16, 16)
    build_index(tmp_path / "old", tmp_path / "old" / "data.csv", progress=False)
    assert rows_of(tmp_path / "old" / "data.csv")[0]["path"] == "./=cmd.mp4"
    (tmp_path / "old").rename(tmp_path / "new")
    index = read_index(tmp_path / "new" / "data.csv")
    assert index.base == tmp_path / "new"
    assert [clip.num_frames for clip in index.clips] == [3, 3]


@pytest.mark.parametrize(
    ("folder", "out", "message"),
    [
        ("missing", "data.csv", "'.*missing': not a folder"),
        ("bare", "data.csv", "no video or image"),
        ("broken", "data.csv", "none of its 1 media files can be read; the first: .*empty"),
        ("broken", "data.txt", "ends in .csv or .parquet"),
    ],
)
def test_a_folder_without_clips_is_refused_and_nothing_is_written(tmp_path, folder, out, message):
    (tmp_path / "bare").mkdir()
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "empty.mp4").write_bytes(b"")
    with pytest.raises(DataError, match=message):
        build_index(tmp_path / folder, tmp_path / out, progress=False)
    assert not list(tmp_path.glob("*data*"))


def test_an_index_that_cannot_be_written_leaves_the_old_one(folder, tmp_path):
    with pytest.raises(FileError, match="cannot be written"):
        build_index(folder, tmp_path / "no" / "data.csv", progress=False)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_an_open_sora_csv_is_read_as_it_is_with_or_without_a_byte_order_mark(tmp_path, rows, encoding):
    unread = {**rows[1], "num_frames": "0", "height": "0", "width": "0", "aspect_ratio": "", "fps": ""}
    index = read_index(write_rows(tmp_path / "data.csv", [rows[0], unread], encoding))
    assert index.clips == [Clip(rows[0]["path"], 51, 360, 640, 29.97)]
    assert list(index.skipped) == [unread["path"]]
    assert index.base is None


def test_parquet_with_other_columns_is_read(tmp_path, rows):
    table = pa.Table.from_pylist([{**row, "num_frames": 51, "height": 360, "width": 640, "fps": 24} for row in rows])
    pa_parquet.write_table(table, tmp_path / "data.parquet")
    assert [clip.fps for clip in read_index(tmp_path / "data.parquet").clips] == [24.0, 24.0]


def test_a_very_long_caption_is_no_obstacle(tmp_path, rows):
    rows[0]["text"] = "word " * 500_000
    assert len(read_index(write_rows(tmp_path / "data.csv", rows)).clips) == 2


def test_relative_paths_are_taken_from_the_working_directory_if_none_is_beside_the_index(tmp_path, rows, monkeypatch):
    (tmp_path / "elsewhere").mkdir()
    named = [{**row, "path": row["path"].rsplit("/")[-1]} for row in rows]
    path = write_rows(tmp_path / "elsewhere" / "data.csv", named)
    monkeypatch.chdir(tmp_path)
    index = read_index(path)
    assert index.base == tmp_path
    assert index.clips[0].path == rows[0]["path"]


@pytest.mark.parametrize("column", ["path", "num_frames", "height", "width", "fps"])
def test_a_missing_column_is_named(tmp_path, rows, column):
    less = [{name: value for name, value in row.items() if name != column} for row in rows]
    with pytest.raises(DataError, match=f"data.csv': the index has no column '{column}'"):
        read_index(write_rows(tmp_path / "data.csv", less))


@pytest.mark.parametrize("extension", [".csv", ".parquet"])
def test_a_file_that_is_gone_names_its_row_and_leaves_the_others(tmp_path, rows, extension):
    rows.insert(1, {**rows[0], "path": "gone.mp4"})
    rows.append({**rows[1], "path": "gone.mp4"})
    path = tmp_path / f"data{extension}"
    if extension == ".csv":
        write_rows(path, rows)
    else:
        numbers = {"num_frames": 51, "height": 360, "width": 640, "fps": 24}
        pa_parquet.write_table(pa.Table.from_pylist([{**row, **numbers} for row in rows]), path)
    index = read_index(path)
    assert [clip.path for clip in index.clips] == [rows[0]["path"], rows[2]["path"]]
    places = "line 4, line 8" if extension == ".csv" else "row 2, row 4"  # captions take two lines each
    assert index.skipped == {str(tmp_path / "gone.mp4"): f"{places}: no such file"}
    assert index.warning == f"'{path}': 1 of 3 files left out: '{tmp_path}/gone.mp4': {places}: no such file"


def test_an_index_whose_files_are_all_gone_is_refused(tmp_path, rows):
    for row in rows:
        row["path"] = "gone.mp4"
    with pytest.raises(DataError, match=r"none of its 2 paths is a file: 'gone.mp4', 'gone.mp4' \(relative paths are"):
        read_index(write_rows(tmp_path / "data.csv", rows))


@pytest.mark.parametrize("missing", ["nan", "NA", "", "null", "None", "inf", "0", "-3"])
def test_a_row_without_a_size_is_named(tmp_path, rows, missing):
    index = read_index(write_rows(tmp_path / "data.csv", [rows[0], {**rows[1], "height": missing}]))
    assert index.skipped == {rows[1]["path"]: "line 4: the index states no number of frames or no size for it"}


HEADER = "path,text,num_frames,height,width,fps\n"
OPEN_QUOTES = {
    "to the end": ('{0},"a cat,51,360,640,24\n' + "{1},a dog,51,360,640,24\n" * 50, "line 2: a quote that begins"),
    "to the next quote": ('{0},"a cat,51,360,640,24\n{1},"a dog",51,360,640,24\n', "line 2: a quote that begins"),
    "in the middle": ("{0},a cat,51,360,640,24\n" * 9 + '{1},"a dog,51,360,640,24\n', "line 11: a quote that begins"),
    "closed by a quoted quote": (
        '{0},"a cat,51,360,640,24\n{1},"""a dog"" barks",51,360,640,24\n',
        "line 2: a quote that begins",
    ),
    "commas without quotes": ("{0},a cat, a dog,51,360,640,24\n", "line 2 has 7 fields, the header 6"),
}


@pytest.mark.parametrize("case", OPEN_QUOTES)
def test_no_row_is_lost_in_a_caption_with_an_open_quote(tmp_path, rows, case):
    text, message = OPEN_QUOTES[case]
    (tmp_path / "data.csv").write_text(HEADER + text.format(rows[0]["path"], rows[1]["path"]))
    with pytest.raises(DataError, match=f"data.csv': {message}"):
        read_index(tmp_path / "data.csv")


def test_a_column_that_is_there_twice_is_named(tmp_path):
    (tmp_path / "data.csv").write_text("path,num_frames,height,width,fps,path\na.mp4,8,64,64,24,b.mp4\n")
    with pytest.raises(DataError, match="more than one column 'path'"):
        read_index(tmp_path / "data.csv")


@pytest.mark.parametrize(("separator", "name"), [(";", "semicolons"), ("\t", "tabs")])
def test_another_separator_is_named(tmp_path, separator, name):
    (tmp_path / "data.csv").write_text(HEADER.replace(",", separator))
    with pytest.raises(DataError, match=f"its columns are separated by {name}; save it with commas"):
        read_index(tmp_path / "data.csv")


def test_what_a_folder_holds_beside_is_told(folder, tmp_path):
    assert build_index(folder, tmp_path / "data.csv", progress=False).others == "1 other file left out: 'notes.txt'"
    report = build_index(folder, folder / "data.csv", progress=False)
    (folder / "data.csv").unlink()
    assert report.others == "1 other file left out: 'notes.txt'"  # not the index that is written over


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "the file is empty"),
        (b"path,num_frames,height,width,fps\n", "has no rows"),
        (b"path,num_frames,height,width,fps\na.mp4,many,3,4,5\n", "line 2: 'many' is not a number"),
        (b"path,num_frames,height,width,fps\na.mp4,,,,\n", "none of its 1 rows states"),
        (b"path,num_frames,height,width,fps\n\xff\xfe,1,3,4,5\n", "(?i)utf-?8"),
        (None, "no such index; make one with: python -m workbench index"),
    ],
)
def test_an_unusable_index_is_refused_with_its_reason(tmp_path, content, message):
    (tmp_path / "a.mp4").write_bytes(b"")
    if content is not None:
        (tmp_path / "data.csv").write_bytes(content)
    with pytest.raises(DataError, match=message) as error:
        read_index(tmp_path / "data.csv")
    assert "data.csv" in str(error.value)
    assert "\n" not in str(error.value)


def test_random_bytes_named_parquet_are_refused(tmp_path):
    (tmp_path / "data.parquet").write_bytes(bytes(range(256)) * 9)
    with pytest.raises(DataError, match="cannot be read as an index"):
        read_index(tmp_path / "data.parquet")
