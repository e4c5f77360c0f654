"""Losses of the trainers that do not use nnU-Net's own."""
