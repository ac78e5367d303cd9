"""Parameters of the readout: calibration, activity, households."""
