"""Networks in torch: one trunk for all organs, one small head for each.

- `training`: the whole network
- `tuning`: heads on a frozen trunk
- `checkpoints`: networks that others trained, brought in
- `starter`: how the shipped release was made, and is evaluated

Outside a room lies what a network is made of: `trunk`, `trunk_kinds`, `imported_trunks`,
`nnunet_networks` and `planned_trunk` (one of them as a trunk), `norm`, `voxel_taps`, `heads`, `members`,
`weights` (its bytes), `prediction`, `export` (ONNX).
"""
