"""What all figures have in common: colours, marks, layouts, and how a metric is titled."""

from workbench.metrics.measure import METRICS

# Okabe and Ito's, told apart by all, with a yellow that shows on white, and grey.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#B8860B", "#56B4E9", "#7F7F7F")
SYMBOLS = ("circle", "square", "diamond", "triangle-up", "x", "star", "hexagon")
"""Models differ in colour and in shape, so that they are told apart without seeing colours."""

SEE_THROUGH = {"template": "none", "paper_bgcolor": "rgba(0,0,0,0)", "plot_bgcolor": "rgba(0,0,0,0)"}
"""The layout of figures on a page that has a light and a dark side."""

LAYOUT = {
    **SEE_THROUGH,
    "margin": {"l": 56, "r": 12, "t": 12, "b": 56},
    "height": 400,
    "legend": {"orientation": "h", "yanchor": "bottom", "y": 1.02, "x": 0},
    "hovermode": "closest",
}


def metric_title(name: str) -> str:
    """A metric's label, its unit, and which way is better."""
    metric = METRICS[name]
    unit = f" ({metric.unit})" if metric.unit else ""
    return f"{metric.label}{unit} {'↑' if metric.higher_is_better else '↓'}"
