"""Bone density, mineral content and cortical thickness of a femur by region, from a scan and a mask."""
