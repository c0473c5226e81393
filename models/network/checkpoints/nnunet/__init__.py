"""Networks of nnU-Net v2: a results folder or one checkpoint, read without running anything of it.

- `reading`: the verb: what a folder or file holds, as a network in torch
- `folder`: which fold and which checkpoint, and the documents beside it
- `archive`: the checkpoint's bytes, as plain values and tensors
- `documents`: JSON, typed strictly
- `plans`, `architecture`, `labels`: what these say
- `trainers`: which are known to build the network of their plans
- `weights`: the state dict without its aliases, put into a network

What is not known to be read exactly is refused with a code. What nnU-Net's own predictor does not read (how
the network was trained, what was measured of it, a postprocessing that it never applies) is passed over.

Source: nnunetv2 2.8.1 and dynamic-network-architectures 0.4.4, whose files and answers are recorded in
``tests/fixtures/nnunet``.
"""
