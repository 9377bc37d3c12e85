"""The folder of an evaluation: one file for every finished clip and model, so that a killed run can go on.

policy.json                    what all results have in common
results/MODEL/model.json       facts about the model, with a digest of its weights
results/MODEL/CLIP.json        the figures of one clip; written last, so that it stands for a finished clip
results/MODEL/CLIP.png         its worst frame: original, reconstruction and difference
results.csv, frames.csv, results.json, leaderboard.html
"""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from torch import Tensor

from workbench.compare.tables import write_json
from workbench.errors import MediaError
from workbench.evaluate.clip import ClipResult, result_from_record
from workbench.evaluate.settings import check_same
from workbench.media import quoted, write_image


class ResultStore:
    """The results under one folder, which all ranks share."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def check_policy(self, policy: Mapping[str, Any]) -> None:
        """Raise ConfigError if the folder holds results of another policy."""
        found = _read(self.folder / "policy.json")
        if found is not None:
            remedy = "give those settings again, or another --save_dir"
            check_same(found, policy, f"{self.folder} holds results under another policy", remedy)

    def check_model(self, facts: Mapping[str, Any]) -> None:
        """Raise ConfigError if the folder holds results of the same entry of --models with other weights."""
        folder = self._model_folder(facts["model"])
        found = _read(folder / "model.json")
        if found is not None:
            what = f"{self.folder} holds results of {facts['model']} as it was before"
            check_same(found, facts, what, f"remove {folder}, or give another --save_dir")

    def begin(self, policy: Mapping[str, Any], facts: Mapping[str, Mapping[str, Any]]) -> None:
        """Write down what the results will have in common; facts by the model's label."""
        self._make(self.folder)
        write_json(self.folder / "policy.json", policy)
        for label, record in facts.items():
            self._make(self._model_folder(label))
            write_json(self._model_folder(label) / "model.json", record)

    def load(self, label: str, clip: Path) -> ClipResult | None:
        """The result of a clip, None if there is none or the clip's file is no longer the same."""
        record = _read(self._path(label, clip, ".json"))
        if record is None or record["source"] != _source(clip):
            return None
        return result_from_record(record["result"])

    def save(self, label: str, clip: Path, result: ClipResult, panels: Tensor) -> None:
        """Keep a result and the picture of its worst frame.

        Raises:
            MediaError: the files cannot be written.
        """
        self._make(self._model_folder(label))
        write_image(panels, self.picture(label, clip))
        write_json(self._path(label, clip, ".json"), {"source": _source(clip), "result": asdict(result)})

    def picture(self, label: str, clip: Path) -> Path:
        """Where the picture of the worst frame is."""
        return self._path(label, clip, ".png")

    def _path(self, label: str, clip: Path, extension: str) -> Path:
        return self._model_folder(label) / (_file_name(str(clip.resolve()), clip.stem) + extension)

    def _model_folder(self, label: str) -> Path:
        return self.folder / "results" / _file_name(label, label)

    def _make(self, folder: Path) -> None:
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise MediaError(f"--save_dir: {quoted(folder)} cannot be made ({error.strerror})") from None


def _file_name(key: str, readable: str) -> str:
    """A name for a file, legal everywhere: the readable part as far as it goes and a digest of the key."""
    digest = hashlib.sha256(key.encode("utf-8", "surrogateescape")).hexdigest()[:12]
    return re.sub(r"[^A-Za-z0-9._-]+", "-", readable)[:48].strip(".-") + "-" + digest


def _source(clip: Path) -> dict[str, Any]:
    """What tells a file from its successor under the same name."""
    try:
        status = clip.stat()
    except OSError as error:
        raise MediaError(f"{quoted(clip)}: cannot be read ({error.strerror})") from None
    path = str(clip.resolve()).encode("utf-8", "backslashreplace").decode()
    return {"path": path, "bytes": status.st_size, "modified_ns": status.st_mtime_ns}


def _read(path: Path) -> dict[str, Any] | None:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
