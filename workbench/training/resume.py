"""Going on with a run: from which checkpoint, and what is different this time."""

import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from workbench.config import settings_of, to_dict
from workbench.errors import first_line
from workbench.models.weights import checkpoints
from workbench.ranks import World, restarted_by_torchrun
from workbench.training.checkpoint import CheckpointError, find_checkpoint, step_of
from workbench.training.config import TrainConfig

_LAUNCH_FILE = ".launch"
# What names a run, or says how it begins; everything else is a setting of the training itself.
_NOT_SETTINGS = {"preset", "save_dir", "resume", "print_config", "dry_run", "model.from_pretrained"}
_FIXED = {"discriminator.norm", "discriminator.channels"}  # the autoencoder's architecture is checked by its weights


def start_from(config: TrainConfig) -> Path | None:
    """The checkpoint to go on from, None for a new run. A run is never overwritten, and never begun anew by mistake.

    Raises:
        CheckpointError: the run folder holds a run and `resume` is not set, or what it names does not exist or is not
            the newest.
    """
    run = Path(config.save_dir)
    known = checkpoints(run)
    resume = "latest" if known and restarted_by_torchrun() and _opened_by_this_launch(run) else config.resume
    if resume is None and known:
        raise CheckpointError(f"`save_dir` {run}: holds a run already; add `resume` latest or name another")
    if resume is None:
        return None
    start = find_checkpoint(resume, run)
    if known and max(known) > step_of(start):
        newest = known[max(known)].name
        raise CheckpointError(f"`resume` {resume}: {run} has later ones ({newest}); name another `save_dir`")
    return start


def mark_opened(run: Path) -> None:
    """Note in the run folder that this launch trains there, so that a restart by torchrun goes on with it."""
    (run / _LAUNCH_FILE).write_text(_launch())


def _opened_by_this_launch(run: Path) -> bool:
    """Whether it was: torchrun also restarts a launch that was refused, and must not make it take over the run."""
    mark = run / _LAUNCH_FILE
    return mark.is_file() and mark.read_text() == _launch()


def _launch() -> str:
    """What stays the same over torchrun's restarts and differs between launches; its process, on a single machine."""
    agent = os.getppid() if os.environ.get("GROUP_WORLD_SIZE", "1") == "1" else ""
    return f"{os.environ.get('TORCHELASTIC_RUN_ID', '')} {agent}"


def changed_settings(checkpoint: Path, config: TrainConfig) -> list[str]:
    """The settings that a checkpoint was trained with and that differ now, as "lr 0.001 -> 0.0005".

    Raises:
        CheckpointError: one of them cannot differ, or what the checkpoint was trained with cannot be read.
    """
    try:
        before = json.loads((checkpoint / "config.json").read_text())
    except (OSError, ValueError) as error:
        raise CheckpointError(f"`resume` {checkpoint}: its config.json cannot be read ({first_line(error)})") from None
    names = settings_of(config).keys() - _NOT_SETTINGS
    old, new = {"optimizer": "adamw"} | _values(before, names), _values(to_dict(config), names)
    changed = {name: f"{name} {old[name]} -> {new[name]}" for name in sorted(old) if old[name] != new[name]}
    fixed = [changed[name] for name in _FIXED & changed.keys() if config.stage == old.get("stage") == "disc"]
    if fixed:
        raise CheckpointError(f"`resume` {checkpoint}: {', '.join(fixed)}: an architecture cannot change within a run")
    if "model.freeze" in changed:
        raise CheckpointError(f"`resume` {checkpoint}: {changed['model.freeze']}: what is trained cannot change")
    if "optimizer" in changed:
        raise CheckpointError(f"`resume` {checkpoint}: {changed['optimizer']}: an optimiser cannot change within a run")
    return list(changed.values())


def _values(config: Mapping[str, Any], names: Iterable[str]) -> dict[str, Any]:
    """The values at dotted names, without those that the configuration, perhaps of an older version, does not have."""
    found = {}
    for name in names:
        *parents, leaf = name.split(".")
        group = config
        for parent in parents:
            group = group.get(parent, {})
        if leaf in group:
            found[name] = group[leaf]
    return found


def not_exact(plain: Mapping[str, Any], world: World) -> str | None:
    """What a run on another number of ranks does not continue exactly; None where it continues bit for bit."""
    if plain["world_size"] == world.size:
        return None
    return (
        f"resumed on {world.size} ranks from {plain['world_size']}: weights, optimisers, averages, schedules and the "
        "place in the data go on; no longer exact are the global batch size, which clips share a batch, and dropout"
    )
