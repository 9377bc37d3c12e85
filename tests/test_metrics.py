"""Every metric against an independent implementation and against values known beforehand."""

import math
import subprocess
import sys

import cv2
import numpy as np
import pytest
import pytorch_msssim
import torch
from safetensors.torch import save_file
from scipy import linalg, ndimage
from skimage import data
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from workbench.errors import ConfigError, ShapeError, WeightsError
from workbench.metrics import frames
from workbench.metrics.fvd import frechet_distance
from workbench.metrics.lpips import load_lpips, load_lpips_if_available, lpips, lpips_available
from workbench.metrics.measure import METRICS, ClipMetrics, measure, summarise
from workbench.metrics.networks import network_path
from workbench.metrics.psnr import MAX_PSNR_DB, psnr
from workbench.metrics.ssim import ssim
from workbench.metrics.temporal import flicker, temporal_error
from workbench.metrics.warp import warp_error
from workbench.metrics.window import UNIFORM_7


@pytest.fixture(scope="module")
def original() -> torch.Tensor:
    """A real clip, uint8 (5, 3, 61, 83): a window that moves over a photograph."""
    photo = torch.from_numpy(data.astronaut()).permute(2, 0, 1)
    return torch.stack([photo[:, 90:151, start : start + 83] for start in range(180, 195, 3)])


@pytest.fixture(scope="module")
def output(original) -> torch.Tensor:
    """The clip with noise that grows from frame to frame."""
    noise = torch.randn(original.shape, generator=torch.Generator().manual_seed(0))
    strength = torch.linspace(5, 45, 5).view(5, 1, 1, 1)
    return (original + noise * strength).round().clamp(0, 255).to(torch.uint8)


@pytest.fixture(scope="module")
def network() -> torch.nn.Module:
    return load_lpips(random_backbone=True)


def as_images(clip: torch.Tensor) -> list[np.ndarray]:
    return list(clip.permute(0, 2, 3, 1).numpy())


def constant_clip(*levels: int) -> torch.Tensor:
    return torch.tensor(levels, dtype=torch.uint8).view(-1, 1, 1, 1).expand(-1, 3, 16, 24).contiguous()


# Against other implementations


def test_psnr_is_that_of_scikit_image(original, output):
    pairs = zip(as_images(original), as_images(output), strict=True)
    expected = [peak_signal_noise_ratio(x, y, data_range=255) for x, y in pairs]
    torch.testing.assert_close(psnr(original, output, 255).tolist(), expected, rtol=1e-5, atol=0)


def test_ssim_is_that_of_scikit_image(original, output):
    options = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False, "channel_axis": 2}
    pairs = zip(as_images(original), as_images(output), strict=True)
    expected = [structural_similarity(x, y, data_range=255, **options) for x, y in pairs]
    torch.testing.assert_close(ssim(original, output, 255).tolist(), expected, rtol=0, atol=1e-5)


def test_ssim_is_that_of_pytorch_msssim(original, output):
    expected = pytorch_msssim.ssim(original.double(), output.double(), data_range=255, size_average=False)
    torch.testing.assert_close(ssim(original, output, 255).double(), expected, rtol=0, atol=1e-5)


def test_ssim_of_the_uniform_window_is_that_of_scikit_image_where_nothing_is_said(original, output):
    pairs = zip(as_images(original), as_images(output), strict=True)
    expected = [structural_similarity(x, y, data_range=255, channel_axis=2) for x, y in pairs]
    torch.testing.assert_close(ssim(original, output, 255, UNIFORM_7).tolist(), expected, rtol=0, atol=1e-5)


def test_temporal_metrics_are_their_formulas(original, output):
    x, y = original.numpy().astype(np.float64), output.numpy().astype(np.float64)
    dx, dy = x[1:] - x[:-1], y[1:] - y[:-1]
    error = np.sqrt(((dy - dx) ** 2).mean(axis=(1, 2, 3))).tolist()
    excess = np.maximum(np.abs(dy) - np.abs(dx), 0).mean(axis=(1, 2, 3)).tolist()
    torch.testing.assert_close(temporal_error(original, output, 255)[1:].tolist(), error, rtol=1e-5, atol=0)
    torch.testing.assert_close(flicker(original, output, 255)[1:].tolist(), excess, rtol=1e-5, atol=0)


@pytest.mark.parametrize("backbone", ["vgg", "alex"])
def test_lpips_is_that_of_its_authors_package(original, output, backbone):
    """The same random convolutions in both, and the package's own heads."""
    import torchvision_operators  # noqa: F401, I001  (must precede lpips, which imports torchvision)
    import lpips as package

    theirs = package.LPIPS(net=backbone, pnet_rand=True, verbose=False)
    x, y = original / 127.5 - 1, output / 127.5 - 1
    for spatial in (False, True):
        network = load_lpips(random_backbone=True, backbone=backbone, spatial=spatial)
        state, theirs.spatial = network.layers.state_dict(), spatial
        theirs.net.load_state_dict({name: state[name.split(".", 1)[1]] for name in theirs.net.state_dict()})
        torch.testing.assert_close(network(x, y), theirs(x, y), rtol=1e-4, atol=1e-6)
        expected = theirs(x, y).mean((1, 2, 3))
        torch.testing.assert_close(lpips(original, output, 255, network), expected, rtol=1e-4, atol=1e-6)


def test_frechet_distance_is_that_of_scipy():
    generator = np.random.default_rng(0)
    a = generator.normal(size=(300, 20)) @ generator.normal(size=(20, 20))
    b = generator.normal(0.3, 2.0, size=(200, 20)) @ generator.normal(size=(20, 20))
    (mean_a, cov_a), (mean_b, cov_b) = ((x.mean(0), np.cov(x, rowvar=False)) for x in (a, b))
    expected = ((mean_a - mean_b) ** 2).sum() + np.trace(cov_a + cov_b - 2 * linalg.sqrtm(cov_a @ cov_b).real)
    assert frechet_distance(torch.tensor(a), torch.tensor(b)) == pytest.approx(expected, rel=1e-9)
    assert frechet_distance(torch.tensor(a), torch.tensor(a)) == pytest.approx(0, abs=1e-6)
    assert frechet_distance(torch.tensor(a), torch.tensor(a) + 2.0) == pytest.approx(20 * 2.0**2)


def test_frechet_distance_of_too_few_members_is_refused():
    with pytest.raises(ShapeError, match="20 features need 21 windows or more, got 20"):
        frechet_distance(torch.zeros(30, 20), torch.zeros(20, 20))


def test_warp_error_warps_as_scipy_does(original, output):
    """By OpenCV's flow between the originals, over the pixels where the two directions of it agree."""
    flow = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_FAST)
    previous, current = (cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in as_images(original[:2]))
    backward, forward = flow.calc(current, previous, None), flow.calc(previous, current, None)
    rows, columns = np.mgrid[: current.shape[0], : current.shape[1]].astype(np.float64)
    at = rows + backward[..., 1], columns + backward[..., 0]
    back = np.stack([ndimage.map_coordinates(forward[..., k], at, order=1, mode="nearest") for k in (0, 1)], -1)
    agree = ((back + backward) ** 2).sum(-1) <= 0.01 * ((back**2).sum(-1) + (backward**2).sum(-1)) + 0.5
    inside = (at[0] >= 0) & (at[0] <= rows.max()) & (at[1] >= 0) & (at[1] <= columns.max())
    error = output.numpy().astype(np.float64) - original.numpy()
    warped = np.stack([ndimage.map_coordinates(channel, at, order=1, mode="nearest") for channel in error[0]])
    expected = np.sqrt(((error[1] - warped)[:, agree & inside] ** 2).mean())
    assert (agree & inside).mean() > 0.5
    assert warp_error(original, output, 255)[1].item() == pytest.approx(expected, rel=1e-3)


# Known values


def test_known_values_of_psnr():
    clip = constant_clip(100)
    assert psnr(clip, clip + 1, 255).item() == pytest.approx(20 * math.log10(255), abs=1e-4)
    assert psnr(constant_clip(0), constant_clip(255), 255).item() == pytest.approx(0)


def test_identical_clips_have_the_best_values(original, network):
    values = measure(original, original.clone(), network)
    assert values["psnr"] == [MAX_PSNR_DB] * 5
    assert values["ssim"] == pytest.approx([1.0] * 5)
    assert values["lpips"] == pytest.approx([0.0] * 5)
    assert values["temporal_error"][1:] == values["flicker"][1:] == [0.0] * 4


def test_known_values_of_the_temporal_metrics():
    still, blinking, moving = constant_clip(50, 50, 50), constant_clip(50, 60, 50), constant_clip(50, 70, 50)
    assert flicker(still, blinking, 255)[1:].tolist() == pytest.approx([10, 10])
    assert temporal_error(still, blinking, 255)[1:].tolist() == pytest.approx([10, 10])
    assert temporal_error(moving, blinking, 255)[1:].tolist() == pytest.approx([10, 10])
    assert flicker(moving, blinking, 255)[1:].tolist() == [0, 0], "lost motion is no flicker"
    assert temporal_error(still, still + 9, 255)[1:].tolist() == [0, 0], "a constant error is no temporal error"


def test_more_noise_is_worse(original, output, network):
    values = measure(original, output, network, requested=["warp_error"])
    for name, found in values.items():
        defined = [value for value in found if not math.isnan(value)]
        assert defined == sorted(defined, reverse=METRICS[name].higher_is_better), name


def test_errors_that_stick_to_what_moves_have_little_warp_error():
    """A window moves 3 pixels a frame over a photo; dirt on the photo moves with it, dirt on the lens does not."""
    photo = torch.from_numpy(data.astronaut()).permute(2, 0, 1)
    dirt = torch.randint(-20, 21, photo.shape, generator=torch.Generator().manual_seed(0))
    dirty = (photo.int() + dirt).clamp(0, 255).to(torch.uint8)
    clip, on_photo = (torch.stack([p[:, 90:218, s : s + 160] for s in range(150, 162, 3)]) for p in (photo, dirty))
    on_lens = (clip.int() + dirt[:, :128, :160]).clamp(0, 255).to(torch.uint8)
    assert warp_error(clip, on_photo, 255)[1:].max() < 0.3 * warp_error(clip, on_lens, 255)[1:].min()
    assert temporal_error(clip, on_photo, 255)[1:].min() > 0.8 * temporal_error(clip, on_lens, 255)[1:].min()
    assert warp_error(clip, clip, 255)[1:].tolist() == [0, 0, 0]


def test_the_warp_error_without_opencv_says_what_to_install(original, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match="pip install opencv-python-headless"):
        warp_error(original, original, 255)


# Ranges and sizes


@pytest.mark.parametrize("metric", [psnr, ssim, temporal_error, flicker, warp_error])
def test_the_range_of_values_does_not_matter(metric, original, output):
    expected = metric(original, output, 255)
    unit = metric(original / 255, output / 255, 1)
    signed = metric(original / 127.5 - 1, output / 127.5 - 1, 2)
    torch.testing.assert_close(unit, expected, rtol=1e-4, atol=1e-4, equal_nan=True)
    torch.testing.assert_close(signed, expected, rtol=1e-4, atol=1e-4, equal_nan=True)


def test_the_range_of_values_does_not_matter_to_lpips(original, output, network):
    expected = lpips(original, output, 255, network)
    torch.testing.assert_close(lpips(original / 255, output / 255, 1, network), expected, rtol=1e-4, atol=1e-6)
    signed = lpips(original / 127.5 - 1, output / 127.5 - 1, 2, network)
    torch.testing.assert_close(signed, expected, rtol=1e-4, atol=1e-6)


def test_frames_too_small_for_a_metric_have_no_value(network):
    tiny = torch.zeros(2, 3, 10, 40, dtype=torch.uint8)
    values = measure(tiny, tiny + 1, network)
    assert all(map(math.isnan, values["ssim"] + values["lpips"]))
    assert values["psnr"] == pytest.approx([20 * math.log10(255)] * 2)
    smallest = torch.zeros(1, 3, 11, 11)
    assert ssim(smallest, smallest, 255).item() == 1
    smallest = torch.zeros(1, 3, 16, 16)
    assert lpips(smallest, smallest, 255, network).item() == 0


def test_a_single_frame_has_no_temporal_value(original, output):
    values = measure(original[:1], output[:1])
    assert math.isnan(values["temporal_error"][0])
    assert math.isnan(values["flicker"][0])
    assert len(values["psnr"]) == 1


def test_measuring_in_chunks_changes_nothing(original, output, monkeypatch):
    whole = measure(original, output)
    monkeypatch.setattr(frames, "_CHUNK_PIXELS", 2 * original.shape[2] * original.shape[3])
    chunked = measure(original, output)
    for name in whole:
        np.testing.assert_allclose(chunked[name], whole[name], rtol=1e-6)


@pytest.mark.parametrize("slab", [1, 2, 4])
def test_slab_by_slab_gives_the_values_of_the_whole_clip(original, output, slab):
    metrics = ClipMetrics()
    for x, y in zip(original.split(slab), output.split(slab), strict=True):
        metrics.add(x, y)
    whole = measure(original, output)
    assert list(metrics.values) == list(whole) == ["psnr", "ssim", "temporal_error", "flicker"]
    for name in whole:
        np.testing.assert_allclose(metrics.values[name], whole[name], rtol=1e-6)


def test_clips_of_different_shapes_are_refused(original):
    for other in (original[:2], original[:, :, 1:], original[0]):
        with pytest.raises(ShapeError, match="one shape"):
            psnr(original, other, 255)
    with pytest.raises(ShapeError, match="uint8"):
        measure(original.float(), original)


def test_a_summary_names_the_worst_frame(original, output):
    summary = summarise(measure(original, output))
    assert summary["psnr"].worst_frame == summary["ssim"].worst_frame == summary["temporal_error"].worst_frame == 4
    assert summary["psnr"].mean == pytest.approx(psnr(original, output, 255).mean().item())
    assert summary["temporal_error"].mean == pytest.approx(temporal_error(original, output, 255)[1:].mean().item())
    assert "flicker" not in summarise({"flicker": [math.nan]})


# The network of LPIPS


def test_missing_weights_are_an_error_that_says_what_brings_them(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    assert not lpips_available()
    with pytest.raises(WeightsError, match=r"lpips_vgg\.safetensors: no such file; .* fetch lpips brings it"):
        load_lpips()
    assert load_lpips_if_available() is None


class _Bomb:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (self.path, "w"))


def write_official(folder, monkeypatch, content) -> None:
    """A file under the name of torchvision's whole VGG-16 in torch's hub cache."""
    monkeypatch.setenv("TORCH_HOME", str(folder))
    path = folder / "hub" / "checkpoints" / "vgg16-397923af.pth"
    path.parent.mkdir(parents=True)
    path.write_bytes(content) if isinstance(content, bytes) else torch.save(content, path)


@pytest.mark.parametrize("content", [b"", b"not a checkpoint", {"features.0.weight": torch.zeros(3)}, [1, 2]])
def test_a_broken_backbone_is_an_error(tmp_path, monkeypatch, content):
    write_official(tmp_path, monkeypatch, content)
    with pytest.raises(WeightsError, match=r"VGG-16|layers of LPIPS"):
        load_lpips()


def test_code_in_a_backbone_is_never_run(tmp_path, monkeypatch):
    write_official(tmp_path, monkeypatch, {"features.0.weight": _Bomb(str(tmp_path / "run"))})
    with pytest.raises(WeightsError):
        load_lpips()
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("source", ["fetched", "official"])
def test_the_backbone_is_read_from_where_it_was_fetched_to_or_from_torchs_hub_cache(
    tmp_path, monkeypatch, original, output, network, source
):
    generator = torch.Generator().manual_seed(1)
    shapes = {name: tensor.shape for name, tensor in network.layers.state_dict().items()}
    layers = {name: torch.randn(shape, generator=generator) * 0.05 for name, shape in shapes.items()}
    if source == "official":
        write_official(tmp_path, monkeypatch, {f"features.{name}": tensor for name, tensor in layers.items()})
    else:
        monkeypatch.setenv("TORCH_HOME", str(tmp_path))
        network_path("lpips_vgg").parent.mkdir(parents=True)
        save_file(layers, network_path("lpips_vgg"))
    loaded = load_lpips()
    assert all(torch.equal(tensor, layers[name]) for name, tensor in loaded.layers.state_dict().items())
    assert not torch.equal(lpips(original, output, 255, loaded), lpips(original, output, 255, network))


def test_only_every_nth_frame_of_the_whole_clip_is_measured(original, output, network):
    whole = measure(original, output, network)["lpips"]
    sparse = ClipMetrics(load_lpips(random_backbone=True, every=3))
    for x, y in zip(original.split(2), output.split(2), strict=True):
        sparse.add(x, y)
    found = sparse.values["lpips"]
    assert [math.isnan(value) for value in found] == [False, True, True, False, True]
    assert [found[0], found[3]] == pytest.approx([whole[0], whole[3]])


def test_features_of_nothing_have_a_gradient():
    """Where no channel of a layer answers, the root of the norm has no slope."""
    network = load_lpips(random_backbone=True)
    with torch.no_grad():
        network.layers[0].bias.fill_(-1e3)
    x = torch.zeros(1, 3, 32, 32, requires_grad=True)
    network(x, torch.ones(1, 3, 32, 32)).sum().backward()
    assert x.grad.isfinite().all()


def test_lpips_serves_as_a_loss(network, original, output):
    target = original[:2] / 127.5 - 1
    y = (output[:2] / 127.5 - 1).requires_grad_()
    network(y, target).mean().backward()
    assert y.grad.abs().sum() > 0
    assert not network.training
    assert not any(parameter.requires_grad for parameter in network.parameters())


def test_loading_lpips_leaves_the_random_state_alone():
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    load_lpips(random_backbone=True)
    assert torch.equal(torch.rand(1), expected)


def test_importing_the_metrics_loads_nothing_heavy():
    code = "import sys, workbench.metrics; print({'lpips', 'torchvision', 'vmaf_torch'} & set(sys.modules))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "set()"
