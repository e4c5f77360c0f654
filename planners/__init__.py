"""Planning: fingerprint of labelled scans, the fixed 3d_fullres plan, preprocessing."""
