"""Renderings with everything about the image drawn at random: what the model in the box learns from."""
