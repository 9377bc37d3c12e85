"""Latents as pictures and figures: channels, principal components as colours, statistics, spectrum."""

import math
from collections.abc import Sequence
from typing import Any

import plotly.graph_objects as go
import torch
from plotly.subplots import make_subplots
from torch import Tensor

from workbench.compare.palette import COLOURS
from workbench.errors import ShapeError

_COLUMNS = 16  # of the grid of channels
_GAP_PIXELS = 2
_GAP_GREY = 24
_DEVIATIONS = 2.5  # either side of the mean, that a picture of latents shows
_WIDE = 10.0  # between the ends of an axis, from which on 1, 2 and 5 of every decade are enough marks


def tile_grid(pictures: Tensor, columns: int | None = None, scale: int = 1) -> Tensor:
    """Pictures uint8 (N, 3, h, w) row by row with gaps, each pixel drawn as `scale` x `scale`: uint8 (3, H, W)."""
    count, _, height, width = pictures.shape
    columns = min(columns or math.ceil(math.sqrt(count)), count)
    rows = -(-count // columns)
    cell_height, cell_width = height * scale + _GAP_PIXELS, width * scale + _GAP_PIXELS
    canvas = torch.full((3, rows * cell_height - _GAP_PIXELS, columns * cell_width - _GAP_PIXELS), _GAP_GREY)
    large = pictures.repeat_interleave(scale, 2).repeat_interleave(scale, 3)
    for index, picture in enumerate(large):
        top, left = index // columns * cell_height, index % columns * cell_width
        canvas[:, top : top + height * scale, left : left + width * scale] = picture
    return canvas.to(torch.uint8)


def channel_grid(latents_CHW: Tensor, side: int = 48) -> Tensor:
    """All channels of one latent frame as grey pictures, channel 0 at the top left: uint8 (3, H, W).

    Each channel has a scale of its own, 2.5 standard deviations either side of its mean; `side` is about how many
    pixels the longer side of a channel takes.

    Raises:
        ShapeError: the latents are not (C, h, w).
    """
    if latents_CHW.ndim != 3 or 0 in latents_CHW.shape:
        raise ShapeError(f"latents of one frame are (C, h, w), got {tuple(latents_CHW.shape)}")
    values = latents_CHW.float().cpu()
    centred = values - values.mean((1, 2), keepdim=True)
    deviation = centred.square().mean((1, 2), keepdim=True).sqrt()
    grey = _as_bytes(centred / deviation.clamp_min(1e-12))
    scale = max(1, round(side / max(values.shape[1:])))
    return tile_grid(grey[:, None].expand(-1, 3, -1, -1), _COLUMNS, scale)


def pca_rgb(latents_CTHW: Tensor) -> Tensor:
    """The three strongest principal components of the channels as red, green and blue: uint8 (t, 3, h, w).

    One basis and one scale for all frames, so that colours can be followed in time. Fewer than three components
    (constant latents, or fewer channels) leave their colours grey.

    Raises:
        ShapeError: the latents are not (C, t, h, w).
    """
    if latents_CTHW.ndim != 4 or 0 in latents_CTHW.shape:
        raise ShapeError(f"latents of a clip are (C, t, h, w), got {tuple(latents_CTHW.shape)}")
    values = latents_CTHW.detach().double().cpu().flatten(1)
    centred = values - values.mean(1, keepdim=True)
    variances, vectors = torch.linalg.eigh(centred @ centred.T / values.shape[1])
    variances, vectors = variances.flip(0)[:3], vectors.flip(1)[:, :3]
    vectors = vectors * vectors.gather(0, vectors.abs().argmax(0, keepdim=True)).sign()  # eigenvectors have no sign
    is_there = variances > 1e-12 * variances[:1].clamp_min(1e-12)
    scores = vectors.T @ centred / variances.clamp_min(1e-24).sqrt()[:, None] * is_there[:, None]
    rgb = torch.zeros(3, values.shape[1], dtype=torch.float64)
    rgb[: len(scores)] = scores
    return _as_bytes(rgb).unflatten(1, latents_CTHW.shape[1:]).transpose(0, 1)


def power_spectrum(latents_CTHW: Tensor) -> tuple[Tensor, Tensor]:
    """Spatial frequencies in cycles per latent, 0 to 0.5, and the power there: two float64 tensors of one length.

    Every channel is centred and scaled to unit variance (channels that are constant are left out), windowed (Hann)
    against the edges, Fourier transformed, and averaged over channels, frames and rings of equal frequency. White
    noise has power 1 everywhere. Empty for latents under 4 x 4.

    Raises:
        ShapeError: the latents are not (C, t, h, w).
    """
    if latents_CTHW.ndim != 4 or 0 in latents_CTHW.shape:
        raise ShapeError(f"latents of a clip are (C, t, h, w), got {tuple(latents_CTHW.shape)}")
    height, width = latents_CTHW.shape[2:]
    if min(height, width) < 4:
        return torch.zeros(0, dtype=torch.float64), torch.zeros(0, dtype=torch.float64)
    values = latents_CTHW.detach().double().cpu()
    centred = values - values.mean((1, 2, 3), keepdim=True)
    variance = centred.square().mean((1, 2, 3))
    kept = variance > 1e-12
    window = torch.hann_window(height + 2)[1:-1, None].double() * torch.hann_window(width + 2)[1:-1].double()
    spectrum = torch.fft.fft2(centred[kept] * window).abs().square() / window.square().sum()
    power = (spectrum / variance[kept, None, None, None]).mean((0, 1))
    return _ring_means(power)


def spectrum_figure(frequencies: Tensor, power: Tensor) -> go.Figure:
    """What `power_spectrum` returns, against white noise."""
    figure = go.Figure()
    figure.add_scatter(
        x=frequencies.tolist(),
        y=power.tolist(),
        mode="lines+markers",
        line_color=COLOURS[0],
        name="latents",
        hovertemplate="%{x:.2f} cycles per latent: %{y:.3g}<extra></extra>",
    )
    line = {"dash": "dot", "color": "#7d7d7d"}
    figure.add_scatter(x=[0, 0.52], y=[1, 1], mode="lines", line=line, name="white noise", hoverinfo="skip")
    figure.update_xaxes(title_text="cycles per latent", range=[0, 0.52])
    figure.update_yaxes(title_text="power", **_log_axis([*power.tolist(), 1.0]))
    return figure.update_layout(template="plotly_white", height=320, margin={"l": 60, "r": 20, "t": 30, "b": 50})


def moments_figure(
    mean: Sequence[float],
    std: Sequence[float],
    stored_mean: Sequence[float] | None = None,
    stored_std: Sequence[float] | None = None,
) -> go.Figure:
    """Mean and standard deviation of every channel, beside those stored with the weights where there are any."""
    titles = ["mean", "standard deviation"]
    figure = make_subplots(2, 1, shared_xaxes=True, vertical_spacing=0.12, subplot_titles=titles)
    for row, (values, stored) in enumerate(((mean, stored_mean), (std, stored_std)), start=1):
        if stored is not None:
            figure.add_trace(_channels(stored, "stored", COLOURS[1], "lines", row), row=row, col=1)
        figure.add_trace(_channels(values, "this clip", COLOURS[0], "markers", row), row=row, col=1)
    figure.update_xaxes(title_text="channel", row=2)
    figure.update_yaxes(**_log_axis([*std, *(stored_std or [])]), row=2)
    return figure.update_layout(template="plotly_white", height=420, margin={"l": 60, "r": 20, "t": 40, "b": 50})


def _log_axis(values: Sequence[float]) -> dict[str, Any]:
    """An axis with about five marks, however little it spans. Without a format, Plotly writes bare digits between the
    decades, and all nine would lie over each other."""
    shown = [value for value in values if value > 0]
    axis: dict[str, Any] = {"type": "log", "tickformat": "~g"}
    if not shown or max(shown) / min(shown) >= _WIDE:
        return axis | {"dtick": "D2"}
    low, ratio = min(shown), max(shown) / min(shown)
    return axis | {"tickvals": sorted({float(f"{low * ratio ** (step / 4):.3g}") for step in range(5)})}


def _channels(values: Sequence[float], name: str, colour: str, mode: str, row: int) -> go.Scatter:
    line = {"shape": "hvh", "width": 1.5, "color": colour}
    return go.Scatter(
        x=list(range(len(values))),
        y=list(values),
        name=name,
        legendgroup=name,
        showlegend=row == 1,
        mode=mode,
        line=line,
        marker={"color": colour, "size": 5},
        hovertemplate=f"channel %{{x}}, {name}: %{{y:.3g}}<extra></extra>",
    )


def _as_bytes(deviations: Tensor) -> Tensor:
    """Standard deviations from the mean to 0..255; the mean is 128."""
    return (deviations * (127.0 / _DEVIATIONS) + 128.0).round().clamp(0, 255).to(torch.uint8)


def _ring_means(power_HW: Tensor) -> tuple[Tensor, Tensor]:
    """Means over rings of equal width in frequency, up to 0.5 cycles; the constant part is left out."""
    height, width = power_HW.shape
    rows, columns = torch.fft.fftfreq(height).double(), torch.fft.fftfreq(width).double()
    radius = (rows[:, None].square() + columns.square()).sqrt()
    count = min(height, width) // 2
    ring = (radius * 2 * count + 0.5).floor().long()
    frequencies, means = [], []
    for index in range(1, count + 1):
        member = ring == index
        frequencies.append(radius[member].mean())
        means.append(power_HW[member].mean())
    return torch.stack(frequencies), torch.stack(means)
