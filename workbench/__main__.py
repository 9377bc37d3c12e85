"""The command line: `python -m workbench COMMAND`."""

from functools import partial

from workbench.cli import Command, main
from workbench.commands import (
    BenchConfig,
    NoSettings,
    ReconstructConfig,
    run_bench,
    run_models,
    run_reconstruct,
    with_preset,
)

MODEL_ALIASES = {"model": "model.name"}
RECONSTRUCT = ReconstructConfig()
COMMANDS = {
    "reconstruct": Command(
        "Reconstruct videos and photos and measure what was lost.",
        RECONSTRUCT,
        run_reconstruct,
        words="FILE_OR_FOLDER_OR_CSV",
        aliases=MODEL_ALIASES,
        base=partial(with_preset, RECONSTRUCT),
    ),
    "models": Command("List the autoencoders.", NoSettings(), run_models),
    "bench": Command("Measure how fast a model encodes and decodes.", BenchConfig(), run_bench, aliases=MODEL_ALIASES),
}

if __name__ == "__main__":
    main("python -m workbench", COMMANDS)
