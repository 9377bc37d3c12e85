"""Train a video autoencoder: python train.py --stage ae --preset debug; torchrun --nproc_per_node 8 train.py ..."""

import sys

from workbench.cli import Command, main
from workbench.config import to_json
from workbench.training.config import TrainConfig
from workbench.training.presets import preset_config

SUMMARY = """Train a video autoencoder, in stage ae (reconstruction), disc (against a discriminator) or decoder (for the
frozen encoder of another run).

Exit status: 0 all steps done; 2 an error to mend; 143 stopped by SIGTERM, 130 by Ctrl-C, after finishing the step and
saving a checkpoint. A second Ctrl-C stops at once, without saving. (torchrun kills its ranks 30 s after either signal,
or after its --shutdown-timeout; the last checkpoint then still is whole.)
Presets: a --preset sets the flags below; every flag given beside it wins. --print_config True shows the result."""


def run(config: TrainConfig) -> None:
    """What the command line asks for."""
    if config.print_config:
        print(to_json(config))
        return
    from workbench.training.dry_run import dry_run
    from workbench.training.trainer import train

    sys.exit(dry_run(config) if config.dry_run else train(config))


COMMAND = Command(SUMMARY, TrainConfig(), run, base=preset_config)

if __name__ == "__main__":
    main("train.py", COMMAND)
