"""What a plans file says is read, or refused by name: no field that an answer depends on is passed over."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from models.errors import Refused
from models.network.checkpoints.nnunet.plans import Plan, read_plan
from models.network.checkpoints.nnunet.reading import read_nnunet
from tests.support.nnunet import CONFIGURATION, changed_copy, document

UNREAD = {
    "experiment_planner_used", "original_median_shape_after_transp", "original_median_spacing_after_transp",
    "max", "median", "min", "_kw_requires_import", "batch_dice", "batch_size", "data_identifier",
    "median_image_size_in_voxels", "resampling_fn_seg", "inplace",
}  # fmt: skip
"""What nnU-Net's predictor does not read either, or what makes no difference to an answer."""


@pytest.fixture
def plans(genuine: Path) -> dict[str, Any]:
    return document(genuine / "plain")


@pytest.fixture
def fields(plans: dict[str, Any]) -> dict[str, Any]:
    said: dict[str, Any] = plans["configurations"][CONFIGURATION]
    return said


@pytest.fixture
def network(fields: dict[str, Any]) -> dict[str, Any]:
    said: dict[str, Any] = fields["architecture"]["arch_kwargs"]
    return said


def code_of(plans: dict[str, Any], told: str | None = None, configuration: str = CONFIGURATION) -> str:
    with pytest.raises(Refused, match=told) as refusal:
        read_plan(plans, configuration)
    return refusal.value.code


@pytest.mark.parametrize(
    ("name", "value", "code"),
    [
        ("label_manager", "MyLabelManager", "unknown-label-manager"),
        ("image_reader_writer", "Tiff3DIO", "unknown-reader"),
        ("transpose_forward", [1, 2, 0], "bad-plans"),
        ("transpose_forward", [0, 1], "bad-plans"),
        ("transpose_backward", [0, 0, 1], "bad-plans"),
        ("transpose_backward", [0.0, 1, 2], "unreadable-plans"),
        ("transpose_backward", None, "unreadable-plans"),
        ("foreground_intensity_properties_per_channel", {}, "unreadable-plans"),
        ("configurations", {}, "bad-plans"),
        ("configurations", {CONFIGURATION: {"inherits_from": CONFIGURATION}}, "bad-plans"),
        ("configurations", {CONFIGURATION: {"inherits_from": "nothing"}}, "bad-plans"),
        ("configurations", {CONFIGURATION: {"inherits_from": 3}}, "bad-plans"),
        ("configurations", {CONFIGURATION: {}}, "unreadable-plans"),
    ],
)
def test_plans_of_another_kind_are_refused(name, value, code, plans):
    assert code_of({**plans, name: value}) == code


@pytest.mark.parametrize(
    ("name", "value", "code"),
    [
        ("previous_stage", "3d_lowres", "cascade"),
        ("preprocessor_name", "MyPreprocessor", "unknown-preprocessor"),
        ("normalization_schemes", ["ZScoreNormalization"], "unknown-normalisation"),
        ("normalization_schemes", ["RescaleTo01Normalization"], "unknown-normalisation"),
        ("normalization_schemes", ["CTNormalization"] * 2, "several-channels"),
        ("use_mask_for_norm", [True], "mask-normalisation"),
        ("use_mask_for_norm", [False, False], "several-channels"),
        ("resampling_fn_data", "resample_torch_fornnunet", "unknown-resampling"),
        ("resampling_fn_probabilities", "no_resampling_hack", "unknown-resampling"),
        ("patch_size", [24, 24], "two-dimensional"),
        ("patch_size", [24, 24, 30], "bad-plans"),
        ("patch_size", [0, 24, 28], "bad-plans"),
        ("patch_size", [4096] * 3, "bad-plans"),
        ("patch_size", [24, 24, 28, 4], "bad-plans"),
        ("patch_size", [20.0, 24, 28], "unreadable-plans"),
        ("spacing", [3, 3, 0], "bad-plans"),
        ("spacing", [3, 3], "bad-plans"),
        ("spacing", [3, 3, float("nan")], "unreadable-plans"),
        ("spacing", [3, 3, True], "unreadable-plans"),
        ("architecture", None, "unreadable-plans"),
    ],
)
def test_a_configuration_that_is_not_read_exactly_is_refused(name, value, code, plans, fields):
    fields[name] = value
    assert code_of(plans) == code


@pytest.mark.parametrize("of", ["data", "probabilities"])
@pytest.mark.parametrize(
    ("name", "value"),
    [("order", 2), ("order_z", 1), ("force_separate_z", False), ("is_seg", True), ("is_seg", 0), ("more", 1)],
)
def test_resampling_in_any_other_way_is_refused(of, name, value, plans, fields):
    fields[f"resampling_fn_{of}_kwargs"][name] = value
    assert code_of(plans, f"resampling_fn_{of}") == "unknown-resampling"


@pytest.mark.parametrize("name", ["mean", "std", "percentile_00_5", "percentile_99_5"])
def test_intensities_have_to_be_finite_numbers_in_order(name, plans):
    known = plans["foreground_intensity_properties_per_channel"]["0"]
    kept = dict(known)
    del known[name]
    assert code_of(plans, name) == "unreadable-plans"
    known |= kept | {name: float("inf")}
    assert code_of(plans, name) == "unreadable-plans"
    known |= kept | {"percentile_99_5": kept["percentile_00_5"]}
    assert code_of(plans, "clipped") == "bad-plans"
    known |= kept | {"std": 0.0}
    assert code_of(plans, "divided by 0.0") == "bad-plans"


@pytest.mark.parametrize(
    ("name", "value", "code"),
    [
        ("n_stages", 2, "unknown-architecture"),
        ("n_stages", 1, "unknown-architecture"),
        ("n_stages", 13, "unknown-architecture"),
        ("n_stages", "3", "unreadable-plans"),
        ("features_per_stage", [4, 8], "unknown-architecture"),
        ("features_per_stage", 10**9, "unknown-architecture"),
        ("n_conv_per_stage", [2, 2, 10**9], "unknown-architecture"),
        ("n_conv_per_stage", None, "unknown-architecture"),
        ("n_blocks_per_stage", [1, 1, 1], "unknown-architecture"),
        ("n_conv_per_stage_decoder", [2, 0], "unknown-architecture"),
        ("conv_op", "torch.nn.modules.conv.Conv2d", "two-dimensional"),
        ("conv_op", "os.system", "unknown-architecture"),
        ("norm_op", "torch.nn.modules.batchnorm.BatchNorm3d", "unknown-architecture"),
        ("norm_op", None, "unknown-architecture"),
        ("norm_op_kwargs", None, "unknown-architecture"),
        ("norm_op_kwargs", {"eps": 1e-5}, "unknown-architecture"),
        ("norm_op_kwargs", {"eps": 0, "affine": True}, "unknown-architecture"),
        ("norm_op_kwargs", {"affine": True, "track_running_stats": True}, "unknown-architecture"),
        ("nonlin", "torch.nn.ReLU", "unknown-architecture"),
        ("nonlin_kwargs", {"slope": 0.1}, "unknown-architecture"),
        ("nonlin_first", True, "unknown-architecture"),
        ("dropout_op", "torch.nn.Dropout3d", "unknown-architecture"),
        ("stem_channels", 8, "unknown-architecture"),
        ("block", "BottleneckD", "unknown-architecture"),
        ("more", 1, "unknown-architecture"),
        ("kernel_sizes", [[3, 3, 3]] * 2, "unknown-architecture"),
        ("kernel_sizes", [[3, 3, 4]] * 3, "unknown-architecture"),
        ("kernel_sizes", [[3, 3]] * 3, "two-dimensional"),
        ("strides", [[2, 2, 2]] * 3, "unknown-architecture"),
        ("strides", [[1, 1, 1], [0, 2, 2], [2, 2, 2]], "unknown-architecture"),
    ],
)
def test_a_network_that_cannot_be_built_exactly_is_refused(name, value, code, plans, network):
    network[name] = value
    assert code_of(plans) == code


@pytest.mark.parametrize(
    "name",
    [
        "dynamic_network_architectures.architectures.unet.ResidualUNet",
        "dynamic_network_architectures.architectures.primus.Primus",
        "my.architectures.PlainConvUNet",
        "PlainConvUNet",
    ],
)
def test_a_network_of_another_class_is_refused_by_its_name(name, plans, fields):
    fields["architecture"]["network_class_name"] = name
    assert code_of(plans, name) == "unknown-architecture"


def test_numbers_that_are_written_once_count_for_all_stages_and_axes(plans, network):
    written = read_plan(plans, CONFIGURATION)
    network |= {"kernel_sizes": 3, "n_conv_per_stage": 2, "n_conv_per_stage_decoder": 2}
    network["strides"] = [1, 2, [2, 2, 2]]
    assert read_plan(plans, CONFIGURATION) == written


def test_what_is_not_written_is_as_torch_and_the_library_have_it(plans, network):
    network |= {"norm_op_kwargs": {"affine": True}, "nonlin_kwargs": None}
    assert read_plan(plans, CONFIGURATION).architecture.eps == 1e-5
    assert read_plan(plans, CONFIGURATION).architecture.slope == 0.01
    network |= {"norm_op_kwargs": {"affine": True, "eps": 1e-3}, "nonlin_kwargs": {"negative_slope": 0.2}}
    assert read_plan(plans, CONFIGURATION).architecture.eps == 1e-3
    assert read_plan(plans, CONFIGURATION).architecture.slope == 0.2
    del network["conv_bias"]
    assert not read_plan(plans, CONFIGURATION).architecture.bias


def test_a_configuration_without_normalisation_has_none(plans, fields):
    fields["normalization_schemes"] = ["NoNormalization"]
    assert read_plan(plans, CONFIGURATION).intensity is None


def test_a_configuration_has_its_own_fields_before_those_it_inherits(plans, fields):
    plans["configurations"] |= {
        "middle": {"inherits_from": CONFIGURATION, "spacing": [2, 2, 2], "patch_size": [8, 8, 8]},
        "last": {"inherits_from": "middle", "patch_size": [16, 16, 16]},
        "cascade": {"inherits_from": "last", "previous_stage": "3d_lowres"},
    }
    last = read_plan(plans, "last")
    assert (last.spacing_mm, last.window) == ((2, 2, 2), (16, 16, 16))
    assert last.architecture == read_plan(plans, CONFIGURATION).architecture
    assert code_of(plans, "3d_lowres", "cascade") == "cascade"


@pytest.mark.parametrize(
    ("name", "value", "code"),
    [
        ("UNet_class_name", "ResidualUNet", "unknown-architecture"),
        ("UNet_class_name", None, "unreadable-plans"),
        ("n_conv_per_stage_encoder", [], "unknown-architecture"),
        ("n_conv_per_stage_encoder", [2] * 100, "unknown-architecture"),
        ("unet_max_num_features", 0, "unknown-architecture"),
        ("pool_op_kernel_sizes", [[1, 1, 1]], "unknown-architecture"),
        ("conv_kernel_sizes", [[3, 3]] * 3, "two-dimensional"),
    ],
)
def test_older_plans_are_refused_by_the_same_codes(name, value, code, genuine):
    plans = document(genuine / "old")
    plans["configurations"][CONFIGURATION][name] = value
    assert code_of(plans) == code


def test_plans_before_they_described_a_network_are_refused(plans, fields):
    del fields["architecture"]
    assert code_of(plans, "describes no network") == "unreadable-plans"


def test_older_plans_of_a_residual_encoder_are_read(genuine):
    plans = document(genuine / "old")
    plans["configurations"][CONFIGURATION]["UNet_class_name"] = "ResidualEncoderUNet"
    assert read_plan(plans, CONFIGURATION).architecture.kind == "residual_encoder_unet"


def leaves(said: object, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """Yield the way to each value that is no object and no list."""
    items = said.items() if isinstance(said, dict) else enumerate(said) if isinstance(said, list) else ()
    inner = [leaf for key, value in items for leaf in leaves(value, (*path, key))]
    yield from inner if isinstance(said, dict | list) else [path]


def other(value: object) -> object:
    """Return another value of the same kind, a plausible one."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int | float):
        return value + 2
    return f"{value}x" if isinstance(value, str) else 1


def changed(plans: dict[str, Any], leaf: tuple[str | int, ...]) -> dict[str, Any]:
    made = copy.deepcopy(plans)
    inner: Any = made
    for step in leaf[:-1]:
        inner = inner[step]
    inner[leaf[-1]] = other(inner[leaf[-1]])
    return made


@pytest.mark.parametrize("kind", ["plain", "old", "anisotropic"])
def test_every_value_is_told_refused_or_known_to_make_no_difference(kind: str, genuine: Path) -> None:
    plans = document(genuine / kind)
    plans["configurations"] = {CONFIGURATION: plans["configurations"][CONFIGURATION]}
    told = read_plan(plans, CONFIGURATION)
    passed = set()
    found: Plan | None
    for leaf in leaves(plans):
        try:
            found = read_plan(changed(plans, leaf), CONFIGURATION)
        except Refused:
            found = None
        if found == told:
            of_seg = "resampling_fn_seg_kwargs" in leaf
            passed.add(
                "resampling_fn_seg" if of_seg else [step for step in leaf if isinstance(step, str)][-1]
            )
    assert passed <= UNREAD | {"num_pool_per_axis", "dropout_op_kwargs", "deep_supervision"}
    assert {"batch_size", "median"} <= passed


CONTRADICTED = (
    ("features_per_stage", [4, 8, 16]),
    ("n_conv_per_stage", [2, 2, 3]),
    ("n_conv_per_stage_decoder", [2, 1]),
    ("kernel_sizes", [[3, 3, 3], [1, 3, 3], [3, 3, 3]]),
    ("strides", [[1, 1, 1], [1, 2, 2], [2, 2, 2]]),
    ("conv_bias", False),
)


@pytest.mark.parametrize(("name", "value"), CONTRADICTED)
def test_plans_that_the_weights_contradict_are_refused_with_the_tensors(name, value, genuine, tmp_path):
    def change(said: dict[str, Any]) -> None:
        said["configurations"][CONFIGURATION]["architecture"]["arch_kwargs"][name] = value

    folder = changed_copy(genuine / "plain", tmp_path / "copy", plans=change)
    with pytest.raises(Refused, match="coder") as refusal:
        read_nnunet(folder)
    assert refusal.value.code == "checkpoint-mismatch"
