"""What a trained network still knows of the site of a scan: linear probe, MMD test, picture."""
