"""Landmarks and axes of the proximal femur, read off a binary mask."""
