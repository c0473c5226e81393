from __future__ import annotations

import pytest
import torch

from models.network.training.losses import segmentation_loss


def test_a_right_and_sure_answer_costs_nothing():
    truth = (torch.arange(100) < 30).float()[:, None]
    assert float(segmentation_loss(40 * (2 * truth - 1), truth)) == pytest.approx(0, abs=1e-6)


def test_an_even_guess_costs_log_two_and_its_overlap():
    truth = (torch.arange(100) < 30).float()[:, None]
    expected = torch.log(torch.tensor(2.0)) + 1 - (2 * 15 + 1) / (30 + 50 + 1)
    assert float(segmentation_loss(torch.zeros(100, 1), truth)) == pytest.approx(float(expected), rel=1e-6)


def test_an_unlabelled_voxel_gets_no_gradient_and_is_not_background():
    logits = torch.randn(60, 2, requires_grad=True)
    truth = torch.randint(0, 2, (60, 2)).float()
    weight = torch.ones(60, 2)
    weight[:20, 0] = 0
    weight[:, 1] = 0
    loss = segmentation_loss(logits, truth, weight)
    loss.backward()
    assert logits.grad[:20, 0].abs().sum() == 0
    assert logits.grad[:, 1].abs().sum() == 0
    assert logits.grad[20:, 0].abs().sum() > 0
    alone = segmentation_loss(logits[20:, :1], truth[20:, :1])
    assert float(loss.detach()) == pytest.approx(float(alone.detach()), rel=1e-6)


def test_nothing_labelled_costs_nothing():
    assert float(segmentation_loss(torch.randn(5, 3), torch.zeros(5, 3), torch.zeros(5, 3))) == 0


def test_sampling_weights_stand_for_the_voxels_not_drawn():
    logits, truth = torch.tensor([[1.5], [-2.0]]), torch.tensor([[1.0], [0.0]])
    weighted = segmentation_loss(logits, truth, torch.tensor([[10.0], [30.0]]))
    dense = segmentation_loss(
        torch.cat([logits[:1].expand(10, 1), logits[1:].expand(30, 1)]),
        torch.cat([truth[:1].expand(10, 1), truth[1:].expand(30, 1)]),
    )
    assert float(weighted) == pytest.approx(float(dense), rel=1e-5)


def test_nothing_of_the_loss_lies_on_another_device_than_the_logits():
    loss = segmentation_loss(torch.zeros(6, 2, device="meta"), torch.zeros(6, 2, device="meta"))
    assert loss.device.type == "meta"
