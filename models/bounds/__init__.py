"""What may be claimed of a DSC nobody measured: calibration, lower bounds, where they do not hold."""
