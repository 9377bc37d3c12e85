"""Words that cards, plans and tabs share."""

import math

from workbench.jobs.queue import Job
from workbench.roundtrip.progress import MEASURE, WRITE
from workbench.steps import Progress
from workbench.words import counted


def size_words(num_bytes: float) -> str:
    """A number of bytes for reading: 3 bytes, 8 KB, 0.7 MB, 37 MB, 2.1 GB."""
    if num_bytes < 1e3:
        return f"{num_bytes:.0f} bytes"
    if num_bytes < 100e3:
        return f"{math.ceil(num_bytes / 1e3)} KB"
    megabytes = num_bytes / 1e6
    return f"{megabytes / 1000:.1f} GB" if megabytes >= 1000 else f"{megabytes:.{0 if megabytes >= 10 else 1}f} MB"


def compression_words(pixel_values: int, latent_values: int) -> str:
    """How much smaller the latents are, in plain words."""
    ratio = pixel_values / latent_values
    raw, kept = size_words(pixel_values), size_words(2 * latent_values)
    padded = "; more than there were, because models take whole blocks only" if ratio < 1 else ""
    return (
        f"{latent_values:,} numbers stand for {pixel_values:,} colour values: <b>{ratio:.3g} to 1</b> "
        f"({raw} of raw pixels become {kept} at 16 bits a number{padded})"
    )


def time_words(seconds: float) -> str:
    """A time for reading: 8 s, 2:05 min."""
    minutes, rest = divmod(math.ceil(seconds), 60)
    return f"{minutes}:{rest:02d} min" if minutes else f"{rest} s"


def waiting(ahead: int) -> str:
    """What is said of a job before its turn."""
    return f"Waiting: {counted(ahead, 'job')} before it" if ahead else "Waiting for its turn"


def doing(job: Job) -> str:
    """What a running job does, and the time left where that can be told."""
    assert job.progress is not None, "a job that has reported nothing"
    latest, _, seconds = job.progress
    if latest.stage == "count":
        return f"Counting frames: {latest.done}"
    left = "" if seconds is None else f" · {time_words(seconds)} left" if seconds > 0.5 else " · nearly done"
    return _stage(latest) + left


def _stage(latest: Progress) -> str:
    if latest.stage == MEASURE:
        return f"Frame {latest.done} of {latest.total}"
    if latest.stage == WRITE:
        return "Writing the results"
    what, _, direction = latest.stage.rpartition(": ")
    now, then = {"encode": ("Encoding", "Encoded"), "decode": ("Decoding", "Decoded")}.get(
        direction, (direction.capitalize(), "Done")
    )
    subject = f", {what}" if what else ""
    if latest.done == latest.total:  # the next stage tells its first piece when that is done
        return f"{then}{subject}: all {counted(latest.total, 'piece')}"
    return f"{now}{subject}: piece {latest.done} of {latest.total}"
