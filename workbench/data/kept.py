"""Clips decoded once and kept in memory, for sets that fit there, such as packs: no step waits for a decoder."""

import os
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import torch
from torch import Tensor
from tqdm import tqdm

from workbench.data.clips import ClipRequest, crop_of, too_short, varied_of
from workbench.errors import ConfigError, MediaError, WorkbenchError
from workbench.media.index import Clip
from workbench.media.reader import read_video
from workbench.memory import available_memory


class KeptClips:
    """Every clip of an index as uint8 frames (T, 3, H, W) on one device."""

    def __init__(self, clips: Sequence[Clip], device: torch.device) -> None:
        """Decode them, several at a time; one that cannot be decoded raises its error when it is read.

        Raises:
            ConfigError: there is not enough memory for all.
        """
        clips = list({clip.path: clip for clip in clips}.values())  # an index may name one several times
        needed = sum(3 * clip.num_frames * clip.height * clip.width for clip in clips)
        if needed > (free := available_memory(device)):
            raise ConfigError(
                f"`dataset.in_memory`: the clips take {needed / 1e9:.3g} GB, {free / 1e9:.3g} GB are free; "
                "without it they are decoded while training"
            )
        self._device = device
        paths = [clip.path for clip in clips]
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            decoded = pool.map(self._decode, paths)
            bar = tqdm(decoded, "decoding", len(paths), unit="clip", file=sys.stderr, leave=False)
            self._frames: dict[str, Tensor | WorkbenchError] = dict(zip(paths, bar, strict=True))

    def read(self, request: ClipRequest) -> Tensor:
        """What `read_clip` gives for this request, on the device.

        Raises:
            MediaError: the clip could not be decoded, or does not have enough frames.
        """
        frames = self._frames[request.path]
        if isinstance(frames, WorkbenchError):
            raise frames
        taken = frames[request.start_frame :: request.interval][: request.frames_read]
        if request.variation is not None:
            return varied_of(taken, request)
        if len(taken) < request.num_frames:
            raise too_short(request, len(taken))
        if taken.shape == request.shape:
            return taken
        return crop_of(taken.cpu(), request).to(self._device)  # torch resizes bytes on a CPU alone

    def _decode(self, path: str) -> Tensor | WorkbenchError:
        try:
            return read_video(path).frames.to(self._device)
        except (WorkbenchError, OSError) as error:
            return error if isinstance(error, WorkbenchError) else MediaError(str(error))
