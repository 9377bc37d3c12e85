"""Figures of training data: which clips go to which bucket, and which frames are taken of them."""

import html
from collections.abc import Sequence
from pathlib import Path

import plotly.graph_objects as go

from workbench.compare.palette import COLOURS
from workbench.data.buckets import Bucket, Buckets
from workbench.data.clips import ClipRequest
from workbench.media.index import Clip


def bucket_figure(clips: Sequence[Clip], buckets: Buckets, seed: int, epoch: int) -> go.Figure:
    """Every clip by its length and size, coloured by the bucket that it goes to in one epoch; hollow if to none."""
    figure = go.Figure()
    members = buckets.assign(seed, epoch)
    used = {int(clip) for numbers in members for clip in numbers}
    left_out = [number for number in range(len(clips)) if number not in used]
    groups: list[tuple[str, list[int]]] = [
        (_bucket_name(bucket), numbers.tolist()) for bucket, numbers in zip(buckets.all, members, strict=True)
    ]
    for index, (name, numbers) in enumerate([*groups, ("left out of this epoch", left_out)]):
        if not len(numbers):
            continue
        chosen = [clips[number] for number in numbers]
        figure.add_scatter(
            x=[clip.num_frames for clip in chosen],
            y=[min(clip.height, clip.width) for clip in chosen],
            text=[f"{clip.width} x {clip.height}" for clip in chosen],
            name=f"{name}: {len(chosen)}",
            mode="markers",
            marker={"color": COLOURS[index % len(COLOURS)], "size": 6, "symbol": index % 24},
            hovertemplate="%{text}, %{x} frames<extra>%{fullData.name}</extra>",
        )
    figure.update_xaxes(title_text="frames of the clip", type="log")
    figure.update_yaxes(title_text="short side (pixels)", type="log")
    return figure.update_layout(template="plotly_white", height=420, margin={"l": 60, "r": 20, "t": 20, "b": 50})


def sampling_figure(requests: Sequence[ClipRequest], clips: Sequence[Clip]) -> go.Figure:
    """Which frames of each clip are taken: one row a request, over a grey bar as long as its clip."""
    lengths = {clip.path: clip.num_frames for clip in clips}
    ordered = sorted(requests, key=lambda request: request.path)
    rows = [f"{index}: {html.escape(Path(request.path).name)}" for index, request in enumerate(ordered, start=1)]
    bars = go.Bar(x=[lengths[request.path] for request in ordered], y=rows, orientation="h", marker_color="#e2e2e2")
    figure = go.Figure(bars.update(hoverinfo="skip"))
    for row, request in zip(rows, ordered, strict=True):
        frames = [request.start_frame + index * request.interval for index in range(request.num_frames)]
        marker = {"color": COLOURS[0], "size": 5}
        hover = "frame %{x}<extra></extra>"
        figure.add_scatter(x=frames, y=[row] * len(frames), mode="markers", marker=marker, hovertemplate=hover)
    figure.update_xaxes(title_text="frame of the file")
    figure.update_yaxes(autorange="reversed")
    height = 100 + 22 * len(rows)
    return figure.update_layout(template="plotly_white", showlegend=False, height=height, margin={"l": 140, "t": 20})


def _bucket_name(bucket: Bucket) -> str:
    return f"{bucket.num_frames} frames of {bucket.width} x {bucket.height}"
