"""The small autoencoder: a learned addition to its block transform, over patches of pixels."""

import pytest
import torch
from skimage import data
from small_models import small_model

import workbench as wb
from workbench.models.patch_blocks import RMSNorm, channels_to_space, space_to_channels
from workbench.models.tiny import Tiny, TinyConfig


@pytest.fixture(scope="module")
def panned_photo() -> torch.Tensor:
    """A real clip (1, 3, 8, 224, 256) in [-1, 1]: a window that moves one pixel a frame over a photograph."""
    photo = torch.from_numpy(data.astronaut()).permute(2, 0, 1).float() / 127.5 - 1
    return torch.stack([photo[:, 40:264, start : start + 256] for start in range(100, 108)], dim=1)[None]


@pytest.mark.parametrize(("frames", "share"), [(8, 0.9), (1, 0.97)])
def test_untrained_it_is_its_transform_and_that_beats_the_linear_baseline(panned_photo, frames, share):
    x = panned_photo[:, :, :frames]
    ae = Tiny(TinyConfig(still_below=0.0))
    clip = x if frames > 1 else x.expand(-1, -1, 4, -1, -1)
    alone = ae.transform.synthesise(ae.transform.spread(ae.transform.choose(ae.transform.analyse(clip))))
    reconstruction = ae(x).reconstruction
    torch.testing.assert_close(reconstruction, alone[:, :, :frames], rtol=0, atol=1e-4)
    baseline = wb.build_autoencoder("dct")(x).reconstruction
    assert (reconstruction - x).square().mean() < share * (baseline - x).square().mean()


def test_both_networks_learn_from_the_first_steps_on(panned_photo):
    torch.manual_seed(0)
    ae = Tiny(TinyConfig((16, 16, 16), (1, 1, 1), (32, 16, 16), (1, 1, 1)))
    optimizer = torch.optim.Adam(ae.parameters(), lr=1e-3)
    errors = []
    for _ in range(12):
        clips = panned_photo, panned_photo[:, :, :1]
        error = sum((ae(x).reconstruction - x).square().mean() for x in clips)
        optimizer.zero_grad()
        error.backward()
        optimizer.step()
        errors.append(error.item())
    assert errors[-1] < errors[0]
    assert all(parameter.grad.abs().max() > 0 for parameter in ae.parameters())


def test_untrained_an_image_is_a_still_clip(panned_photo):
    ae = Tiny(TinyConfig())
    image, still = panned_photo[:, :, :1], panned_photo[:, :, :1].expand(-1, -1, 4, -1, -1)
    torch.testing.assert_close(ae.encode(image), ae.encode(still), rtol=0, atol=1e-5)


def test_moving_space_to_channels_keeps_the_order_of_rows_and_columns():
    x = torch.arange(2 * 4 * 6).view(1, 2, 4, 6, 1)
    moved = space_to_channels(x, 2)
    assert moved.shape == (1, 2, 2, 3, 4)
    assert moved[0, 0, 1, 2].tolist() == x[0, 0, 2:4, 4:6, 0].flatten().tolist()
    assert torch.equal(channels_to_space(moved, 2), x)


def test_the_transform_has_its_numbers_also_where_weights_wait_on_the_meta_device():
    with torch.device("meta"):
        ae = wb.build_autoencoder("tiny")
    assert {buffer.device.type for buffer in ae.buffers()} == {"cpu"}
    assert not any(name.startswith("transform") for name in ae.state_dict())


def test_checkpointing_changes_no_gradient(panned_photo):
    gradients = []
    for enabled in (False, True):
        ae = small_model("tiny").train().requires_grad_(True)
        ae.set_gradient_checkpointing(enabled)
        ae(panned_photo).reconstruction.square().mean().backward()
        gradients.append([parameter.grad for parameter in ae.parameters()])
    assert all(map(torch.equal, *gradients))


@pytest.mark.parametrize(
    "changes",
    [{"encoder_widths": (0, 1, 1)}, {"decoder_widths": (8, 8)}, {"decoder_depths": (1, 1, -1)}, {"still_below": -1.0}],
)
def test_impossible_architectures_are_refused(changes):
    with pytest.raises(wb.ConfigError, match=next(iter(changes))):
        TinyConfig(**changes)


def test_the_norm_keeps_the_type_of_its_input_and_the_values_of_torchs():
    norm, x = RMSNorm(16), torch.randn(2, 3, 4, 5, 16)
    torch.nn.init.normal_(norm.weight)
    expected = x / (x.square().mean(-1, keepdim=True) + 1e-5).sqrt() * norm.weight
    torch.testing.assert_close(norm(x), expected)
    assert norm(x.bfloat16()).dtype == torch.bfloat16
