"""What nnU-Net does round its network, exactly.

`models.recipe` says it as data. `turn` permutes axes; `grid` crops, normalises and resamples; `windows`
places windows and sums their logits; `way_back` brings those to the CT and decides; `totalsegmentator` is
what that program does round it all; `whole` does one study.

Source: Isensee et al., "nnU-Net: a self-configuring method for deep learning-based biomedical image
segmentation", Nature Methods 18 (2021) 203; where the paper is silent, the behaviour of nnunetv2 2.8.1.
"""
