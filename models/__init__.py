"""The pure core: what is true of arrays and numbers; no DICOM, network, database or flow engine.

In the order in which a study meets them:

- `series`: whether slices are a volume, which series of a study is taken, how it was acquired
- `inference`: windows cut, answers laid together, features kept
- `nnunet`: the same as nnU-Net does it, to the label
- `proof`: whether a release answers as it was made to: parity of engines, the canary
- `bounds`: what may be claimed of a DSC nobody measured, and where nothing may
- `judgement`: what is said of a study: sides and shapes that cannot be, flags, places to review, the order
  of reading
- `corrections`: what a reader changed or said, where it is truth, which labels are in doubt
- `tuning`: how much of a head is tuned, when climbing ends, which older cases are replayed
- `network`: the only torch: trunk and heads, their training, tuning and export
- `metrics`: Dice and surface distances of two masks
- `gate`: whether a candidate may replace the incumbent
- `phantom`: synthetic CTs with exact truth; `starter`: the weights that are shipped

Outside a room lies what all of them speak of: `geometry`, `volume`, `resampling`, `body` (which voxels are
the patient), `organs` (the catalogue), `organ_rows` and `further_organs` (outside of it), `contract`, its
`recipe`, `weights_source` and `release` (what a model is), `calibration`, `targets` (how exact an organ must
be), `findings`, `documents` (what is said in JSON), `people` (who somebody is, and what roles let them do),
`masks` (what is drawn, by its box) and their `surfaces`, `uids`, `words` (what others wrote, as it can be
kept), `errors`.
"""
