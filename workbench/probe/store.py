"""The folder of a probe: latents and figures of every clip and model, so that a killed run can go on.

policy.json                   what all results have in common
latents/MODEL/model.json      facts about the model, with a digest of its weights
latents/MODEL/CLIP.safetensors  latents (C, t, h, w), and features (D, t, h, w) of a vision network, float32
latents/MODEL/CLIP.json       figures of one clip; written last, so that it stands for a finished clip
probes.csv, probes.json, probes.html
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save
from torch import Tensor

from workbench.errors import FileError
from workbench.files import quoted, read_record, write_errors, write_json, written_whole
from workbench.records import check_same, clip_key, file_key, source_record


class ProbeStore:
    """The results under one folder, which all ranks share."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def check(self, policy: Mapping[str, Any], facts: Mapping[str, Mapping[str, Any]]) -> None:
        """Raise ConfigError if the folder holds results under another policy, or of other weights."""
        if not any(self.folder.glob("latents/*/*.safetensors")):
            return  # a run that came to nothing binds nobody
        for path, record, what, remedy in self._records(policy, facts):
            found = read_record(path)
            if found is not None:
                check_same(found, record, what, remedy)

    def begin(self, policy: Mapping[str, Any], facts: Mapping[str, Mapping[str, Any]]) -> None:
        """Write down what results have in common; facts by the model's label.

        Raises:
            FileError: it cannot be written.
        """
        for path, record, _, _ in self._records(policy, facts):
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise FileError(f"`save_dir`: {quoted(path.parent)} cannot be made ({error.strerror})") from None
            write_json(path, record)

    def save(self, label: str, clip: Path, tensors: Mapping[str, Tensor], figures: Mapping[str, Any]) -> None:
        """Keep what was found of a clip: its latents, and features. Raises FileError where it cannot be written."""
        path = self._path(label, clip, ".safetensors")
        with written_whole(path) as temporary, write_errors(path):
            temporary.write_bytes(save({name: tensor.contiguous() for name, tensor in tensors.items()}))
        write_json(self._path(label, clip, ".json"), {"source": source_record(clip), "figures": figures})

    def figures(self, label: str, clip: Path) -> dict[str, Any] | None:
        """The figures of a finished clip; None where there are none, its latents are gone, or its file is no longer the
        same."""
        record = read_record(self._path(label, clip, ".json"))
        if record is None or record["source"] != source_record(clip):
            return None
        return record["figures"] if _is_whole(self._path(label, clip, ".safetensors")) else None

    def tensors(self, label: str, clip: Path) -> dict[str, Tensor]:
        """The latents of a finished clip, and its features if there was a network for them."""
        return load_file(self._path(label, clip, ".safetensors"))

    def _records(
        self, policy: Mapping[str, Any], facts: Mapping[str, Mapping[str, Any]]
    ) -> Iterator[tuple[Path, Mapping[str, Any], str, str]]:
        """Where what is kept, and what to say and to advise where something else is there."""
        remedy = "give those settings again, or another `save_dir`"
        yield self.folder / "policy.json", policy, f"{self.folder} holds results under another policy", remedy
        for label, record in facts.items():
            what = f"{self.folder} holds latents of {label} as it was before"
            yield self._model(label) / "model.json", record, what, "give another `save_dir`"

    def _path(self, label: str, clip: Path, extension: str) -> Path:
        return self._model(label) / (clip_key(clip) + extension)

    def _model(self, label: str) -> Path:
        return self.folder / "latents" / file_key(label, label)


def _is_whole(path: Path) -> bool:
    """Whether a file of tensors is there and as long as its beginning says."""
    try:
        with safe_open(path, framework="pt"):
            return True
    except (OSError, SafetensorError):
        return False
