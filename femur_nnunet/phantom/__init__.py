"""Synthetic two-site QCT cohort with full truth."""
