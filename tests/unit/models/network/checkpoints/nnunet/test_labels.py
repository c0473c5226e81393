"""Channels of the logits are those that nnU-Net makes of `dataset.json`; other labels are refused."""

from __future__ import annotations

from typing import Any

import pytest

from models.errors import Refused
from models.network.checkpoints.nnunet.labels import Channel, read_labels


def dataset(labels: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"channel_names": {"0": "CT"}, "labels": labels, "numTraining": 2, **more}


def test_classes_stand_in_the_order_of_their_numbers() -> None:
    labels = read_labels(dataset({"spleen": 2, "background": 0, "liver": 1}))
    assert labels.decision == "softmax"
    assert [channel.name for channel in labels.channels] == ["background", "liver", "spleen"]
    assert (labels.painted, labels.ignored) == ((), None)


def test_a_list_of_one_number_is_that_class() -> None:
    labels = read_labels(dataset({"background": 0, "liver": [1]}, regions_class_order=[1]))
    assert labels.decision == "softmax"
    assert labels.channels[1] == Channel("liver", (1,))


def test_a_label_to_ignore_has_no_channel() -> None:
    labels = read_labels(dataset({"background": 0, "liver": 1, "ignore": 2}))
    assert [channel.name for channel in labels.channels] == ["background", "liver"]
    assert labels.ignored == 2


def test_regions_stand_in_the_order_of_the_file_and_may_be_one_number() -> None:
    written = {"background": 0, "whole": [1, 2], "core": 2}
    labels = read_labels(dataset(written, regions_class_order=[7, 3]))
    assert labels.decision == "regions"
    assert labels.channels == (Channel("whole", (1, 2)), Channel("core", (2,)))
    assert labels.painted == (7, 3)


@pytest.mark.parametrize(
    "labels",
    [
        {"liver": 1},
        {"background": 1, "liver": 0},
        {"background": [0], "liver": 1},
        {"background": 0},
        {"background": 0, "liver": 2},
        {"background": 0, "liver": 1, "spleen": 1},
        {"background": 0, "liver": -1},
        {"background": 0, "liver": []},
        {"background": 0, "liver": 1, "ignore": 3},
        {"background": 0, "liver": 1, "ignore": 1},
        {"background": 0, "liver": 1, "ignore": [2]},
        {"background": 0, "whole": [1, 2]},
        {"background": 0, "whole": [0, 1]},
    ],
)
def test_labels_that_nnunet_has_no_channels_for_are_refused(labels: dict[str, Any]) -> None:
    with pytest.raises(Refused) as refusal:
        read_labels(dataset(labels))
    assert refusal.value.code == "bad-labels"


@pytest.mark.parametrize("order", [[], [1], [1, 2, 3], [0, 1]])
def test_regions_without_an_order_of_their_own_are_refused(order: list[int]) -> None:
    with pytest.raises(Refused, match="2 regions") as refusal:
        read_labels(dataset({"background": 0, "whole": [1, 2], "core": 2}, regions_class_order=order))
    assert refusal.value.code == "bad-labels"


def test_regions_with_a_label_to_ignore_are_refused() -> None:
    written = {"background": 0, "whole": [1, 2], "core": 2, "ignore": 3}
    with pytest.raises(Refused) as refusal:
        read_labels(dataset(written, regions_class_order=[1, 2]))
    assert refusal.value.code == "ignore-with-regions"


@pytest.mark.parametrize(
    ("channels", "code"),
    [
        ({"channel_names": {"0": "CT", "1": "PET"}}, "several-channels"),
        ({"channel_names": {"0": "CT"}, "modality": {"0": "CT", "1": "PET"}}, "several-channels"),
        ({"channel_names": {}}, "several-channels"),
        ({"channel_names": {"1": "CT"}}, "several-channels"),
        ({}, "several-channels"),
        ({"channel_names": ["CT"]}, "unreadable-plans"),
        ({"channel_names": {"0": "CT"}, "labels": {"0": "background"}}, "unreadable-plans"),
        ({"channel_names": {"0": "CT"}, "labels": {"background": 0, "liver": True}}, "unreadable-plans"),
        ({"channel_names": {"0": "CT"}, "labels": {"background": 0, "liver": 1.0}}, "unreadable-plans"),
    ],
)
def test_anything_but_one_channel_and_numbered_labels_is_refused(channels: dict[str, Any], code: str) -> None:
    with pytest.raises(Refused) as refusal:
        read_labels({"labels": {"background": 0, "liver": 1}, **channels})
    assert refusal.value.code == code
