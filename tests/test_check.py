"""`check` finds nothing in the shipped model, and each planted fault by the figure that should find it."""

import pytest
import torch

import workbench as wb
from workbench.__main__ import COMMANDS
from workbench.check import check_steps
from workbench.cli import main
from workbench.faults import FAULTS, Setting
from workbench.media.policy import ClipPolicy
from workbench.models.registry import load_autoencoder
from workbench.steps import drain


@pytest.fixture(autouse=True)
def small_clips(monkeypatch):
    """The shipped clips, small and short, but long enough to move: the channel that names motion has to change."""
    monkeypatch.setattr("workbench.check.CLIP", ClipPolicy(resolution="96", max_frames=9))


def tiny_that_decodes(change) -> wb.Autoencoder:
    """The shipped model with its output changed."""
    ae = wb.load_autoencoder("tiny", device="cpu")
    ae.default_tiling_mode = "tiles"  # through `_decode`, which is not streamed
    decode = ae._decode
    ae._decode = lambda z, frames: change(decode(z, frames))
    return ae


def verdicts(ae: wb.Autoencoder) -> dict[str, str]:
    return {finding.what: finding.verdict for finding in drain(check_steps(ae))}


@pytest.mark.parametrize(
    ("change", "what", "verdict"),
    [
        (lambda y: y.flip(1), "order of colours", "bad"),
        (lambda y: y / 8, "round trip", "bad"),
        (lambda y: y * 0.8, "gain and bias of colours", "odd"),
        (lambda y: y + 0.1, "gain and bias of colours", "odd"),
        (lambda y: y / 0, "bottles.mp4", "bad"),
    ],
)
def test_planted_faults_are_found(change, what, verdict):
    assert verdicts(tiny_that_decodes(change))[what] == verdict


def test_the_command_says_what_is_good_and_fails_on_what_is_bad(monkeypatch, capsys):
    main("workbench", COMMANDS, ["check", "--model", "tiny", "--device", "cpu"])
    said = capsys.readouterr().out
    assert "good  round trip: " in said
    assert "bad" not in said
    broken = tiny_that_decodes(lambda y: y.flip(1))
    monkeypatch.setattr("workbench.commands.check.ModelSettings.load", lambda *_: broken)
    with pytest.raises(SystemExit) as stop:
        main("workbench", COMMANDS, ["check"])
    assert stop.value.code == 2
    assert "exchanged channels?" in capsys.readouterr().out


def test_latents_of_another_scale_and_silent_channels_are_told():
    ae = wb.load_autoencoder("tiny", device="cpu")
    ae.default_tiling_mode = "tiles"
    encode, decode = ae._encode, ae._decode
    keep = torch.ones(128).index_fill(0, torch.tensor([3, 7]), 0).view(1, -1, 1, 1, 1)
    ae._encode = lambda x, sample: (encode(x, sample)[0] * 100 * keep, None)
    ae._decode = lambda z, frames: decode(z / 100, frames)
    findings = {finding.what: finding for finding in drain(check_steps(ae))}
    assert findings["deviation of latents"].verdict == "odd"
    assert findings["channels that say nothing"].found == "2 of 128"


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        (Setting("cuda", torch.bfloat16, (2, 8), (9, 8, 0)), "silently wrong"),
        (Setting("cuda", torch.bfloat16, (2, 8), (9, 10, 2)), "silently wrong"),
        (Setting("cuda", torch.float32, (2, 9), (9, 10, 2)), "three times the memory"),
        (Setting("cpu", torch.bfloat16, (2, 13), ()), "4 to 16 times"),
        (Setting("cuda", torch.bfloat16, (2, 11), (9, 15, 0)), None),
        (Setting("cpu", torch.float32, (2, 13), ()), None),
    ],
)
def test_faults_of_frameworks_are_told_by_version(setting, words):
    told = [text for holds, text in FAULTS if holds(setting)]
    assert (len(told) == 1 and words in told[0]) if words else not told


def test_loading_a_model_tells_a_known_fault_in_a_line(caplog):
    load_autoencoder("dct", device="cpu", dtype="float32")
    assert not caplog.records
    load_autoencoder("dct", device="cpu", dtype="bfloat16")
    assert [record.message for record in caplog.records] == [words for _, words in FAULTS if "on CPUs" in words]
