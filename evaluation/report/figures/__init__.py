"""Figures of the report: one kind a module, matplotlib objects without global state, inline SVG."""
