"""`python -m workbench reconstruct`: clips in; originals, reconstructions and what was lost out."""

from workbench.cli import Command, flag_words
from workbench.commands.inputs import find_inputs
from workbench.commands.presets import ReconstructConfig, with_preset
from workbench.commands.settings import MODEL_ALIASES


def run_reconstruct(config: ReconstructConfig, *inputs: str) -> None:
    """Reconstruct clips and write originals, reconstructions, side-by-side videos and metrics.

    Under torchrun the ranks share the tiles of every clip; rank 0 writes and speaks.
    """
    files = find_inputs(inputs)  # a slip of the hand is told before torch is imported
    from workbench.commands.reconstruct_files import reconstruct_files
    from workbench.ranks import lockstep, under_torchrun

    if not under_torchrun():
        reconstruct_files(config, files, None, _words)
        return
    with lockstep(config.device) as ranks:
        reconstruct_files(config, files, ranks, _words)


def _words(message: object) -> str:
    return flag_words(message, COMMAND)


COMMAND = Command(
    "Reconstruct videos and photos and measure what was lost.",
    ReconstructConfig(),
    run_reconstruct,
    words="FILE_OR_FOLDER_OR_CSV",
    aliases=MODEL_ALIASES,
    base=with_preset,
)
