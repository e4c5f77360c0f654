"""From HU to density: units, calibration phantoms, rods found in the image, and tissue as a fallback."""
