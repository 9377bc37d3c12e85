"""A folder of latents that a killed run leaves whole, and the next one goes on filling.

latents.json                    what all latents have in common: model, policy, type, normalisation
shard-RANK-NUMBER.safetensors   latents of many clips, see `shards`
index.csv                       a row for every clip: its shard and key, shape, and its source's frames, size and rate
pending/KEY.safetensors         finished clips that are in no shard yet and are not encoded again; gone at the end

Every file appears under its name only when it is complete.
"""

import fcntl
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path
from typing import Any

from torch import Tensor

from workbench.errors import ConfigError, DataError
from workbench.files import quoted, read_record, write_csv, write_errors, write_json
from workbench.latents.shards import REMEDY, LatentClip, Shard, read_shard, write_shard
from workbench.records import check_same

_FACTS = "latents.json"
_NOT_COMPARED = (
    "policy",
    "model",
    "load",
)  # its entries are; one model can be loaded under several names and from several places


class LatentFolder:
    """One folder, which all ranks share.

    Attributes:
        facts: what all of its latents have in common, as `latents.json` says; None before the first run.
    """

    def __init__(self, path: Path) -> None:
        """Raises DataError if the folder's `latents.json` is damaged."""
        self.path = path
        try:
            self.facts = read_record(path / _FACTS)
        except (ValueError, OSError):
            raise DataError(f"{quoted(path / _FACTS)}: is damaged; give another folder") from None

    @property
    def recorded(self) -> dict[str, Any]:
        """What was noted down of a folder that holds latents.

        Raises:
            DataError: it is none.
        """
        if self.facts is None:
            raise DataError(f"{quoted(self.path)}: not a folder of latents; make one with: python -m workbench encode")
        return self.facts

    @contextmanager
    def claimed(self, facts: Mapping[str, Any]) -> Iterator[None]:
        """Make the folder and keep it for this run.

        Raises:
            ConfigError: it holds latents of another model or policy, or another process writes there.
            FileError: it cannot be written to.
        """
        self.check(facts)
        with write_errors(self.path):
            (self.path / "pending").mkdir(parents=True, exist_ok=True)
            file = (self.path / ".lock").open("ab")
        with file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                raise ConfigError(f"`save_dir` {self.path}: another process encodes into it") from None
            write_json(self.path / _FACTS, facts)
            yield
            with suppress(OSError):  # unless a clip is left in it
                (self.path / "pending").rmdir()

    def check(self, facts: Mapping[str, Any]) -> None:
        """Raise ConfigError unless latents with these facts may join those that are there."""
        if self.facts is not None:
            ours, theirs = (
                {name: value for name, value in {**found, **found["policy"]}.items() if name not in _NOT_COMPARED}
                for found in (facts, self.facts)
            )
            remedy = "give those settings again, or another `save_dir`"
            check_same(theirs, ours, f"{self.path} holds latents made otherwise", remedy)

    def recover(self) -> tuple[dict[str, LatentClip], list[Path]]:
        """Remove what a killed run left half-done; the clips that are finished by key, and those files of `pending`
        that no shard holds yet."""
        for temporary in [*self.path.glob(".*.safetensors"), *self.path.glob("pending/.*.safetensors")]:
            temporary.unlink()
        finished = {key: clip for shard in self.shards() for key, clip in shard.clips.items()}
        pending = []
        for path in sorted(self.path.glob("pending/*.safetensors")):
            if path.stem in finished:
                path.unlink()
            else:
                pending.append(path)
                finished |= read_shard(path).clips
        return finished, pending

    def count_pending(self) -> int:
        """Clips of a run that has not ended, which no shard holds yet."""
        return len(list(self.path.glob("pending/[!.]*.safetensors")))

    def save(self, facts: Mapping[str, Any], key: str, clip: LatentClip, tensors: Mapping[str, Tensor]) -> Path:
        """Keep the latents of one clip until they are packed; returns their file in `pending`."""
        path = self.path / "pending" / f"{key}.safetensors"
        write_shard(path, facts, {key: clip}, tensors)
        return path

    def pack(self, pending: Sequence[Path], rank: int) -> None:
        """Put finished clips together into a new shard of this rank."""
        parts = [read_shard(path) for path in pending]
        clips = {key: clip for part in parts for key, clip in part.clips.items()}
        tensors = {name: tensor for part in parts for name, tensor in part.tensors(list(part.clips)).items()}
        names = (self.path / f"shard-{rank:03d}-{number:05d}.safetensors" for number in count())
        write_shard(next(name for name in names if not name.exists()), parts[0].facts, clips, tensors)
        for path in pending:
            path.unlink()

    def shards(self) -> list[Shard]:
        """The headers of all shards, by name."""
        try:
            return [read_shard(path) for path in sorted(self.path.glob("shard-*.safetensors"))]
        except DataError as error:
            raise DataError(f"{error}; {REMEDY}") from None

    def write_index(self) -> int:
        """Write index.csv, in the order of the clips' paths; returns their number."""
        rows = [_row(key, clip, shard) for shard in self.shards() for key, clip in shard.clips.items()]
        write_csv(self.path / "index.csv", sorted(rows, key=lambda row: row["path"]))
        return len(rows)


def _row(key: str, clip: LatentClip, shard: Shard) -> dict[str, Any]:
    shape = dict(zip(("channels", "frames", "height", "width"), clip.latent_shape, strict=True))
    return {
        "path": clip.path,
        "shard": shard.path.name,
        "key": key,
        **{f"latent_{name}": size for name, size in shape.items()},
        "num_frames": clip.num_frames,
        "height": clip.height,
        "width": clip.width,
        "fps": None if clip.is_image else clip.fps,
        "model": shard.facts["model"],
        "latent_dtype": shard.facts["latent_dtype"],
        "normalised": shard.facts["normalisation"] is not None,
        **{name: shard.facts["policy"][name] for name in ("resolution", "max_frames", "fps_max")},
    }
