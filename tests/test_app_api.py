"""The endpoints for programs, through gradio_client as the README calls them."""

import csv
import re
from pathlib import Path

import pytest
from app_server import REPOSITORY, running_app, wait_for

from workbench.jobs.folders import JobFolders
from workbench.jobs.loaded import LoadedModel
from workbench.jobs.queue import JobQueue
from workbench.latents.shards import read_shard
from workbench.media.files import EXAMPLES
from workbench.media.reader import read_video

SMALL = {"max_frames": 4, "resolution": "64"}


@pytest.fixture(scope="module")
def temporary(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("app")


@pytest.fixture(scope="module")
def address(temporary: Path):
    with running_app(temporary) as address:
        yield address


@pytest.fixture
def client(address: str, tmp_path: Path):
    from gradio_client import Client

    client = Client(address, verbose=False, download_files=tmp_path)
    yield client
    client.close()


@pytest.fixture
def clip():
    from gradio_client import handle_file

    return handle_file(str(EXAMPLES / "signing.mp4"))


def test_a_clip_is_reconstructed_into_files_and_figures_and_nothing_is_left(client, clip, temporary: Path) -> None:
    files, figures = client.predict(clip=clip, model="dct", **SMALL, api_name="/reconstruct")
    assert set(files) == {"reconstruction", "side_by_side", "metrics_csv", "metrics_json", "report"}
    assert read_video(files["reconstruction"]).frames.shape == (4, 3, 64, 86)  # an even width, as H.264 takes
    assert figures["model"] == "dct"
    with open(files["metrics_csv"], newline="") as file:
        rows = list(csv.DictReader(file))
    assert figures["psnr"] == pytest.approx(sum(float(row["psnr"]) for row in rows) / 4)
    client.close()
    wait_for(lambda: not list(temporary.glob("workbench-*/api/*")), 60)


def test_models_are_compared(client, clip) -> None:
    files, figures = client.predict(clip=clip, models=["dct", "tiny"], **SMALL, api_name="/compare")
    assert list(figures) == ["dct", "tiny"]
    assert figures["tiny"]["psnr"] > 20
    with open(files["results_csv"], newline="") as file:
        assert [row["model"] for row in csv.DictReader(file)] == ["dct", "tiny"]
    assert read_video(files["comparison"]).num_frames == 4
    page = Path(files["report"]).read_text()
    assert page.count("worst frame") >= 2
    assert not re.search(r"<(script|link|img)[^>]*(src|href)=.?http", page), "the report needs the network"


def test_latents_and_seams_are_told(client, clip) -> None:
    files, facts = client.predict(clip=clip, model="dct", **SMALL, api_name="/latents")
    assert facts["shape"] == [128, 1, 2, 3]
    assert read_shard(Path(files["latents"])).facts["model"] == "dct"
    seams = client.predict(clip=clip, model="tiny", tile_side=32, **SMALL, api_name="/seams")
    assert seams["tiles"] > 1
    assert seams["width"]["ratio"] > 0


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"model": "nope"}, "no such model here"),
        ({"tile_side": 100}, "Tile side: 100 is no multiple of 32"),
        ({"model": "tiny@/etc/passwd"}, "outside the folder"),
    ],
)
def test_errors_are_errors(client, clip, changes: dict, reason: str) -> None:
    with pytest.raises(Exception, match=reason):
        client.predict(clip=clip, **SMALL | changes, api_name="/reconstruct")


def test_only_what_was_sent_is_read(tmp_path: Path) -> None:
    import gradio as gr

    from workbench.ui.api import Api

    sent = tmp_path / "ab12" / "clip.mp4"
    sent.parent.mkdir()
    sent.write_bytes(b"")
    (tmp_path / "link.mp4").symlink_to(REPOSITORY / "README.md")
    with gr.Blocks():
        api = Api(JobFolders(tmp_path / "jobs"), JobQueue(), LoadedModel(), tmp_path, tmp_path)
    assert api._path_of({"path": str(sent)}) == str(sent)
    for path in ("/etc/passwd", str(REPOSITORY / "README.md"), f"{tmp_path}/../x", str(tmp_path / "link.mp4")):
        with pytest.raises(gr.Error, match="send a file"):
            api._path_of({"path": path})


def test_the_examples_of_the_readme_run(address, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = (REPOSITORY / "README.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"```python\n(from gradio_client.*?)```", text, re.DOTALL)
    monkeypatch.chdir(tmp_path)
    code = code.replace("http://127.0.0.1:7860", address).replace("workbench/examples", str(EXAMPLES))
    names: dict = {}
    exec(code, names)
    assert names["figures"]["psnr"] > 20
    assert len(names["compared"]) == 2
