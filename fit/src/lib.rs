//! Calibration, objectives and optimisers that fit generators to trained weights.
