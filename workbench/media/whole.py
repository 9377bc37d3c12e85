"""All frames of a clip at once, for work that goes over them more than once."""

from pathlib import Path

from torch import Tensor

from workbench.errors import MediaError
from workbench.files import quoted
from workbench.media.policy import ClipPolicy
from workbench.media.reader import DEFAULT_MAX_BYTES
from workbench.media.source import ClipSource, scanned_steps
from workbench.steps import Steps


def read_clip_steps(
    path: str | Path, policy: ClipPolicy, spatial_multiple: int = 1
) -> Steps[tuple[ClipSource, Tensor]]:
    """A clip and all its frames, uint8 (T, 3, H, W), as steps: those of counting.

    Raises:
        MediaError: it cannot be read, or takes more memory than `read_video` allows.
    """

    def read(clip: ClipSource) -> Steps[tuple[ClipSource, Tensor]]:
        yield from ()
        return clip, read_frames(clip)

    return (yield from scanned_steps(path, policy, spatial_multiple, read))


def read_frames(clip: ClipSource) -> Tensor:
    """All frames of a clip, uint8 (T, 3, H, W).

    Raises:
        MediaError: they take more memory than `read_video` allows, or the file changed since it was opened.
    """
    size = 3 * clip.num_frames * clip.height * clip.width
    if size > DEFAULT_MAX_BYTES:
        limit = f"over the limit of {DEFAULT_MAX_BYTES:,} bytes"
        raise MediaError(f"{quoted(clip.info.path)}: its frames take {size:,} bytes, {limit}; give `max_frames`")
    return clip.read()
