"""Augmentation that nnU-Net does not bring."""
