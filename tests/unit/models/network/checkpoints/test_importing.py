"""A checkpoint answers as the published formula does; what is not one is refused, and never run."""

from __future__ import annotations

import os
import pickle
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from monai.networks.nets import SegResNet
from numpy.typing import NDArray

from models.errors import Refused
from models.inference.windows import scale_hu
from models.network.checkpoints.file import read_tensors
from models.network.checkpoints.importing import PUBLISHED_ORGANS, import_checkpoint
from models.network.heads import HeadSpec, TextDrivenHead, build_head, with_taps
from models.network.training.sampling import VoxelSample, gather_taps
from models.network.trunk_kinds import build_trunk
from models.network.weights import head_from_bytes, head_to_bytes, trunk_from_bytes, trunk_to_bytes
from tests.support import published

CLASSES = ("liver", "spleen", "aorta")


@pytest.fixture(scope="module")
def unet() -> published.State:
    return published.unet_state(16)


@pytest.fixture(scope="module")
def swin() -> published.State:
    return published.swin_state()


def saved(folder: Path, content: object) -> Path:
    torch.save(content, folder / "file.pth")
    return folder / "file.pth"


def noise(shape: tuple[int, int, int]) -> NDArray[np.int16]:
    return np.random.default_rng(1).integers(-300, 350, shape).astype(np.int16)


def in_ras(hu: NDArray[np.int16]) -> torch.Tensor:
    """Return a window (head, posterior, left) as (right, anterior, head), scaled."""
    return torch.from_numpy(np.ascontiguousarray(scale_hu(hu, (-175, 250)).transpose(2, 1, 0)[::-1, ::-1]))


def from_ras(logits: torch.Tensor) -> NDArray[np.float32]:
    return logits.numpy()[:, ::-1, ::-1].transpose(0, 3, 2, 1)


@pytest.mark.parametrize(
    ("make", "entries", "parameters"),
    [(published.unet_state, 117, 19_416_417), (published.swin_state, 170, 62_595_315)],
    ids=["unet", "swin"],
)
def test_the_made_weights_have_the_published_sizes(make, entries, parameters):
    state = make()
    kept = (
        "running_mean",
        "running_var",
        "num_batches_tracked",
        "relative_position_index",
        "organ_embedding",
    )
    assert len(state) == entries
    assert sum(t.numel() for name, t in state.items() if not name.endswith(kept)) == parameters


@pytest.mark.parametrize(("network", "shape"), [("unet", (16, 24, 32)), ("swin", (32, 32, 64))])
def test_logits_are_those_of_the_published_formula(network, shape, request, tmp_path):
    state = request.getfixturevalue(network)
    imported = import_checkpoint(saved(tmp_path, published.published_file(state)))
    hu = noise(shape)
    with torch.inference_mode():
        expected = from_ras(published.logits(state, in_ras(hu)))
    logits = imported.logits(hu)
    assert tuple(logits) == PUBLISHED_ORGANS
    assert expected.std() > 0.3
    for organ, one in zip(PUBLISHED_ORGANS, expected, strict=True):
        assert np.abs(logits[organ] - one).max() < 1e-4, organ


def test_a_window_is_answered_alike_whatever_else_is_in_the_batch(unet, tmp_path):
    imported = import_checkpoint(saved(tmp_path, unet))
    windows = torch.rand(2, 1, 16, 16, 16)
    head = imported.heads["liver"]
    with torch.inference_mode():
        together, alone = head(imported.trunk(windows)), head(imported.trunk(windows[1:]))
    torch.testing.assert_close(together[1:], alone, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("prefix", ["", "module."])
@pytest.mark.parametrize("wrap", [lambda s: s, lambda s: {"net": s, "epoch": 3}], ids=["bare", "net"])
def test_every_way_of_saving_gives_the_same_weights(unet, prefix, wrap, tmp_path):
    imported = import_checkpoint(saved(tmp_path, wrap({prefix + n: t for n, t in unet.items()})))
    plain = import_checkpoint(saved(tmp_path, published.published_file(unet)))
    assert trunk_to_bytes(imported.trunk) == trunk_to_bytes(plain.trunk)
    assert head_to_bytes(imported.heads["aorta"]) == head_to_bytes(plain.heads["aorta"])


def test_weights_come_back_from_their_files_bit_for_bit(swin, tmp_path):
    imported = import_checkpoint(saved(tmp_path, swin))
    again = trunk_from_bytes(trunk_to_bytes(imported.trunk, exact=True))
    for name, tensor in imported.trunk.state_dict().items():
        assert torch.equal(again.state_dict()[name], tensor), name
    head = head_from_bytes(head_to_bytes(imported.heads["liver"]))
    assert sum(p.numel() for p in head.parameters()) == 39_321
    assert torch.equal(
        head.state_dict()["theta.weight"], imported.heads["liver"].state_dict()["theta.weight"]
    )


def test_a_table_of_indices_is_never_rounded():
    trunk = build_trunk({"kind": "swin_unetr", "feature_size": 12})
    again = trunk_from_bytes(trunk_to_bytes(trunk))
    name = "net.swinViT.layers1.0.blocks.0.attn.relative_position_index"
    assert torch.equal(again.state_dict()[name], published.relative_index())


def test_single_voxels_are_answered_as_the_window_is(unet, tmp_path):
    imported = import_checkpoint(saved(tmp_path, unet))
    head = imported.heads["pancreas"]
    assert isinstance(head, TextDrivenHead)
    index = np.array([0, 5, 700, 4095])
    with torch.inference_mode():
        output = imported.trunk(torch.rand(1, 1, 16, 16, 16))
        taps = gather_taps(output, head.spec, VoxelSample(index, np.ones(4, np.float32)))
        torch.testing.assert_close(
            head.on_voxels(taps), head(output).flatten()[torch.from_numpy(index)], rtol=1e-4, atol=1e-4
        )


def test_a_plain_network_is_split_by_organ(tmp_path):
    torch.manual_seed(0)
    network = SegResNet(init_filters=8, out_channels=3, blocks_down=(1, 2, 2), blocks_up=(1, 1)).eval()
    imported = import_checkpoint(saved(tmp_path, {"net": network.state_dict()}), CLASSES)
    hu = noise((16, 20, 24))
    with torch.inference_mode():
        expected = from_ras(network(in_ras(hu)[None, None])[0])
    logits = imported.logits(hu)
    for organ, one in zip(CLASSES, expected, strict=True):
        assert np.abs(logits[organ] - one).max() < 1e-5, organ
    with pytest.raises(Refused, match="unknown-classes"):
        import_checkpoint(tmp_path / "file.pth")


class Hostile:
    """Unpickled carelessly, it writes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("legacy", [False, True], ids=["zip", "legacy"])
def test_a_hostile_pickle_is_refused_and_nothing_of_it_runs(unet, legacy, tmp_path):
    written = tmp_path / "written"
    path = tmp_path / "hostile.pth"
    content = {**published.published_file(unet), "scheduler": Hostile(written)}
    torch.save(content, path, _use_new_zipfile_serialization=not legacy)
    with pytest.raises(Refused) as refusal:
        import_checkpoint(path)
    assert refusal.value.code == "unsafe-checkpoint"
    assert refusal.value.measured == {"asks_for": f"{os.mkdir.__module__}.mkdir"}
    assert not written.exists()
    torch.load(path, weights_only=False)  # the file does what it says where nobody minds
    assert written.exists()


def test_a_plain_pickle_that_runs_code_is_refused(tmp_path):
    written, path = tmp_path / "written", tmp_path / "file.pth"
    path.write_bytes(pickle.dumps(Hostile(written)))
    with pytest.raises(Refused) as refusal:
        import_checkpoint(path)
    assert refusal.value.code in ("unsafe-checkpoint", "unreadable-checkpoint")
    assert not written.exists()


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b"", "unreadable-checkpoint"),
        (b"text", "unreadable-checkpoint"),
        (b"PK\x03\x04", "damaged-checkpoint"),
    ],
)
def test_what_is_no_checkpoint_is_refused(content, code, tmp_path):
    (tmp_path / "file.pth").write_bytes(content)
    with pytest.raises(Refused, match=code):
        import_checkpoint(tmp_path / "file.pth")


def test_of_a_file_in_which_a_bit_was_flipped_no_other_weights_are_read(tmp_path):
    """PyTorch itself compares no checksums: it reads 1.5 for 1.0 without a word."""
    whole = saved(tmp_path, {f"a{n}": torch.ones(40) for n in range(3)}).read_bytes()
    path, random, codes = tmp_path / "flipped.pth", np.random.default_rng(1), set()
    for _ in range(300):
        flipped = bytearray(whole)
        flipped[random.integers(len(whole))] ^= 1 << int(random.integers(8))
        path.write_bytes(flipped)
        try:
            assert all(torch.equal(tensor, torch.ones(40)) for tensor in read_tensors(path).values())
        except Refused as refusal:
            codes.add(refusal.code)
    assert "damaged-checkpoint" in codes
    assert codes <= {"damaged-checkpoint", "unreadable-checkpoint"}


def test_a_damaged_file_is_read_or_refused_and_nothing_else(tmp_path):
    """In the older format, whose reader fails in more ways."""
    path = tmp_path / "file.pth"
    torch.save({f"a{n}": torch.zeros(3) for n in range(4)}, path, _use_new_zipfile_serialization=False)
    whole, random, codes = path.read_bytes(), np.random.default_rng(1), set()
    for _ in range(400):
        damaged = bytearray(whole)
        damaged[random.integers(len(whole))] = random.integers(256)
        path.write_bytes(damaged[: random.integers(len(whole)) if random.random() < 0.2 else len(whole)])
        try:
            read_tensors(path)
        except Refused as refusal:
            codes.add(refusal.code)
    assert codes == {"unsafe-checkpoint", "unreadable-checkpoint"}


def test_names_that_differ_in_a_prefix_only_are_refused(tmp_path):
    with pytest.raises(Refused, match="prefix only") as refusal:
        read_tensors(saved(tmp_path, {"a": torch.zeros(1), "module.a": torch.ones(1)}))
    assert refusal.value.code == "unreadable-checkpoint"


FIRST, LAST = "convInit.conv.weight", "conv_final.2.conv.weight"


@pytest.mark.parametrize(
    "more",
    [
        {FIRST: torch.tensor(1.0)},
        {LAST: torch.tensor(1.0)},
        {"down_layers.1000000000.0.conv1.x": torch.zeros(1)},
        {"down_layers.0.90.conv1.x": torch.zeros(1)},
        {"down_layers.20.1.conv1.x": torch.zeros(1)},
        {f"up_layers.{'9' * 5000}.0.conv1.x": torch.zeros(1)},
    ],
    ids=["no axes first", "no axes last", "many levels", "many blocks", "deep", "many digits"],
)
def test_a_few_bytes_that_ask_for_a_huge_network_are_refused_at_once(more, tmp_path):
    state = {FIRST: torch.zeros(8, 1, 3, 3, 3), LAST: torch.zeros(1, 8, 1, 1, 1)}
    path = saved(tmp_path, {**state, LAST.replace("weight", "bias"): torch.zeros(1), **more})
    began = time.process_time()
    with pytest.raises(Refused) as refusal:
        import_checkpoint(path, ("liver",))
    assert refusal.value.code in ("checkpoint-mismatch", "unknown-network")
    assert time.process_time() - began < 2, "seconds of a processor: a neighbour's do not count"


KEY = "backbone.down_tr128.ops.0.conv1.weight"


@pytest.mark.parametrize(
    ("change", "code", "named"),
    [
        (lambda s: s.pop(KEY), "checkpoint-mismatch", KEY),
        (lambda s: s.update(stranger=torch.zeros(1)), "checkpoint-mismatch", "stranger"),
        (lambda s: s.update({KEY: s[KEY][:, :3]}), "checkpoint-mismatch", KEY),
        (lambda s: s.update({KEY: s[KEY] * float("nan")}), "bad-weights", KEY),
        (lambda s: s.update({KEY: (100 * s[KEY]).to(torch.int8)}), "bad-weights", f"{KEY} is int8"),
        (lambda s: s.update({KEY: s[KEY].to(torch.float8_e4m3fn)}), "bad-weights", f"{KEY} is float8"),
        (lambda s: s.update({KEY: s[KEY].double() + 1e300}), "bad-weights", KEY),
        (lambda s: s.update({KEY: torch.zeros(1).expand(s[KEY].shape)}), "unreadable-checkpoint", KEY),
        (lambda s: s.pop("controller.weight"), "unknown-network", "text-driven"),
        (
            lambda s: s.update(organ_embedding=s["organ_embedding"][:25].clone()),
            "unknown-classes",
            "25 classes",
        ),
    ],
    ids=[
        "missing",
        "unknown",
        "shape",
        "nan",
        "int8",
        "float8",
        "1e300",
        "expanded",
        "no controller",
        "25 classes",
    ],
)
def test_what_does_not_fit_is_refused_by_name(unet, change, code, named, tmp_path):
    state = dict(unet)
    change(state)
    with pytest.raises(Refused, match=named) as refusal:
        import_checkpoint(saved(tmp_path, state))
    assert refusal.value.code == code


def test_a_class_that_is_left_out_changes_no_other(unet, tmp_path):
    path = saved(tmp_path, unet)
    names = ["-" if organ not in CLASSES else organ for organ in PUBLISHED_ORGANS]
    whole, few = import_checkpoint(path), import_checkpoint(path, names)
    assert few.contract.organs == tuple(organ for organ in PUBLISHED_ORGANS if organ in CLASSES)
    hu = noise((32, 32, 32))
    every = whole.logits(hu)
    for organ, logit in few.logits(hu).items():
        np.testing.assert_array_equal(logit, every[organ])
    with pytest.raises(Refused, match="0 different organs"):
        import_checkpoint(path, ["-"] * 32)


@pytest.mark.parametrize(
    ("network", "organs", "code"),
    [
        ({}, ("-", "liver"), "unknown-classes"),
        ({"blocks_down": (1, 1, 1, 1), "blocks_up": (1, 1)}, ("liver", "spleen"), "unknown-network"),
        ({"blocks_down": (1,) * 7, "blocks_up": (1,) * 6}, ("liver", "spleen"), "unknown-network"),
    ],
    ids=["class left out", "fewer levels up", "windows too small"],
)
def test_a_plain_network_that_cannot_be_served_as_trained_is_refused(network, organs, code, tmp_path):
    small = {"init_filters": 8, "out_channels": 2, "blocks_down": (1, 1), "blocks_up": (1,)} | network
    with pytest.raises(Refused) as refusal:
        import_checkpoint(saved(tmp_path, SegResNet(**small).state_dict()), organs)
    assert refusal.value.code == code


@pytest.mark.parametrize("form", ["text-driven", "linear"])
def test_a_head_of_another_form_takes_taps_as_any_head_does(form, output):
    spec = HeadSpec(5, global_channels=14 if form == "text-driven" else 0, form=form)
    head = build_head(spec).requires_grad_(False)
    full = replace(spec, neighbourhood=True, coarse=((1, 6), (2, 8), (3, 10)))
    richer = with_taps(head, full).requires_grad_(False)
    torch.testing.assert_close(richer(output), head(output))
    for name, tensor in richer.state_dict().items():
        if name.startswith(("neighbourhood", "coarse")):
            tensor.normal_()
    index = np.array([0, 77, 1234, 9215])
    taps = gather_taps(output, full, VoxelSample(index, np.ones(4, np.float32)))
    dense = richer(output).flatten()[torch.from_numpy(index)]
    assert (dense - head(output).flatten()[torch.from_numpy(index)]).abs().min() > 1e-3
    torch.testing.assert_close(richer.on_voxels(taps), dense, rtol=1e-4, atol=1e-4)
    assert head_from_bytes(head_to_bytes(richer)).inputs == richer.inputs
