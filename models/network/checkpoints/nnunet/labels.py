"""What a network of nnU-Net answers: ``dataset.json``, as its channels in their order."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from models.errors import Refused
from models.network.checkpoints.nnunet.documents import Document, typed

BACKGROUND, IGNORE = "background", "ignore"
"""Names with a meaning of their own: label 0, and voxels that training passed over."""


@dataclass(frozen=True)
class Channel:
    """One channel of the logits.

    Parameters
    ----------
    name
        As the file has it.
    labels
        Numbers in the training's label maps: one, or all that a region is made of.
    """

    name: str
    labels: tuple[int, ...]


@dataclass(frozen=True)
class Labels:
    """Channels of the logits and how they become labels.

    Parameters
    ----------
    decision
        ``softmax``: the largest logit wins, the lower channel where two are equal. ``regions``: each
        channel is decided by itself, above 0 of its logit, and regions may overlap.
    channels
        In order. With ``softmax`` channel n has label n and the first is the background; of regions the
        background is none.
    painted
        The number that each region is painted with, in the order of the channels; a later one covers an
        earlier. Empty with ``softmax``.
    ignored
        Label of voxels that training passed over; it has no channel.
    channel_name
        Of the image's one channel, as the file has it.
    """

    decision: Literal["softmax", "regions"]
    channels: tuple[Channel, ...]
    painted: tuple[int, ...]
    ignored: int | None
    channel_name: str


@dataclass(frozen=True)
class _Written:
    """Fields of ``dataset.json`` that nnU-Net's predictor reads."""

    labels: dict[str, int | tuple[int, ...]]
    channel_names: dict[str, str] | None = None
    modality: dict[str, str] | None = None
    regions_class_order: tuple[int, ...] | None = None


def read_labels(document: Document) -> Labels:
    """Return what ``dataset.json`` says.

    Raises
    ------
    Refused
        `several-channels` if the image has not exactly one; `bad-labels` if labels are none that nnU-Net
        trains with, or two classes share one; `ignore-with-regions`; `unreadable-plans`.
    """
    written = typed(_Written, document, "dataset.json")
    names = written.modality if written.modality is not None else written.channel_names  # as nnU-Net prefers
    if names is None or len(names) != 1 or "0" not in names:
        detail = f"the network takes {len(names or {})} channels, {names}; one CT is served"
        raise Refused("several-channels", detail, {"channels": names or {}})
    labels = {
        name: (value,) if isinstance(value, int) else tuple(dict.fromkeys(value))
        for name, value in written.labels.items()
    }
    if written.labels.get(BACKGROUND) != 0:
        raise _bad("the background has to be label 0", written.labels)
    if not all(labels.values()) or any(number < 0 for numbers in labels.values() for number in numbers):
        raise _bad("a label is 0 or more, and a region has one at least", written.labels)
    ignored = labels.pop(IGNORE, None)
    if ignored is not None:
        highest = max(number for numbers in labels.values() for number in numbers)
        if isinstance(written.labels[IGNORE], tuple) or ignored != (highest + 1,):
            raise _bad("the label to ignore is the one after the highest", written.labels)
    regions = any(isinstance(value, tuple) and len(value) > 1 for value in written.labels.values())
    number = None if ignored is None else ignored[0]
    if not regions:
        return Labels("softmax", _classes(labels, written), (), number, names["0"])
    if ignored is not None:
        detail = "regions with a label to ignore are not read: which voxels were trained is not known"
        raise Refused("ignore-with-regions", detail, {"ignored": number})
    channels, painted = _regions(labels, written)
    return Labels("regions", channels, painted, None, names["0"])


def _classes(labels: dict[str, tuple[int, ...]], written: _Written) -> tuple[Channel, ...]:
    """Return the classes of a softmax; nnU-Net's label map holds channels, so numbers have no gaps."""
    ordered = sorted(labels.items(), key=lambda item: item[1])
    if [numbers for _, numbers in ordered] != [(n,) for n in range(len(ordered))]:
        raise _bad("numbers of classes begin with 0, have no gaps, and none stands twice", written.labels)
    if len(ordered) < 2:
        raise _bad("there is no class but the background", written.labels)
    return tuple(Channel(name, numbers) for name, numbers in ordered)


def _regions(
    labels: dict[str, tuple[int, ...]], written: _Written
) -> tuple[tuple[Channel, ...], tuple[int, ...]]:
    regions = tuple(Channel(name, numbers) for name, numbers in labels.items() if numbers != (0,))
    painted = written.regions_class_order
    if any(0 in region.labels for region in regions):
        raise _bad("a region holds the background", written.labels)
    if painted is None or len(painted) != len(regions) or any(number < 1 for number in painted):
        said = "none" if painted is None else list(painted)
        raise _bad(f"{len(regions)} regions, painted in the order {said}", written.labels)
    return regions, painted


def _bad(detail: str, labels: dict[str, int | tuple[int, ...]]) -> Refused:
    return Refused("bad-labels", f"labels of dataset.json: {detail}", {"labels": labels})
