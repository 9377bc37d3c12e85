"""A leaderboard as one HTML page that needs nothing else: Plotly and pictures are inside, it opens offline."""

import json
import math
import string
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import plotly.graph_objects as go
from PIL import Image
from plotly.offline import get_plotlyjs

from workbench.compare.palette import metric_title
from workbench.compare.pictures import png_url
from workbench.compare.report_figures import COSTS, per_clip, trade_off
from workbench.compare.report_tables import (
    difference_table,
    number,
    protocol_facts,
    protocol_table,
    spread_table,
    visible,
)
from workbench.metrics.measure import METRICS
from workbench.words import counted

_TEMPLATE, _STYLE = (Path(__file__).with_name(f"report.{kind}") for kind in ("html", "css"))
_PANELS = ("original", "reconstruction", "difference")
_METHOD = (
    "Every model got the same 8-bit frames. Sizes that a model does not take are padded by repeating the last frame, "
    "row and column: the padding's latents are charged to it, and metrics compare only the frames that were there. "
    "Bits per pixel count {bits} bits a latent value, without entropy coding, over the pixels of the unpadded clip; "
    "values in : out counts 3 values a pixel. Pixels read per pixel is what padding and overlapping tiles add to the "
    "encoder's work; work is what overlaps in any stage of encoder and decoder cost in operations: 1 where none reads "
    "anything twice. Frames per second count the time from frames in main memory to latents there, and back, tiling "
    "included; peak memory is what both take beyond weights and clip{memory}. "
    "A clip's metric is the mean over its frames, with PSNR at most 100 dB."
)


@dataclass(frozen=True)
class WorstFrame:
    """One frame to show: `picture` is a file with original, reconstruction and difference from left to right."""

    model: str
    clip: str
    frame: int
    psnr: float
    picture: Path


@dataclass(frozen=True)
class Column:
    """A column of the leaderboard: a key of its rows, its heading, and which way is better (None: neither)."""

    key: str
    heading: str
    higher_is_better: bool | None


COLUMNS = (
    *(Column(name, metric_title(name), metric.higher_is_better) for name, metric in METRICS.items()),
    Column("fvd_frechet", "rFVD ↓", False),
    Column("i3d_per_clip_sq", "I3D squared, per window ↓", False),
    Column("worst_psnr", "Worst PSNR ↑", True),
    Column("compression", "Values in : out", None),
    Column("bits_per_pixel", "Bits per pixel", None),
    Column("read_ratio", "Pixels read per pixel", None),
    Column("work", "Work", None),
    Column("tiling_mode", "Mode", None),
    Column("encode_fps", "Encode fps ↑", True),
    Column("decode_fps", "Decode fps ↑", True),
    Column("peak_memory_mb", "Peak MB ↓", False),
    Column("parameters", "Parameters", None),
)


def leaderboard_html(
    record: Mapping[str, Any], worst: Sequence[WorstFrame], gain: float, faults: str | None = None
) -> str:
    """The page.

    Args:
        record: what `results.json` of an evaluation holds: "policy", "models", "leaderboard" (rows, best first),
            "clips" (rows), "common_clips" (their number), "fvd" (what was done about it, or None), "best" (model by
            metric), "spreads", "differences", "protocols" and "published" (rows) and "failures".
        worst: frames to show, grouped by model.
        gain: how much differences are amplified in their pictures.
        faults: the page of the fault suite beside this one.
    """
    rows, policy = record["leaderboard"], record["policy"]
    template = string.Template(_TEMPLATE.read_text(encoding="utf-8"))
    memory = " (of the whole process, about)" if policy["device"] == "cpu" else " (on the device)"
    return template.substitute(
        style=_STYLE.read_text(encoding="utf-8"),
        subtitle=_subtitle(record),
        failures=_failures(record["failures"]),
        faults=f'<p><a href="{faults}">Faults that users report, on drawn clips</a></p>' if faults else "",
        leaderboard_note=f"Means over what every model finished: {counted(record['common_clips'], 'clip')}.",
        leaderboard=_table(rows, record["best"]) if rows else "<p>No clip was finished by all models.</p>",
        findings=_findings(record),
        charts=_charts(rows),
        worst="".join(_worst_of(model, worst) for model in dict.fromkeys(frame.model for frame in worst)),
        gain=f"{gain:g}",
        method=_METHOD.format(bits=policy["bits_per_value"], memory=memory),
        policy="".join(f"<dt>{visible(name)}</dt><dd>{visible(value)}</dd>" for name, value in _facts(record).items()),
        plotly=get_plotlyjs(),
        figures=_figures(rows, record["clips"]),
    )


def _subtitle(record: Mapping[str, Any]) -> str:
    clips = {row["clip"] for row in record["clips"]}
    frames = {row["clip"]: row["frames"] for row in record["clips"]}
    policy = record["policy"]
    numbers = {"model": len(record["models"]), "clip": len(clips), "frame": sum(frames.values())}
    all_of_it = ", ".join(counted(number, noun) for noun, number in numbers.items())
    return visible(f"{all_of_it}; {policy['dtype']} on {policy['device']}")


def _failures(failures: Sequence[Mapping[str, str]]) -> str:
    if not failures:
        return ""
    models: dict[str, list[str]] = {}
    for one in failures:
        models.setdefault(one["reason"], []).append(one["model"])
    items = "".join(f"<li>{visible(reason)} ({visible(', '.join(names))})</li>" for reason, names in models.items())
    return f"<h2>Not finished</h2><ul>{items}</ul>"


def _findings(record: Mapping[str, Any]) -> str:
    """What the clips say beyond their means, and figures under published protocols."""
    parts = [f"<h2>Spread over clips and frames</h2>{spread_table(record['spreads'])}"] if record["spreads"] else []
    if record["differences"]:
        parts.append(f"<h2>Differences, clip by clip</h2>{difference_table(record['differences'])}")
    if record["protocols"]:
        parts.append(f"<h2>Under published protocols</h2>{protocol_table(record['protocols'])}")
        parts.append(protocol_facts(record["policy"]["protocols"]))
    if record["published"]:
        parts.append(f"<h2>Published on this set, under this protocol</h2>{protocol_table(record['published'])}")
    elif record["published_note"]:
        parts.append(f"<p>{visible(record['published_note'])}.</p>")
    return "".join(parts)


def _table(rows: Sequence[Mapping[str, Any]], best_models: Mapping[str, str]) -> str:
    columns = [column for column in COLUMNS if any(row.get(column.key) is not None for row in rows)]
    best = {column.key: _best(column, rows, best_models) for column in columns}
    head = "".join(map(_heading, [Column("model", "Model", None), *columns]))
    body = "".join(f"<tr>{_model_cell(row)}{''.join(_cell(row, c, best[c.key]) for c in columns)}</tr>" for row in rows)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _heading(column: Column) -> str:
    first = "descending" if column.higher_is_better else "ascending"
    sort = ' aria-sort="descending"' if column.key == "psnr" else ""
    return f'<th scope="col" data-first="{first}"{sort}><button type="button">{visible(column.heading)}</button></th>'


def _best(column: Column, rows: Sequence[Mapping[str, Any]], best_models: Mapping[str, str]) -> float | None:
    """The value to shade: of a metric that of the model which is better than each other beyond chance, of a cost the
    best. Distances between sets have one value a model and are not shaded."""
    if column.key in METRICS:
        return next((row[column.key] for row in rows if row["model"] == best_models.get(column.key)), None)
    values = [row[column.key] for row in rows if _is_number(row.get(column.key))]
    if column.key not in COSTS or column.higher_is_better is None or len(rows) < 2 or not values:
        return None
    return max(values) if column.higher_is_better else min(values)


def _model_cell(row: Mapping[str, Any]) -> str:
    badge = ' <span class="badge">untrained</span>' if row["random_weights"] else ""
    return f'<th scope="row" data-value="{visible(row["model"])}">{visible(row["model"])}{badge}</th>'


def _cell(row: Mapping[str, Any], column: Column, best: float | None) -> str:
    value = row.get(column.key)
    if isinstance(value, str):
        return f'<td data-value="{visible(value)}">{visible(value)}</td>'
    if value is None or not _is_number(value):
        return '<td data-value="">–</td>'
    mark = ' class="best"' if best is not None and value == best else ""
    return f'<td data-value="{value}"{mark}>{number(value)}</td>'


def _charts(rows: Sequence[Mapping[str, Any]]) -> str:
    """The two charts' frames; what they show is drawn by the page's script from `_figures`."""
    metrics = _select("Metric", {name: METRICS[name].label for name in _present(rows)})
    costs = _select("against", _present_costs(rows))
    plot = '<div class="plot"></div></div>'
    return (
        f'<div class="card chart" data-chart="trade_off">{metrics}{costs}{plot}'
        f'<div class="card chart" data-chart="per_clip">{metrics}{plot}'
    )


def _select(label: str, options: Mapping[str, str]) -> str:
    items = "".join(f'<option value="{value}">{visible(shown)}</option>' for value, shown in options.items())
    return f"<label>{label} <select>{items}</select></label>"


def _figures(rows: Sequence[Mapping[str, Any]], clips: Sequence[Mapping[str, Any]]) -> str:
    """Every chart for every choice of its menus, as JSON that is safe inside a script."""
    metrics, models = _present(rows), [row["model"] for row in rows]
    trades = {f"{m} {c}": _plain(trade_off(rows, m, c)) for m in metrics for c in _present_costs(rows)}
    by_clip = {metric: _plain(per_clip(clips, models, metric)) for metric in metrics}
    return json.dumps({"trade_off": trades, "per_clip": by_clip}).replace("<", "\\u003c")


def _plain(figure: go.Figure) -> dict[str, Any]:
    return json.loads(figure.to_json())


def _present(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """The metrics that every model has."""
    return [name for name in METRICS if rows and all(name in row for row in rows)]


def _present_costs(rows: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    return {name: label for name, label in COSTS.items() if rows and all(_is_number(row[name]) for row in rows)}


def _worst_of(model: str, worst: Sequence[WorstFrame]) -> str:
    frames = "".join(map(_worst_frame, (frame for frame in worst if frame.model == model)))
    return f'<section class="card model"><h3>{visible(model)}</h3>{frames}</section>'


def _worst_frame(frame: WorstFrame) -> str:
    caption = f"{visible(frame.clip)}, frame {frame.frame}: {frame.psnr:.2f} dB"
    panels = zip(_PANELS, _split(frame.picture), strict=True)
    figures = "".join(
        f'<figure><img src="{source}" alt="{name} of {visible(frame.clip)}"><figcaption>{name}</figcaption></figure>'
        for name, source in panels
    )
    return f'<div class="worst"><p>{caption}</p><div class="panels">{figures}</div></div>'


def _split(picture: Path) -> list[str]:
    """The panels of a picture as data addresses, lossless."""
    with Image.open(picture) as image:
        width = image.width // len(_PANELS)
        boxes = [(index * width, 0, (index + 1) * width, image.height) for index in range(len(_PANELS))]
        return [png_url(image.crop(box), optimize=True) for box in boxes]


def _facts(record: Mapping[str, Any]) -> dict[str, str]:
    """The policy, what the times depend on, and each model's tiles, as they are told to a reader."""
    policy, clips = record["policy"], record["clips"]
    ranks, threads = ({row[name] for row in clips} for name in ("ranks", "threads"))
    return {
        "Frame size": policy["resolution"] or "as it is",
        "Frames of a clip": _frames(policy),
        "Frame rate": f"at most {policy['fps_max']:g} a second" if policy["fps_max"] else "as it is",
        "Computed in": f"{policy['dtype']} on {policy['device']}",
        "Timed with": f"{_either(ranks)} processes at once, {_either(threads)} CPU threads each",
        "LPIPS": _lpips(policy),
        **({"VMAF": f"v0.6.1, {_every(policy['vmaf_every'])}"} if policy["vmaf_every"] else {}),
        **({"rFVD": record["fvd"]} if record["fvd"] else {}),
        **_ways(record),
    }


def _ways(record: Mapping[str, Any]) -> dict[str, str]:
    """How each model was run; tiles only where there were any."""
    modes = {row["model"]: row["tiling_mode"] for row in record["leaderboard"]}
    overlap = f"{record['policy']['tile_overlap_factor']:.0%} of a tile overlaps the next"
    return {
        f"{one['model']} was run in": f"tiles of {_tiles(one)}; {overlap}"
        if modes[one["model"]] == "tiles"
        else f"{modes[one['model']]}: streamed over whole frames"
        for one in record["models"]
        if one["model"] in modes
    }


def _lpips(policy: Mapping[str, Any]) -> str:
    if not policy["lpips"]:
        return "left out: its network was not there"
    backbones = {"lpips": "VGG-16", "lpips_alex": "AlexNet"}
    return f"{' and '.join(backbones[name] for name in policy['lpips'])}, version 0.1, {_every(policy['lpips_every'])}"


def _every(step: int) -> str:
    return "every frame" if step == 1 else f"one frame of {step}"


def _frames(policy: Mapping[str, Any]) -> str:
    if policy["num_frames"]:
        return f"exactly {policy['num_frames']}"
    return f"at most {policy['max_frames']}" if policy["max_frames"] else "all"


def _either(values: Iterable[int]) -> str:
    return " or ".join(map(str, sorted(values))) or "no"


def _tiles(facts: Mapping[str, Any]) -> str:
    pixels, frames = facts["spatial_tile_size"], facts["temporal_tile_size"]
    side = f"{pixels} x {pixels} pixels" if pixels else "whole frames"
    return f"{side}, {frames or 'all'} frames"


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)
