"""What several ranks do together in the tests: started by torchrun, see test_reconstruct_ranks.py."""

import json
import os
import sys
from dataclasses import replace
from pathlib import Path

import torch
from clips import moving_video
from reference_weights import load_formula_weights

import workbench as wb
from workbench.__main__ import COMMANDS
from workbench.cli import main
from workbench.models.registry import build_autoencoder

TILES = wb.Tiling(spatial_tile_size=32, temporal_tile_size=8)
SIZE = 21, 32, 66


def shared_model() -> wb.Autoencoder:
    """A Video DC-AE of four stages, 4 in time and 8 in space: tiles of few pixels, and blocks of both kinds."""
    depths = {"encoder_depths": (1,) * 4, "decoder_depths": (1,) * 4, "attention_stages": 2}
    model = build_autoencoder("video_dc_ae", {"widths": (16, 32, 64, 64), "latent_channels": 16, **depths})
    load_formula_weights(model)
    return model.eval().requires_grad_(False)


def share_tensors(folder: Path) -> None:
    """Encode and decode one clip together and fail together; what every rank saw as `rank-N.json`."""
    ae, x = shared_model(), moving_video(*SIZE).to_tensor()
    with wb.lockstep("cpu") as ranks:
        seen = {"rank": ranks.world.rank, "errors": []}
        z = wb.encode_tiled(ae, x, TILES, ranks=ranks)
        y = wb.decode_tiled(ae, z, TILES, *SIZE[:1], SIZE[1:], ranks=ranks)
        for failing in (0, 1):
            try:
                with ranks.shared_errors():
                    if ranks.world.rank == failing:
                        raise wb.MediaError(f"rank {failing} cannot read")
                    wb.encode_tiled(ae, x, TILES, ranks=ranks)
            except wb.MediaError as error:
                seen["errors"].append(str(error))
        seen["still in step"] = ranks.from_main(ranks.world.rank)
        seen["modes"] = {mode: difference_of(ae, x, mode, ranks) for mode in ("stages", "frames", "windows")}
    alone = wb.encode_tiled(ae, x, TILES)
    seen["latents equal"] = bool((z == alone).all())
    seen["frames equal"] = bool((y == wb.decode_tiled(ae, alone, TILES, *SIZE[:1], SIZE[1:])).all())
    (folder / f"rank-{seen['rank']}.json").write_text(json.dumps(seen))


def difference_of(ae: wb.Autoencoder, x: torch.Tensor, mode: str, ranks: wb.Lockstep) -> float:
    """The largest difference, of latents and frames, between what two ranks and what one makes in a mode."""
    tiling = replace(TILES, tiling_mode=mode)
    alone = wb.encode_tiled(ae, x, tiling)
    together = wb.encode_tiled(ae, x, tiling, ranks=ranks)
    frames = wb.decode_tiled(ae, alone, tiling, *SIZE[:1], SIZE[1:])
    shared = wb.decode_tiled(ae, alone, tiling, *SIZE[:1], SIZE[1:], ranks=ranks)
    pairs = (alone, together), (frames, shared)
    return max(((a - b).abs().max() / a.abs().max()).item() for a, b in pairs)


def fail_midway(how: str, arguments: list[str]) -> None:
    """The command line, where one rank fails in the middle of the clip, in one of several ways."""
    rank = int(os.environ["RANK"])
    reconstruct = sys.modules[wb.reconstruct.__module__]  # its name in the package is that of the function
    chunks, write = reconstruct._chunks, reconstruct._measure_and_write

    def failing_chunks(*given):
        for number, chunk in enumerate(chunks(*given)):
            if number == 3 and rank == 1 and how == "read":
                raise wb.MediaError("the file is gone")
            if number == 3 and rank == 1 and how == "defect":
                raise ZeroDivisionError("a defect")
            if number == 3 and rank == 1 and how == "kill":
                os.kill(os.getpid(), 9)
            yield chunk

    def failing_write(*given):
        if how == "write":
            raise wb.MediaError("the disk is full")
        yield from write(*given)

    reconstruct._chunks, reconstruct._measure_and_write = failing_chunks, failing_write
    main("workbench", COMMANDS, ["reconstruct", *arguments])


if __name__ == "__main__":
    if sys.argv[1] == "share":
        share_tensors(Path(sys.argv[2]))
        os.environ["TORCHELASTIC_RESTART_COUNT"] = "1"  # torchrun's store still holds the addresses of that group
        main("workbench", COMMANDS, ["reconstruct", *sys.argv[3:]])
    else:
        fail_midway(sys.argv[1], sys.argv[2:])
