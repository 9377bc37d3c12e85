"""What was lost: metrics per frame, on tensors, never on re-compressed previews.

Every metric is a function f(x, y, data_range) of two clips (T, 3, H, W) in a file of its own. Nothing here is heavy to
import: networks are loaded when first used.
"""

from workbench.metrics.lpips import load_lpips, load_lpips_if_available, lpips_available
from workbench.metrics.measure import METRICS, ClipMetrics, Metric, Summary, measure, summarise
from workbench.metrics.networks import missing_network

__all__ = [
    "METRICS",
    "ClipMetrics",
    "Metric",
    "Summary",
    "load_lpips",
    "load_lpips_if_available",
    "lpips_available",
    "measure",
    "missing_network",
    "summarise",
]
