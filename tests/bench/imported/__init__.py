"""A network that the genuine nnU-Net planned and trained for minutes on copies of one real CT, brought in.

``NNUNET_PYTHON=<python with nnunetv2 2.8.1> ORGANLOOP_TEST_DATA=<folder> .venv/bin/pytest -s
tests/bench/imported``. What is made once lies in ``build/imported``: the training takes a quarter of an hour.

Copies are bent, and labels are another network's: figures show agreement, never accuracy, and say nothing
about patients (`tests.support.deformed`).
"""
