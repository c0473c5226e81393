"""Whether the slices of a CT series are a volume, which series of a study is taken, how it was acquired."""
