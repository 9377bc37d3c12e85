"""Checkpoint folders as such: whole or absent, found, purged. What they hold is in test_trainer.py."""

import os
import shutil
from pathlib import Path

import pytest

from workbench.models.weights import checkpoints
from workbench.training import checkpoint
from workbench.training.checkpoint import CheckpointError, find_checkpoint, remove_unfinished, write_checkpoint


def fill(folder: Path) -> None:
    (folder / "weights").write_text("all of it")
    (folder / "training").mkdir()
    (folder / "training" / "part").write_text("all of it")


def whole(folder: Path) -> bool:
    return (folder / "weights").read_text() == (folder / "training" / "part").read_text() == "all of it"


def test_a_checkpoint_is_found_by_latest_by_its_path_and_by_its_run(tmp_path, world):
    for step in (3, 20, 1_000_000):
        write_checkpoint(tmp_path, step, fill, 5, world)
    assert list(checkpoints(tmp_path)) == [3, 20, 1_000_000]
    assert find_checkpoint("latest", tmp_path).name == "step-1000000"
    assert find_checkpoint(str(tmp_path / "step-000003"), tmp_path / "other").name == "step-000003"
    assert find_checkpoint(str(tmp_path), tmp_path / "other").name == "step-1000000"


def test_resuming_what_does_not_exist_is_an_error(tmp_path, world):
    with pytest.raises(CheckpointError, match="holds no checkpoint"):
        find_checkpoint("latest", tmp_path)
    write_checkpoint(tmp_path, 3, fill, 5, world)
    with pytest.raises(CheckpointError, match=r"no such checkpoint; .* has step-000003"):
        find_checkpoint(str(tmp_path / "step-000004"), tmp_path)


def test_only_the_newest_are_kept(tmp_path, world):
    for step in range(1, 6):
        write_checkpoint(tmp_path, step, fill, 2, world)
    assert list(checkpoints(tmp_path)) == [4, 5]
    assert sorted(os.listdir(tmp_path)) == ["step-000004", "step-000005"]


class Killed(BaseException):
    """Stands for SIGKILL: nothing handles it."""


@pytest.mark.parametrize("call", ["_to_disk", "_commit", "_purge"])
def test_killed_while_saving_leaves_only_whole_checkpoints(tmp_path, world, monkeypatch, call):
    write_checkpoint(tmp_path, 1, fill, 1, world)

    def die(*_: object) -> None:
        raise Killed

    monkeypatch.setattr(checkpoint, call, die)
    with pytest.raises(Killed):
        write_checkpoint(tmp_path, 2, fill, 1, world)
    monkeypatch.undo()
    assert all(whole(path) for path in checkpoints(tmp_path).values())
    assert 1 in checkpoints(tmp_path)
    remove_unfinished(tmp_path)
    write_checkpoint(tmp_path, 3, fill, 1, world)
    assert os.listdir(tmp_path) == ["step-000003"]


def test_killed_while_purging_leaves_no_half_a_checkpoint(tmp_path, world, monkeypatch):
    write_checkpoint(tmp_path, 1, fill, 1, world)

    def die_halfway(path: Path) -> None:
        (path / "weights").unlink()
        raise Killed

    monkeypatch.setattr(shutil, "rmtree", lambda path, **_: die_halfway(path) if path.exists() else None)
    with pytest.raises(Killed):
        write_checkpoint(tmp_path, 2, fill, 1, world)
    assert list(checkpoints(tmp_path)) == [2]


def test_old_checkpoints_go_only_when_the_new_one_is_safe(tmp_path, world, monkeypatch):
    order = []
    to_disk, purge = checkpoint._to_disk, checkpoint._purge
    monkeypatch.setattr(checkpoint, "_to_disk", lambda path: (order.append(path.name), to_disk(path)))
    monkeypatch.setattr(checkpoint, "_purge", lambda *args: (order.append("purge"), purge(*args)))
    write_checkpoint(tmp_path, 1, fill, 1, world)
    assert {"weights", "part", "training", ".step-000001.tmp"} <= set(order[:-2])
    assert order[-2:] == [tmp_path.name, "purge"]


def test_a_full_disk_is_one_clear_error_and_leaves_nothing_behind(tmp_path, world):
    write_checkpoint(tmp_path, 1, fill, 1, world)

    def full(folder: Path) -> None:
        fill(folder)
        raise OSError(28, "No space left on device")

    with pytest.raises(CheckpointError, match=r"step-000002: cannot be written .*No space left.*intact"):
        write_checkpoint(tmp_path, 2, full, 1, world)
    assert os.listdir(tmp_path) == ["step-000001"]
