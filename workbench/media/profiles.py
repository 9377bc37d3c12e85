"""Colour profiles (ICC) that pictures carry, and their colours as sRGB."""

import io

import numpy as np
import torch
from PIL import Image, ImageCms, features
from torch import Tensor

_MODES = {"RGB": "RGB", "GRAY": "L"}
_STEPS = (0, 51, 102, 153, 204, 255)  # of the colours by which it is told whether a profile is that of sRGB


class SrgbConverter:
    """Takes the colours of one picture from its profile to sRGB; does nothing where they are that already.

    Attributes:
        warning: what a viewer should know, in a line; None where there is nothing to say.
    """

    def __init__(self, icc_profile: bytes | None) -> None:
        self._transform: ImageCms.ImageCmsTransform | None = None
        self.warning: str | None = None
        if not icc_profile:
            return
        if not features.check("littlecms2"):
            self.warning = "its colour profile is ignored: this Pillow is without LittleCMS"
            return
        try:
            profile = ImageCms.ImageCmsProfile(io.BytesIO(icc_profile))
            name = " ".join((profile.profile.profile_description or "of no name").split())
            self._begin(profile, profile.profile.xcolor_space.strip(), name)
        except (OSError, ValueError, TypeError, ImageCms.PyCMSError) as error:
            self.warning = f"its colour profile cannot be read and is ignored ({' '.join(str(error).split())})"

    def __call__(self, rgb_CHW: Tensor) -> Tensor:
        """uint8 (3, H, W) in the colours of the profile, as sRGB of the same shape."""
        if self._transform is None:
            return rgb_CHW
        pixels = rgb_CHW.permute(1, 2, 0).contiguous().numpy()
        picture = Image.fromarray(pixels if self._transform.input_mode == "RGB" else pixels[:, :, 0])
        converted = ImageCms.applyTransform(picture, self._transform)
        return torch.from_numpy(np.array(converted)).permute(2, 0, 1).contiguous()

    def _begin(self, profile: ImageCms.ImageCmsProfile, space: str, name: str) -> None:
        if space not in _MODES:
            self.warning = f"its {space} colour profile ({name}) is ignored"
            return
        intent = ImageCms.Intent.RELATIVE_COLORIMETRIC
        srgb = ImageCms.createProfile("sRGB")
        self._transform = ImageCms.buildTransform(profile, srgb, _MODES[space], "RGB", intent)
        colours = torch.cartesian_prod(*(torch.tensor(_STEPS, dtype=torch.uint8),) * 3).T.reshape(3, -1, 6)
        if space == "GRAY":
            colours = colours[2:].expand(3, -1, -1)
        if (self(colours).int() - colours.int()).abs().max() <= 1:
            self._transform = None
        else:
            self.warning = f"colours are converted from the profile {name} to sRGB"
