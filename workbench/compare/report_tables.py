"""The tables of a leaderboard below its own: spreads, differences, protocols, published figures."""

import html
import math
from collections.abc import Mapping, Sequence
from typing import Any

from workbench.compare.palette import metric_title
from workbench.compare.tables import shown

_FIGURES = {
    "psnr": "PSNR (dB) ↑",
    "ssim": "SSIM ↑",
    "lpips": "LPIPS ↓",
    "fvd_frechet": "Fréchet distance over the set ↓",
    "i3d_per_clip_sq": "I3D distance squared, per clip ↓",
    "fvd_unknown": "FVD, way not published ↓",
}


def spread_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """HTML: of every model and metric the mean with its interval, the median, one in twenty and the worst."""
    cells = [
        {
            "Model": row["model"],
            "Metric": metric_title(row["metric"]),
            "Over": row["over"],
            "Mean (95 % interval)": with_interval(row["mean"], row["low_95"], row["high_95"]),
            "Median": number(row["median"]),
            "One in twenty is worse than": number(row["one_in_twenty"]),
            "Worst": number(row["worst"]),
        }
        for row in rows
    ]
    return _table(cells)


def difference_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """HTML: paired differences; each pair of models once, seen from the first."""
    seen: set[frozenset[str]] = set()
    cells = []
    for row in rows:
        key = frozenset((row["metric"], row["model"], row["other"]))
        if key not in seen:
            seen.add(key)
            low, high = row["interval"] or (None, None)
            cells.append(
                {
                    "Metric": metric_title(row["metric"]),
                    "Difference": f"{row['model']} less {row['other']}",
                    "Mean (95 % interval)": with_interval(row["mean"], low, high),
                    "Better": _better(row, rows),
                }
            )
    return _table(cells)


def protocol_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """HTML: figures under protocols, or published ones."""
    present = [name for name in _FIGURES if any(row.get(name) is not None for row in rows)]
    cells = []
    for row in rows:
        line = {"Protocol": row["protocol"], "Model": row["model"]}
        for name in present:
            ends = row.get(f"{name}_low_95"), row.get(f"{name}_high_95")
            line[_FIGURES[name]] = "–" if row.get(name) is None else with_interval(row[name], *ends)
        cells.append(line | ({"Source": row["source"]} if "source" in row else {}))
    return _table(cells)


def protocol_facts(record: Mapping[str, Mapping[str, Any]]) -> str:
    """HTML: what each protocol is, where it was read, and what is odd or unknown in it."""
    items = []
    for name, protocol in record.items():
        odd = "".join(f"<li>odd: {visible(line)}</li>" for line in protocol["odd"])
        unknown = "".join(f"<li>unknown: {visible(line)}</li>" for line in protocol["unknown"])
        lists = f"<ul>{odd}{unknown}</ul>" if odd or unknown else ""
        text = f"{visible(protocol['title'])}, from {visible(protocol['source'])}{lists}"
        items.append(f"<dt>{visible(name)}</dt><dd>{text}</dd>")
    return f'<dl class="card">{"".join(items)}</dl>'


def with_interval(value: float, low: float | None, high: float | None) -> str:
    """A value with the ends of its interval, where it has one."""
    return number(value) if low is None or high is None else f"{number(value)} ({number(low)} to {number(high)})"


def number(value: float | None) -> str:
    """Four significant digits, as in the leaderboard."""
    if value is None or not math.isfinite(value):
        return "–"
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:.2f}" if 10 <= abs(value) < 1000 else f"{value:.4g}" if abs(value) < 10 else f"{value:,.0f}"


def _better(row: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> str:
    """The better of the two, in words; that neither is, where the interval holds zero."""
    pair = {row["model"], row["other"]}
    same = [one for one in rows if one["metric"] == row["metric"] and {one["model"], one["other"]} == pair]
    winner = next((one["model"] for one in same if one["better"]), None)
    if winner is not None:
        return winner
    return "not told by these clips" if row["interval"] else "too few clips to tell"


def _table(rows: Sequence[Mapping[str, str]]) -> str:
    columns = list(dict.fromkeys(name for row in rows for name in row))
    head = "".join(f'<th scope="col">{visible(name)}</th>' for name in columns)
    body = "".join(
        "<tr>" + "".join(f"<td>{visible(row.get(name, ''))}</td>" for name in columns) + "</tr>" for row in rows
    )
    table = f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
    return f'<div class="card scroll" tabindex="0">{table}</div>'


def visible(value: str) -> str:
    """Text for a page: escaped, with control characters made visible."""
    return html.escape(shown(value))
