"""Turn signals into a calibrated sink score for every document."""
