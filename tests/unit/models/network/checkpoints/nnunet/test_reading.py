"""A network of nnU-Net answers as the library itself did; what may not is refused by its code."""

from __future__ import annotations

import hashlib
import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from models.errors import Refused
from models.network.checkpoints.nnunet.labels import Channel
from models.network.checkpoints.nnunet.plans import CtIntensity
from models.network.checkpoints.nnunet.reading import NnunetNetwork, read_nnunet
from tests.support.nnunet import FINAL, KINDS, Change, changed_copy, document, saved_values


@pytest.mark.parametrize("kind", KINDS)
def test_logits_are_those_of_the_library_to_the_bit(kind: str, genuine: Path) -> None:
    """In float64, rounded to float32, on any processor; in float32 on one of the same kind."""
    network, recorded = read_nnunet(genuine / kind), np.load(genuine / kind / "window.npz")
    window, expected = torch.from_numpy(recorded["window"]), torch.from_numpy(recorded["logits"])
    logits = network.logits(window)
    assert expected.std() > 0.9
    torch.testing.assert_close(logits, expected, rtol=0, atol=1e-4)
    if recorded["cpu"] == torch.backends.cpu.get_cpu_capability():
        assert torch.equal(logits, expected)
    network.trunk.double()
    network.head.double()
    exact = network.logits(window.double())
    assert torch.equal(exact.float(), torch.from_numpy(recorded["logits_64"]).float())


def test_plans_labels_and_training_are_told_as_they_are_written(genuine: Path) -> None:
    network = read_nnunet(genuine / "anisotropic")
    plan, architecture = network.plan, network.plan.architecture
    assert (plan.dataset, plan.plans) == ("Dataset905_anisotropic", "nnUNetPlans")
    assert (plan.configuration, plan.reader) == ("3d_fullres", "SimpleITKIO")
    assert (plan.transpose_forward, plan.transpose_backward) == ((2, 0, 1), (1, 2, 0))
    assert (plan.spacing_mm, plan.window) == ((6.0, 1.5, 1.5), (12, 28, 24))
    assert plan.intensity == CtIntensity(28.0, 282.0, 103.68952178955078, 68.17827606201172)
    assert architecture.kind == "plain_conv_unet"
    assert architecture.features == (4, 8, 8, 8)
    assert architecture.kernels == ((1, 3, 3), (1, 3, 3), (3, 3, 3), (3, 3, 3))
    assert architecture.strides == ((1, 1, 1), (1, 2, 2), (1, 2, 2), (2, 1, 1))
    assert (architecture.encoder, architecture.decoder) == ((2, 2, 2, 2), (2, 2, 2))
    assert (architecture.bias, architecture.eps, architecture.slope) == (True, 1e-5, 0.01)
    assert architecture.window_multiple == (2, 4, 4)
    assert network.labels.decision == "softmax"
    assert [channel.name for channel in network.labels.channels] == ["background", "liver", "spleen", "aorta"]
    assert (network.labels.channel_name, network.mirrored) == ("CT", (0, 1))
    source = network.source
    assert (source.trainer, source.fold, source.epochs) == ("nnUNetTrainer_onlyMirror01", "0", 1)
    assert source.left_out == 4, "weights and biases of two coarser outputs"
    files = ("plans.json", "dataset.json", FINAL)
    assert source.digests == {
        Path(name).name: hashlib.sha256((genuine / "anisotropic" / name).read_bytes()).hexdigest()
        for name in files
    }


def test_regions_are_told_in_the_order_of_their_channels(genuine: Path) -> None:
    labels = read_nnunet(genuine / "regions").labels
    assert labels.decision == "regions"
    assert labels.channels == (Channel("kidney", (1, 2, 3)), Channel("mass", (2, 3)), Channel("cyst", (3,)))
    assert labels.painted == (2, 1, 3)


def test_a_configuration_has_what_it_inherits_and_no_flips_where_none_were_trained(genuine: Path) -> None:
    network = read_nnunet(genuine / "residual")
    assert network.plan.configuration == "3d_fullres_bs2"
    assert network.plan.architecture.kind == "residual_encoder_unet"
    assert network.plan.architecture.encoder == (1, 2, 2)
    assert network.mirrored == ()


def test_the_older_plans_describe_the_network_that_the_newer_do(genuine: Path) -> None:
    old, new = (read_nnunet(genuine / kind).plan for kind in ("old", "plain"))
    assert replace(old, dataset=new.dataset) == new


def test_a_checkpoint_alone_gives_the_same_network(genuine: Path) -> None:
    whole, alone = read_nnunet(genuine / "plain"), read_nnunet(genuine / "plain" / FINAL)
    assert (alone.plan, alone.labels) == (whole.plan, whole.labels)
    assert alone.source.digests.keys() == {"checkpoint_final.pth"}
    assert same_weights(alone, whole)


def test_the_head_is_linear_in_the_last_features_row_by_row(genuine: Path) -> None:
    network = read_nnunet(genuine / "plain")
    window = torch.randn(1, 1, 8, 8, 8, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        features = network.trunk(window)
    assert features.shape == (1, 4, 8, 8, 8)
    rows, bias = network.head.weight.flatten(1), network.head.bias
    assert bias is not None
    summed = torch.einsum("oc,bczyx->bozyx", rows, features) + bias.view(1, -1, 1, 1, 1)
    torch.testing.assert_close(summed, network.logits(window), rtol=1e-4, atol=1e-5)


def test_a_checkpoint_that_never_says_of_flips_has_none_as_the_library_takes_it(genuine, tmp_path):
    folder = changed_copy(
        genuine / "plain", tmp_path / "copy", lambda values: values.pop("inference_allowed_mirroring_axes")
    )
    assert read_nnunet(folder).mirrored == ()


def _in_arguments(name: str) -> Change:
    return lambda values: values["init_args"].pop(name)


@pytest.mark.parametrize(
    ("change", "code", "told"),
    [
        (lambda v: v.pop("init_args"), "incomplete-checkpoint", "init_args"),
        (lambda v: v.pop("trainer_name"), "incomplete-checkpoint", "trainer_name"),
        (lambda v: v.pop("network_weights"), "incomplete-checkpoint", "network_weights"),
        (_in_arguments("plans"), "incomplete-checkpoint", "plans"),
        (_in_arguments("dataset_json"), "incomplete-checkpoint", "dataset_json"),
        (lambda v: v.update(trainer_name="nnUNetTrainerBN"), "unknown-trainer", "nnUNetTrainerBN"),
        (lambda v: v.update(trainer_name=np.float64(1)), "unreadable-plans", "trainer_name"),
        (lambda v: v.update(init_args=3), "incomplete-checkpoint", "init_args"),
        (lambda v: v["init_args"]["plans"].update(more=np.float64(1)), "unreadable-plans", "plans.json"),
        (lambda v: v.update(inference_allowed_mirroring_axes=(0, 3)), "unreadable-checkpoint", "flipped"),
        (lambda v: v.update(inference_allowed_mirroring_axes="012"), "unreadable-plans", "mirroring"),
        (lambda v: v["init_args"].update(configuration="3d_lowres"), "bad-plans", "3d_lowres"),
        (lambda v: v["init_args"].update(configuration="2d"), "two-dimensional", "2d"),
    ],
)
def test_what_a_checkpoint_lacks_or_claims_is_refused_by_name(change, code, told, genuine, tmp_path):
    folder = changed_copy(genuine / "plain", tmp_path / "copy", change)
    with pytest.raises(Refused, match=told) as refusal:
        read_nnunet(folder)
    assert refusal.value.code == code


@pytest.mark.parametrize("name", ["MRI", "noNorm", "CTA"])
def test_a_network_of_other_images_is_refused(name: str, genuine: Path, tmp_path: Path) -> None:
    """nnU-Net plans how images are normalised by this name; where these disagree, one was changed."""
    folder = changed_copy(
        genuine / "plain", tmp_path / "copy", dataset=lambda d: d.update(channel_names={"0": name})
    )
    with pytest.raises(Refused, match=name) as refusal:
        read_nnunet(folder)
    assert refusal.value.code == "not-ct"


@pytest.mark.parametrize(
    ("name", "change", "field"),
    [
        ("plans.json", lambda d: d["configurations"]["3d_fullres"].update(spacing=[3, 3, 3.1]), "spacing_mm"),
        ("plans.json", lambda d: d["configurations"]["3d_fullres"].update(patch_size=[24] * 3), "window"),
        ("plans.json", lambda d: d.update(image_reader_writer="NibabelIO"), "reader"),
        ("plans.json", lambda d: d.update(transpose_forward=[1, 0, 2], transpose_backward=[1, 0, 2]), "tran"),
        ("dataset.json", lambda d: d["labels"].update(liver=2, spleen=1), "channels"),
        ("dataset.json", lambda d: d["channel_names"].update({"0": "ct"}), "channel_name"),
    ],
)  # fmt: skip
def test_a_document_that_the_network_was_not_trained_with_is_refused(name, change, field, genuine, tmp_path):
    folder = tmp_path / "copy"
    shutil.copytree(genuine / "plain", folder)
    said = document(folder, name)
    change(said)
    (folder / name).write_text(json.dumps(said))
    with pytest.raises(Refused, match=field) as refusal:
        read_nnunet(folder)
    assert refusal.value.code == "contradictory-plans"


def test_what_no_answer_depends_on_may_differ(genuine: Path, tmp_path: Path) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(genuine / "plain", folder)
    said = document(folder)
    said["configurations"]["3d_fullres"]["batch_size"] = 99
    said["experiment_planner_used"] = "another"
    (folder / "plans.json").write_text(json.dumps(said))
    assert same_weights(read_nnunet(folder), read_nnunet(genuine / "plain"))


def same_weights(one: NnunetNetwork, other: NnunetNetwork) -> bool:
    first, second = ({**n.trunk.state_dict(), **n.head.state_dict()} for n in (one, other))
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def test_saved_values_are_those_of_the_library(genuine: Path) -> None:
    """The files are genuine in form: they ask for numbers of numpy, without which no reader takes them."""
    with pytest.raises(Exception, match="numpy"):
        torch.load(genuine / "plain" / FINAL, weights_only=True)
    values = saved_values(genuine / "plain")
    assert isinstance(values["_best_ema"], np.floating)
    assert len(values["network_weights"]) > len(read_nnunet(genuine / "plain").trunk.state_dict())
