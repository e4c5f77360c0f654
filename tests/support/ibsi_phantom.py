"""The digital phantom of the Image Biomarker Standardisation Initiative and the values that it must give.

Voxels: github.com/theibsi/data_sets, ibsi_1_digital_phantom (Zwanenburg, CC BY 4.0). Values and tolerances: IBSI
reference manual, chapter 3 (arXiv 1612.07003; github.com/theibsi/ibsi-doc of 2021-12-13), agreed upon in Zwanenburg et
al., Radiology 2020; 295:328-338. By the code of the feature, with the manual's digits. That edition prints the code of
the minimum beside the 10th percentile of the histogram, and that of the 10th beside the 90th: here they are GPMT and
OZ0C, as in the manual's list and in mirp.
"""

from __future__ import annotations

import numpy as np

SPACING_MM_ZYX = (2.0, 2.0, 2.0)
VOXELS_ZYX = np.array([
    [[1, 4, 4, 1, 1], [1, 4, 6, 1, 1], [4, 1, 6, 4, 1], [4, 4, 6, 4, 1]],
    [[1, 4, 4, 1, 1], [1, 1, 6, 1, 1], [1, 1, 3, 1, 1], [4, 4, 6, 1, 1]],
    [[1, 4, 4, 1, 1], [1, 1, 1, 1, 1], [1, 1, 9, 1, 1], [1, 1, 6, 1, 1]],
    [[1, 4, 4, 1, 1], [1, 1, 1, 1, 1], [1, 1, 1, 1, 1], [1, 1, 6, 1, 1]]])
MASK_ZYX = np.array([
    [[1, 1, 1, 1, 1], [1, 1, 1, 1, 1], [1, 1, 1, 1, 1], [1, 1, 1, 1, 1]],
    [[1, 1, 1, 1, 1], [1, 1, 1, 1, 1], [0, 1, 1, 1, 1], [1, 1, 1, 1, 1]],
    [[1, 1, 1, 0, 0], [1, 1, 1, 1, 1], [1, 1, 0, 1, 1], [1, 1, 1, 1, 1]],
    [[1, 1, 1, 0, 0], [1, 1, 1, 1, 1], [1, 1, 1, 1, 1], [1, 1, 1, 1, 1]]]) == 1

# Without directions.
PLAIN: dict[str, float] = {
    "Q4LE": 2.15, "ECT3": 3.05, "KE2A": 1.08, "IPH6": -0.355, "Y12H": 1, "1GSF": 1, "QG58": 1, "8DWT": 4, "84IY": 6,
    "SALO": 3, "2OJQ": 5, "4FUA": 1.55, "1128": 1.11, "N72L": 1.15, "7TET": 0.812, "9S40": 0.6, "N8CA": 567,
    "5ZWQ": 2.77, "X6K6": 2.15, "CH89": 3.05, "88K1": 1.08, "C3I7": -0.355, "WIFQ": 1, "1PR8": 1, "GPMT": 1,
    "OZ0C": 4, "3NCY": 6, "WR0O": 3, "5Z3W": 5, "D2ZX": 1.55, "WRZB": 1.11, "4RNL": 1.15, "CWYJ": 0.812, "SLWD": 0.6,
    "AMMC": 1, "TLU2": 1.27, "BJ5W": 0.512, "12CE": 8, "8E6O": 3, "VQB3": -50, "RHQZ": 1, "RNU0": 556, "YEKZ": 592,
    "C0JK": 388, "2PR5": 0.698, "SKGS": 0.0411, "BQWJ": 0.599, "KRCK": 1.19, "QCFX": 0.843, "25C7": 0.186,
    "L0JK": 13.1, "TDIC": 11.4, "P9VJ": 9.31, "7J51": 8.54, "Q3CK": 0.816, "N17B": 0.749, "PBX1": 0.869,
    "R59B": 0.866, "6BDE": 1.17, "RDD2": 1.36, "R3ER": 0.961, "7T7F": 1.03, "KLMA": 0.672, "99N0": 1200,
    "N365": 0.0397, "NPT7": 0.974, "5QRC": 0.255, "48P8": 550, "XMSY": 0.253, "5GN9": 15.6, "5RAI": 0.0256,
    "HW1V": 2.76, "YH51": 503, "J17V": 1490, "JNSA": 1.4, "Y1RO": 0.28, "4JP3": 1, "VB3A": 0.2, "P30P": 0.0676,
    "BYLV": 2.64, "3NSA": 331, "GU8N": 2.32}

# Matrices of 13 directions merged (IAZD).
MERGED: dict[str, float] = {
    "GYBY": 0.509, "60VM": 2.15, "UR99": 3.13, "TU9B": 2.57, "TF7R": 1.38, "D3YU": 3.21, "NTRS": 1.64, "ZGXS": 4.3,
    "OEEB": 7.41, "P6QZ": 2.11, "8ZQL": 0.291, "ACUI": 5.12, "8S9J": 1.38, "IB1Z": 0.688, "NDRX": 0.856,
    "WF0Z": 0.631, "1QCO": 0.902, "E8JP": 0.0574, "NI2N": 0.183, "QWB0": 5.19, "DG8W": 7.41, "7NFM": 17.4,
    "AE86": 147, "R8DG": -0.0288, "JN9H": 0.269, "22OV": 0.729, "W4KF": 2.76, "V3SW": 0.607, "G3QZ": 9.64,
    "HTZT": 0.372, "GD3A": 8.67, "IVPO": 2.16, "3KUM": 15.6, "R5YN": 281, "OVBL": 0.43, "W92Y": 328, "IC23": 0.501,
    "9ZK5": 0.68, "8CE5": 3.48, "SXLW": 0.598, "HJ9O": 2.62}

# Features of 13 directions averaged (ITBB).
AVERAGED: dict[str, float] = {
    "GYBY": 0.503, "60VM": 2.14, "UR99": 3.1, "TU9B": 2.4, "TF7R": 1.43, "D3YU": 3.06, "NTRS": 1.56, "ZGXS": 4.29,
    "OEEB": 7.07, "P6QZ": 1.92, "8ZQL": 0.303, "ACUI": 5.32, "8S9J": 1.43, "IB1Z": 0.677, "NDRX": 0.851,
    "WF0Z": 0.618, "1QCO": 0.898, "E8JP": 0.0604, "NI2N": 0.157, "QWB0": 5.06, "DG8W": 7.07, "7NFM": 16.6,
    "AE86": 145, "R8DG": -0.157, "JN9H": 0.52, "22OV": 0.705, "W4KF": 3.06, "V3SW": 0.603, "G3QZ": 9.7, "HTZT": 0.352,
    "GD3A": 8.54, "IVPO": 2.39, "3KUM": 17.6, "R5YN": 21.8, "OVBL": 0.43, "W92Y": 26.9, "IC23": 0.513, "9ZK5": 0.68,
    "8CE5": 3.46, "SXLW": 0.574, "HJ9O": 2.43}

# The mesh depends on the algorithm that makes it: the manual gives these features a tolerance.
TOLERANCE: dict[str, float] = {
    "RNU0": 4, "YEKZ": 4, "C0JK": 3, "2PR5": 0.004, "SKGS": 0.0003, "BQWJ": 0.004, "KRCK": 0.01, "QCFX": 0.005,
    "25C7": 0.001, "L0JK": 0.1, "TDIC": 0.1, "P9VJ": 0.06, "7J51": 0.05, "Q3CK": 0.005, "N17B": 0.005, "PBX1": 0.005,
    "R59B": 0.005, "6BDE": 0.01, "RDD2": 0.01, "R3ER": 0.006, "7T7F": 0.01, "KLMA": 0.004, "99N0": 10, "N365": 0.0003,
    "NPT7": 0.006}
