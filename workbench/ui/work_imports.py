"""What `work` gives: all that callbacks call beyond the page itself."""

# ruff: noqa: F401

from workbench.compare.latent_figures import (
    channel_grid,
    moments_figure,
    pca_rgb,
    power_spectrum,
    spectrum_figure,
    tile_grid,
)
from workbench.compare.map_figures import map_figure
from workbench.compare.palette import SEE_THROUGH
from workbench.compare.pictures import picture, png_url
from workbench.compare.tile_figures import tile_picture, time_figure
from workbench.compare.training_figures import training_curves
from workbench.jobs.bundle import result_row, write_grid, write_tables
from workbench.jobs.estimate import typed_shape
from workbench.jobs.exact import read_frame, read_slice
from workbench.jobs.faults import faults_job
from workbench.jobs.finish import finish_job
from workbench.jobs.found_models import find_models, pick, shape_of
from workbench.jobs.latents import decode_job, encode_job, read_latents
from workbench.jobs.probe import probe_job
from workbench.jobs.reconstruct import STAGES, reconstruct_job, spreads
from workbench.jobs.tiles import WAYS, mode_costs, plan_tiles, seam_job
from workbench.jobs.warm_up import warm_up
from workbench.metrics.lpips import lpips_available
from workbench.metrics.measure import METRICS, summarise
from workbench.models.latent_moments import LatentMoments
from workbench.probe.figures import figures_of
from workbench.probe.page import probe_table
from workbench.suite.page import faults_table, rounds_figure
from workbench.ui.estimate import describe
