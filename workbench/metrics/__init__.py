"""What was lost: metrics per frame, on tensors, never on re-compressed previews.

Every metric is a function f(x, y, data_range) of two clips (T, 3, H, W) in a file of its own. Nothing here is heavy to
import: lpips is loaded when first used.
"""

from workbench.metrics.lpips import load_lpips, load_lpips_if_available, lpips_available, lpips_backbone_path
from workbench.metrics.measure import METRICS, ClipMetrics, Metric, Summary, measure, summarise

__all__ = [
    "METRICS",
    "ClipMetrics",
    "Metric",
    "Summary",
    "load_lpips",
    "load_lpips_if_available",
    "lpips_available",
    "lpips_backbone_path",
    "measure",
    "summarise",
]
