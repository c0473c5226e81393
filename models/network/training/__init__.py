"""Training the whole network: losses, sampling, and a run that goes on where it was cut short."""
