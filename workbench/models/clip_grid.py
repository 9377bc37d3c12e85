"""The frame grid of MiniMax-H3's latents: clips of a few frames, each with a first latent of its own."""

from dataclasses import dataclass


@dataclass(frozen=True)
class ClipGrid:
    """A clip of `frames` frames is `latents` latents, the first of one frame and the others of `stride`; the last
    `dropped` latents of the last clip are left out. A single frame is one latent."""

    frames: int = 17
    latents: int = 5
    dropped: int = 3
    stride: int = 4

    def frames_of(self, latent_frames: int) -> int:
        """Frames of so many latents."""
        clips, rest = divmod(latent_frames, self.latents)
        return clips * self.frames + (1 + (rest - 1) * self.stride if rest else 0)

    def latent_frames(self, num_frames: int) -> int:
        """The fewest latents of a legal clip that hold so many frames."""
        if num_frames == 1:
            return 1
        least = self.latents - self.dropped
        clips = -(-max(num_frames - self.frames_of(least), 0) // self.frames)
        return clips * self.latents + least
