"""What every segmenter promises: in process, and through a real Triton."""

from __future__ import annotations

import re

import numpy as np
import pytest

from models.errors import ServingRejected, ServingUnavailable
from models.inference.segmentation import Segmentation
from services.inference.port import Segmenter
from tests.support.serving import Serving
from tests.support.tiny_networks import noisy_body

FIELDS = ("probability", "disagreement", "global_feature", "window_origin")


@pytest.fixture(params=["in process", "triton"])
def segmenter(request: pytest.FixtureRequest, serving: Serving) -> Segmenter:
    return serving.in_process if request.param == "in process" else serving.triton


def same_bits(one: Segmentation, other: Segmentation) -> bool:
    members = [{n: a.tobytes() for n, a in answer.member_disagreement.items()} for answer in (one, other)]
    return (
        one.release_digest == other.release_digest
        and members[0] == members[1]
        and all(getattr(one, f).tobytes() == getattr(other, f).tobytes() for f in FIELDS)
    )


def test_every_answer_bears_the_digest_of_the_release_that_gave_it(
    segmenter: Segmenter, serving: Serving
) -> None:
    hu = noisy_body()
    for number in (1, 2):
        assert segmenter.segment(hu, number).release_digest == serving.store.release(number).digest


def test_the_answer_lies_on_the_grid_of_the_question(segmenter: Segmenter) -> None:
    hu = noisy_body((24, 30, 28))
    answer = segmenter.segment(hu, 1)
    assert answer.probability.shape == answer.disagreement.shape == (2, 24, 30, 28)
    assert answer.probability.dtype == answer.disagreement.dtype == np.float16
    assert 0.05 < answer.probability.max() <= 1
    assert 0 < answer.disagreement.max() <= 0.5
    assert answer.window_origin.shape == (len(answer.global_feature), 3)
    assert answer.window_origin.dtype == np.int32
    assert answer.global_feature.shape[1] == 6
    assert answer.global_feature.dtype == np.float32


def test_only_heads_with_members_disagree(segmenter: Segmenter) -> None:
    answer = segmenter.segment(noisy_body(), 1)
    liver = 0
    assert list(answer.member_disagreement) == [liver]
    spread = answer.member_disagreement[liver]
    assert (spread.shape, spread.dtype) == (answer.probability.shape[1:], np.float16)
    assert 0 < spread.max() <= 0.5


def test_the_same_question_has_the_same_bits(segmenter: Segmenter) -> None:
    hu = noisy_body((20, 40, 33))
    assert same_bits(segmenter.segment(hu, 1), segmenter.segment(hu, 1))


def test_an_untouched_head_answers_bit_for_bit_the_same_in_the_next_release(segmenter: Segmenter) -> None:
    hu = noisy_body()
    before, after = segmenter.segment(hu, 1), segmenter.segment(hu, 2)
    liver, spleen = 0, 1
    assert before.probability[liver].tobytes() == after.probability[liver].tobytes()
    assert before.disagreement[liver].tobytes() == after.disagreement[liver].tobytes()
    assert before.member_disagreement[liver].tobytes() == after.member_disagreement[liver].tobytes()
    assert np.abs(before.probability[spleen] - after.probability[spleen]).max() > 0.1


def test_a_release_that_is_not_loaded_is_named_in_the_error(segmenter: Segmenter) -> None:
    with pytest.raises(ServingUnavailable, match="release 9"):
        segmenter.segment(noisy_body(), 9)


def test_a_volume_too_coarse_to_show_the_body_is_answered_as_a_whole(segmenter: Segmenter) -> None:
    answer = segmenter.segment(np.full((20, 20, 20), -990, dtype=np.int16), 1)
    assert answer.window_origin.min(axis=0).tolist() == [0, 0, 0]
    assert answer.window_origin.max(axis=0).tolist() == [4, 4, 4]


@pytest.mark.parametrize("hu", [noisy_body().astype(np.float32), noisy_body()[0]])
def test_what_is_no_int16_volume_is_rejected(segmenter: Segmenter, hu: np.ndarray) -> None:
    with pytest.raises(ServingRejected, match="int16"):
        segmenter.segment(hu, 1)


def test_the_profile_names_engine_device_precision_and_threads(segmenter: Segmenter) -> None:
    assert re.fullmatch(r"python/openvino-\d+\.\d+\.\d+/cpu/f32/2-threads", segmenter.profile(1))


@pytest.mark.parametrize("shape", [(24, 30, 28), (10, 50, 40), (33, 17, 64)])
def test_triton_and_this_process_give_the_same_bits(serving: Serving, shape: tuple[int, int, int]) -> None:
    hu = noisy_body(shape)
    assert serving.in_process.profile(1) == serving.triton.profile(1)
    assert same_bits(serving.in_process.segment(hu, 1), serving.triton.segment(hu, 1))
