"""How alike two pictures are: SSIM (Wang et al. 2004: Gaussian window of 11, sigma 1.5, luma)."""

import numpy as np
import numpy.typing as npt
from PIL import Image

WINDOW, SIGMA = 11, 1.5
Plane = npt.NDArray[np.float64]


def ssim(one: Image.Image, other: Image.Image) -> float:
    """Return the mean structural similarity of two pictures' luma."""
    a, b = (np.asarray(image.convert("L"), dtype=np.float64) for image in (one, other))
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    mean_a, mean_b = _blurred(a), _blurred(b)
    var_a, var_b = _blurred(a * a) - mean_a**2, _blurred(b * b) - mean_b**2
    covariance = _blurred(a * b) - mean_a * mean_b
    likeness = (2 * mean_a * mean_b + c1) * (2 * covariance + c2)
    return float((likeness / ((mean_a**2 + mean_b**2 + c1) * (var_a + var_b + c2))).mean())


def _blurred(plane: Plane) -> Plane:
    offsets = np.arange(WINDOW) - WINDOW // 2
    weights = np.exp(-(offsets**2) / (2 * SIGMA**2))
    weights /= weights.sum()
    window = np.lib.stride_tricks.sliding_window_view
    rows = window(plane, WINDOW, axis=0) @ weights
    return np.asarray(window(rows, WINDOW, axis=1) @ weights)
