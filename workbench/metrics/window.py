"""Windows of structural similarity, as numbers alone: records of protocols hold them."""

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Window:
    """What a local mean is taken over.

    Attributes:
        size: pixels of a side, odd.
        sigma: deviation of a Gaussian, in pixels; None weights all pixels alike.
        sample: whether variances are divided by the number of pixels less one, as for a sample, where all weigh alike.
    """

    size: int = 11
    sigma: float | None = 1.5
    sample: bool = False

    @property
    def weights(self) -> tuple[float, ...]:
        """Of sum 1; the window is their product with themselves."""
        if self.sigma is None:
            return (1.0 / self.size,) * self.size
        gauss = [math.exp(-0.5 * ((x - self.size // 2) / self.sigma) ** 2) for x in range(self.size)]
        return tuple(weight / sum(gauss) for weight in gauss)

    @property
    def correction(self) -> float:
        """What a variance is multiplied by."""
        pixels = self.size**2
        return pixels / (pixels - 1) if self.sample else 1.0


WANG = Window()
"""The window of the paper."""

UNIFORM_7 = Window(7, None, sample=True)
"""What scikit-image takes where nothing is said."""
