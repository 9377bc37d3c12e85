"""What goes wrong behind the app's jobs, and that the next visitor's job runs all the same."""

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from app_server import wait_for
from small_models import ARCHITECTURES, small_model
from tab_parts import choices, make_run, visitor

from workbench.errors import ConfigError
from workbench.jobs.loaded import LoadedModel
from workbench.jobs.queue import CRASHED, Job, JobQueue
from workbench.jobs.shelf import Shelf
from workbench.models.ref import ModelRef
from workbench.models.weights import save_weights
from workbench.steps import Progress
from workbench.ui.run import RunPanel


@pytest.fixture
def queue() -> Iterator[JobQueue]:
    queue = JobQueue()
    yield queue
    queue.close()


@pytest.fixture
def run(tmp_path: Path) -> Iterator[RunPanel]:
    run = make_run(tmp_path, tmp_path)
    yield run
    run.shelf.queue.close()


def quick(folder: Path) -> Iterator[Progress]:
    folder.mkdir(exist_ok=True)
    yield Progress("encode", 1, 1)
    return folder.name


def failing(error: Exception) -> Callable:
    def fail(*_: object) -> Iterator[Progress]:
        raise error
        yield

    return fail


def goes_on(queue: JobQueue, tmp_path: Path) -> bool:
    job = queue.submit(Job("b", tmp_path / "next", quick, str, 1))
    return job.ended.wait(10) and job.state == "done"


# The queue


def test_a_bug_in_what_betters_a_result_is_logged_and_the_queue_goes_on(
    queue: JobQueue, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def more(result: str) -> Iterator[Progress]:
        yield Progress("measure", 1, 2)
        raise RuntimeError("out of memory")

    job = queue.submit(Job("a", tmp_path / "a", quick, str, 1, more=more))
    wait_for(lambda: "out of memory" in caplog.text, 10)
    assert goes_on(queue, tmp_path)
    assert (job.state, job.result, job.version, job.progress) == ("done", "a", 1, None)


def test_a_job_ends_though_what_follows_it_fails(
    queue: JobQueue, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def on_end(job: Job) -> None:
        raise OSError("gone")

    job = queue.submit(Job("a", tmp_path / "a", quick, str, 1, on_end=on_end))
    assert job.ended.wait(10)
    assert job.state == "done"
    assert "gone" in caplog.text
    assert goes_on(queue, tmp_path)


def test_a_bug_in_the_words_for_an_error_is_told_as_a_bug(queue: JobQueue, tmp_path: Path) -> None:
    def explain(error: Exception) -> str:
        raise KeyError("no words")

    job = queue.submit(Job("a", tmp_path / "a", failing(MemoryError()), explain, 1))
    assert job.ended.wait(10)
    worse = queue.submit(Job("a", tmp_path / "a", failing(ConfigError("x")), explain, 1))
    assert worse.ended.wait(10)
    assert (job.state, job.error) == (worse.state, worse.error) == ("failed", CRASHED)
    assert goes_on(queue, tmp_path)


def test_what_is_prepared_gives_way_to_jobs_and_leaves_nothing(queue: JobQueue, tmp_path: Path) -> None:
    done, closed = [], []

    def steps() -> Iterator[Progress]:
        try:
            for step in range(1000):
                done.append(step)
                yield Progress("load", 1, 1)
                time.sleep(0.01)
        finally:
            closed.append(True)

    queue.prepare(steps())
    wait_for(lambda: len(done) > 2, 10)
    assert goes_on(queue, tmp_path)
    assert len(done) < 1000
    queue.close()
    assert closed == [True]


# The shelf


def test_results_whose_files_go_while_they_are_counted_do_not_stop_the_shelf(queue: JobQueue, tmp_path: Path) -> None:
    shelf = Shelf(tmp_path / "jobs", queue)

    def steps(folder: Path) -> Iterator[Progress]:
        (folder / "kept").write_bytes(b"12345")
        (folder / "gone").symlink_to(folder / "nothing")  # listed, and without a size
        yield Progress("encode", 1, 1)

    job = shelf.add(lambda folder: Job("a", folder, steps, str, 1, on_end=shelf.make_room))
    assert job.ended.wait(10)
    assert shelf._bytes == {job.id: 5}


def test_a_result_that_was_removed_before_it_was_counted_takes_no_room(queue: JobQueue, tmp_path: Path) -> None:
    shelf = Shelf(tmp_path / "jobs", queue)

    def on_end(job: Job) -> None:
        shelf.remove("a", job.id)
        shelf.make_room(job)

    job = shelf.add(lambda folder: Job("a", folder, quick, str, 1, on_end=on_end))
    assert job.ended.wait(10)
    assert (shelf._bytes, shelf.of("a")) == ({}, [])


def test_a_refused_job_lets_go_of_its_upload(run: RunPanel, tmp_path: Path) -> None:
    clip = tmp_path / "upload" / "clip.mp4"
    clip.parent.mkdir()
    clip.write_bytes(b"")
    run.shelf.queue._most_waiting = 0
    run._uploads.choose("a", str(clip))
    assert "too many jobs" in run.start(visitor("a"), ["dct"], *vars(choices(clip)).values())
    assert clip.exists()
    run._uploads.choose("a", None)
    assert not clip.parent.exists()


# The model that is loaded


def test_one_part_of_a_file_is_loaded_again_when_the_file_has_changed(tmp_path: Path) -> None:
    path, loaded = tmp_path / "two.safetensors", LoadedModel()
    save_weights(path, small_model("tiny").state_dict(), "tiny", ARCHITECTURES["tiny"])
    loads: list[str] = []

    class Counting(ModelRef):
        def load(self, device: str):
            loads.append(device)
            return small_model("tiny")

    counting = Counting("tiny", f"{path}#model")
    assert loaded.load(counting, "cpu") is loaded.load(counting, "cpu")
    os.utime(path, ns=(1, 1))
    loaded.load(counting, "cpu")
    assert len(loads) == 2
