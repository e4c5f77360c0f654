"""Radiomic features of a femur by the definitions of the Image Biomarker Standardisation Initiative (IBSI)."""
