"""Tuning heads on a frozen trunk: which voxels are looked at, one fit, what it costs."""
