"""The folder of an evaluation: one file for every finished clip and model, so that a killed run can go on.

policy.json                    what all results have in common
results/MODEL/model.json       facts about the model, with a digest of its weights
results/MODEL/CLIP.json        the figures of one clip; written last, so that it stands for a finished clip
results/MODEL/CLIP.png         its worst frame: original, reconstruction and difference
results/MODEL/CLIP.safetensors features for Fréchet distances, where those are asked for
results.csv, frames.csv, results.json, leaderboard.html
"""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save
from torch import Tensor

from workbench.errors import FileError
from workbench.evaluate.clip import ClipEvaluation, ClipResult, result_from_record
from workbench.files import quoted, read_record, write_errors, write_json, written_whole
from workbench.media.image import write_image
from workbench.records import check_same, clip_key, file_key, source_record

_SETS = ("original", "output")


class ResultStore:
    """The results under one folder, which all ranks share."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def check_policy(self, policy: Mapping[str, Any]) -> None:
        """Raise ConfigError if the folder holds results of another policy."""
        found = read_record(self.folder / "policy.json")
        if found is not None:
            remedy = "give those settings again, or another `save_dir`"
            check_same(found, policy, f"{self.folder} holds results under another policy", remedy)

    def check_model(self, facts: Mapping[str, Any]) -> None:
        """Raise ConfigError if the folder holds results of the same entry of --models with other weights."""
        folder = self._model_folder(facts["model"])
        found = read_record(folder / "model.json")
        if found is not None:
            what = f"{self.folder} holds results of {facts['model']} as it was before"
            check_same(found, facts, what, f"remove {folder}, or give another `save_dir`")

    def begin(self, policy: Mapping[str, Any], facts: Mapping[str, Mapping[str, Any]]) -> None:
        """Write down what the results will have in common; facts by the model's label."""
        self._make(self.folder)
        write_json(self.folder / "policy.json", policy)
        for label, record in facts.items():
            self._make(self._model_folder(label))
            write_json(self._model_folder(label) / "model.json", record)

    def load(self, label: str, clip: Path) -> ClipResult | None:
        """The result of a clip, None if there is none or the clip's file is no longer the same."""
        record = read_record(self._path(label, clip, ".json"))
        if record is None or record["source"] != source_record(clip):
            return None
        return result_from_record(record["result"])

    def save(self, label: str, clip: Path, evaluation: ClipEvaluation) -> None:
        """Keep a result, the picture of its worst frame and any features.

        Raises:
            FileError: the files cannot be written.
        """
        self._make(self._model_folder(label))
        write_image(evaluation.panels, self.picture(label, clip))
        if evaluation.features:
            path = self._path(label, clip, ".safetensors")
            tensors = {
                f"{name}/{kind}": tensor
                for name, pair in evaluation.features.items()
                for kind, tensor in zip(_SETS, pair, strict=True)
            }
            with written_whole(path) as temporary, write_errors(path):
                temporary.write_bytes(save(tensors))
        record = {"source": source_record(clip), "result": asdict(evaluation.result)}
        write_json(self._path(label, clip, ".json"), record)

    def features(self, label: str, clip: Path, protocol: str = "") -> tuple[Tensor, Tensor]:
        """The features of the original's windows and of the output's, (n, D) each, empty where the clip has none."""
        path = self._path(label, clip, ".safetensors")
        tensors = load_file(path) if path.is_file() else {}
        original, output = (tensors.get(f"{protocol}/{kind}", torch.zeros(0, 0)) for kind in _SETS)
        return original, output

    def picture(self, label: str, clip: Path) -> Path:
        """Where the picture of the worst frame is."""
        return self._path(label, clip, ".png")

    def _path(self, label: str, clip: Path, extension: str) -> Path:
        return self._model_folder(label) / (clip_key(clip) + extension)

    def _model_folder(self, label: str) -> Path:
        return self.folder / "results" / file_key(label, label)

    def _make(self, folder: Path) -> None:
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise FileError(f"`save_dir`: {quoted(folder)} cannot be made ({error.strerror})") from None
