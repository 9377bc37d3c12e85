"""What frames are measured with, and one original that several models are measured against."""

import math
from dataclasses import dataclass, field

import torch
from torch import Tensor

from workbench.evaluate.protocol_measure import OriginalUnder
from workbench.evaluate.protocols import PROTOCOLS
from workbench.media.video import to_uint8
from workbench.metrics.fvd import FeatureNetwork, I3DFeatures
from workbench.metrics.kept import KeptLpips
from workbench.metrics.lpips import LPIPS
from workbench.metrics.measure import measure
from workbench.metrics.vmaf import Vmaf
from workbench.steps import Progress, Steps


@dataclass(frozen=True)
class Instruments:
    """What frames are measured with, besides the metrics that need nothing.

    Attributes:
        perceptual: the networks of "lpips" and "lpips_alex", by the metric's name.
        fvd: what gives the features of rFVD.
        requested: names of metrics on request, VMAF apart.
        protocols: names of the protocols that clips are measured under as well.
        protocol_lpips: their networks, by backbone and whether they are spatial.
        protocol_i3d: their I3D.
    """

    perceptual: dict[str, LPIPS] = field(default_factory=dict)
    fvd: FeatureNetwork | I3DFeatures | None = None
    vmaf: Vmaf | None = None
    requested: tuple[str, ...] = ()
    protocols: tuple[str, ...] = ()
    protocol_lpips: dict[tuple[str, bool], LPIPS] = field(default_factory=dict)
    protocol_i3d: torch.nn.Module | None = None


@dataclass(frozen=True)
class Measured:
    """One reconstruction of an original.

    Attributes:
        metrics: one value a frame, by name, on the 8-bit frames.
        protocols: figures of the clip, by protocol and name.
        features: of original and output, (n, D) each, by protocol; "" is that of `Instruments.fvd`.
    """

    metrics: dict[str, list[float]]
    protocols: dict[str, dict[str, float]]
    features: dict[str, tuple[Tensor, Tensor]]


class Original:
    """The frames of a clip and what is known of them, kept while its models run."""

    def __init__(self, frames: Tensor, instruments: Instruments, fps: float, keep: bool = True) -> None:
        """`frames` are uint8 (T, 3, H, W); `keep` is for several models, one after the other."""
        self.frames, self._tools, self._fps = frames, instruments, fps
        self._kept = {name: KeptLpips(frames, network, keep) for name, network in instruments.perceptual.items()}
        self._features: Tensor | None = None
        self._by_protocol: dict[str, OriginalUnder] = {}

    def measure_steps(self, y: Tensor) -> Steps[Measured]:
        """Measure a reconstruction, float (T, 3, H, W) nominally in [-1, 1], as steps: frames, windows, protocols."""
        output = to_uint8(y)
        progress = _Counter(self._pieces(output))
        metrics = measure(self.frames, output, requested=self._tools.requested)
        yield progress.one_more()
        metrics |= yield from self._perceptual_steps(output, progress)
        features: dict[str, tuple[Tensor, Tensor]] = {}
        if self._tools.fvd:
            features[""] = yield from self._features_steps(output, progress)
        figures = {}
        for name in self._tools.protocols:
            found = self._under(name).measure(y, self._tools.protocol_lpips)
            figures[name] = found.figures
            if found.features is not None:
                features[name] = found.features
            yield progress.one_more()
        return Measured(metrics, figures, features)

    def _under(self, protocol: str) -> OriginalUnder:
        if protocol not in self._by_protocol:
            original = OriginalUnder(PROTOCOLS[protocol], self.frames, self._fps, self._tools.protocol_i3d)
            self._by_protocol[protocol] = original
        return self._by_protocol[protocol]

    def _pieces(self, output: Tensor) -> int:
        networks = sum(kept.frames for kept in self._kept.values())
        vmaf = self._tools.vmaf.frames(output) if self._tools.vmaf else 0
        return 1 + networks + vmaf + 2 * (self._tools.fvd is not None) + len(self._tools.protocols)

    def _perceptual_steps(self, output: Tensor, progress: "_Counter") -> Steps[dict[str, list[float]]]:
        found = {name: [math.nan] * len(output) for name in self._kept}
        for name, kept in self._kept.items():
            for first, values in kept.against(output):
                values = values[: len(output) - first]
                found[name][first : first + len(values)] = values
                yield progress.one_more(sum(not math.isnan(value) for value in values))
        if self._tools.vmaf:
            found["vmaf"] = [math.nan] * len(output)
            for number, value in self._tools.vmaf.against(self.frames, output):
                found["vmaf"][number] = value
                yield progress.one_more()
        return found

    def _features_steps(self, output: Tensor, progress: "_Counter") -> Steps[tuple[Tensor, Tensor]]:
        network = self._tools.fvd
        assert network is not None, "features without a network"
        if self._features is None:
            self._features = network.features(self.frames)
        yield progress.one_more()
        features = network.features(output)
        yield progress.one_more()
        return self._features, features


class _Counter:
    def __init__(self, total: int) -> None:
        self._done, self._total = 0, total

    def one_more(self, pieces: int = 1) -> Progress:
        self._done += pieces
        return Progress("measure", self._done, self._total)
