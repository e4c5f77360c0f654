"""Evaluation: metrics in millimetres, site tables and the gap between sites."""
