"""Drivers that use all rooms."""
