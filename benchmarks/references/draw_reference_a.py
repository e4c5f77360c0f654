"""Draw reference A, by an AI annotator, of the right proximal femur in the 3 mm pelvis CT.

The head inside the joint is a hand-measured surface (radius by elevation about a hand-set centre); the rest is a
local half-maximum threshold inside hand-drawn polygons, filled slice by slice. All positions are voxel indices.
"""

import argparse

import numpy as np
import SimpleITK as sitk
from scipy import ndimage
from skimage.draw import polygon2mask

CROP = (slice(0, 26), slice(22, 62), slice(68, 116))  # z, y, x: the right hip
SOFT_TISSUE_HU = 50.0
LIMITS_HU = (150.0, 400.0)  # lowest and highest local half-maximum
HEAD_CENTRE = (11.0, 44.3, 86.6)  # z, y, x
# fmt: off
# elevation above the axial plane in degrees, radius of the head in voxels, read from unwrapped views
HEAD_RADIUS = ((-90, 7.6), (-50, 8.1), (-30, 8.3), (-15, 8.2), (0, 8.2), (20, 8.1), (30, 8.0), (40, 7.8),
               (50, 7.5), (65, 7.1), (80, 6.75), (90, 6.7))
HEAD_SLICES = range(7, 19)

LOW = [(86, 38), (86, 51), (113, 51), (113, 29), (94, 29)]
# (x, y) outlines the bone must lie in, by slice: tight towards the acetabulum, loose in soft tissue
GATES = {
    0: LOW,
    1: LOW,
    2: LOW,
    3: [(84.5, 42), (84.5, 51), (113, 51), (113, 29), (94, 29), (90, 38)],
    4: [(79.5, 52), (79.5, 44), (81.2, 41.8), (83, 41), (86, 40), (88, 38.3), (96, 36), (96, 29), (113, 29), (113, 52)],
    5: [(79.3, 48), (79.5, 44), (81, 42), (84, 40), (88, 38), (96, 36), (96, 29), (113, 29), (113, 53), (83, 53),
        (80.5, 50.5)],
    6: [(79, 47), (79.2, 43), (81, 40.5), (84, 38.6), (88, 37.2), (96, 36), (96, 29), (113, 29), (113, 54), (84, 54),
        (82, 51.3), (80, 49.5)],
    7: [(88, 37), (96, 36), (96, 29), (113, 29), (113, 54), (88, 54)],
    8: [(89.5, 37), (96, 36), (96, 29), (113, 29), (113, 54), (90, 54)],
    9: [(91, 37.5), (96, 36), (96, 29), (113, 29), (113, 54), (91, 54)],
    10: [(92, 38.5), (97, 36), (97, 29), (113, 29), (113, 54), (92, 54)],
    11: [(93, 40), (97, 40), (97, 32), (110, 32), (110, 50), (93, 50)],
}
# (x, y) outlines filled by hand, by slice: marrow up to the middle of the cortex, thin cortex, top of the head
ADD = {
    0: [[(89.3, 45), (91, 48), (95, 48), (99, 47.6), (105, 45.5), (108.5, 43), (109.5, 40), (107, 37), (104, 34),
         (100.5, 33.2), (98, 34.5), (96.5, 38), (93, 40.5), (90, 42.5)]],
    1: [[(88.3, 45), (90, 48), (96, 48), (101, 47), (106, 44.5), (109.5, 40), (106.5, 36), (103.5, 33.3),
         (100.5, 32.8), (98, 34), (97, 37), (95, 39.3), (91, 41.5), (89, 43)]],
    2: [[(88, 45), (89.5, 48), (95, 48), (101, 47), (106, 44.3), (109.3, 40), (106, 35), (103, 32.5), (100.5, 32),
         (98.3, 33.5), (98.3, 36.5), (96, 39), (91, 41), (89, 42.5)]],
    3: [[(86.5, 44), (88, 48), (95, 48), (101, 47.2), (105, 45.2), (109.5, 40), (106, 35), (103.5, 32.5),
         (100.5, 31.8), (98.3, 34), (99, 35), (101.5, 36.5), (98, 38.5), (91, 40), (88, 42)]],
    4: [[(81.6, 42), (81.6, 45.5), (82.8, 47.2), (84.5, 48.3), (90, 48.5), (97, 47.5), (103, 46.8), (107, 43),
         (109, 40), (107, 36), (103.5, 32.5), (100.5, 31.7), (98, 33.7), (98.5, 34.5), (100, 35), (101, 36.3),
         (100, 38.3), (95, 39), (90, 39.5), (87, 41), (83, 41.7)]],
    5: [[(80, 44), (80.3, 47.5), (82, 49.8), (86, 50), (90, 48.8), (97, 47.5), (103, 46.8), (107, 43), (109, 40.5),
         (107, 36), (103.5, 32), (101, 31.2), (98, 33.7), (98.5, 34.5), (100.5, 35.5), (100.8, 37), (99, 38.9),
         (95, 39), (89, 39.3), (85, 40.3), (82, 41.5)]],
    6: [[(79.6, 45), (80.3, 48.2), (82, 50.2), (85, 51.5), (88, 51.3), (91, 49.3), (96, 47.2), (102, 46.8),
         (106, 44), (108, 41), (107.5, 36.5), (104.5, 32.7), (101.5, 31), (98.5, 32.3), (98, 33.8), (99.3, 34.8),
         (99.8, 36.5), (100.3, 38), (98.5, 39.3), (93, 38.8), (89, 38), (85, 38.9), (82, 40.3), (80, 42.5)]],
    7: [[(90, 38), (94, 39.5), (98, 39.8), (101, 38.5), (100.5, 36.5), (98.8, 34.8), (98, 33), (99.5, 31.8),
         (102, 31.2), (105, 32.7), (106.8, 36), (107, 39), (107.3, 42), (106, 44.6), (103.5, 46.3), (101, 45.8),
         (97, 46.5), (93, 48.5), (90, 50)]],
    8: [[(90, 39), (94, 40), (98, 41.2), (101.5, 40.3), (102, 39), (100.5, 36), (98.3, 33.8), (98.5, 32.8),
         (100.5, 31.8), (104, 33), (106.2, 35.5), (106.8, 40), (106, 43.5), (104, 45.2), (102.5, 44.8), (100, 44.4),
         (96, 45.8), (92, 48.8), (90, 50)]],
    9: [[(101, 42.5), (102.2, 43), (104, 44.3), (106, 42), (106.2, 37), (105, 33.5), (102.5, 32), (99, 32.5),
         (98.6, 34), (101, 36.5), (101.8, 39)]],
    17: [[(86.4 + 4.6 * np.cos(t), 44.1 + 4.6 * np.sin(t)) for t in np.linspace(0, 2 * np.pi, 60)]],
    18: [[(86.5 + 2.7 * np.cos(t), 44.4 + 2.7 * np.sin(t)) for t in np.linspace(0, 2 * np.pi, 60)]],
}
# (x, y) outlines removed by hand, by slice: joint fat at the fovea and behind the lower head
CUT = {
    5: [[(84.5, 40), (87.5, 39.5), (87.5, 40.4), (86.5, 41.4), (84.5, 41.4)]],
    6: [[(84.5, 38), (87.5, 38), (87.5, 39.4), (85.5, 40.4), (84.5, 40.4)]],
    7: [[(84.5, 36.5), (90.5, 36.5), (90.5, 37.5), (88.5, 38.4), (85.5, 38.4), (84.5, 37.5)]],
    8: [[(78, 42.6), (79.5, 42.6), (79.5, 47.5), (78, 47.5)], [(85.5, 36), (88.5, 36), (88.5, 37.4), (85.5, 37.4)]],
    9: [[(78, 42.6), (79.5, 42.6), (79.5, 47.5), (78, 47.5)], [(85.5, 36), (89.5, 36), (89.5, 37.4), (85.5, 37.4)]],
    10: [[(78, 42.6), (79.5, 42.6), (80.4, 42.6), (80.4, 44.4), (79.5, 44.4), (79.5, 47.4), (78, 47.4)]],
    11: [[(78, 42.6), (79.5, 42.6), (79.5, 48.5), (78, 48.5)]],
    12: [[(78, 40.5), (79.5, 40.5), (79.5, 48.5), (78, 48.5)]],
    13: [[(78, 42.6), (79.5, 42.6), (79.5, 48.5), (78, 48.5)]],
}
# fmt: on


def outline(points, shape):
    """Fill an (x, y) outline on one slice of the crop."""
    corner = np.array([CROP[1].start, CROP[2].start])
    return polygon2mask(shape, np.array([(y, x) for x, y in points]) - corner)


def head_surface(shape):
    """Return the voxels inside the hand-measured surface of the head."""
    index = np.stack(np.meshgrid(*[np.arange(s.start, s.stop) for s in CROP], indexing="ij"))
    dz, dy, dx = index - np.array(HEAD_CENTRE)[:, None, None, None]
    elevation = np.degrees(np.arctan2(dz, np.hypot(dx, dy)))
    inside = np.sqrt(dx**2 + dy**2 + dz**2) <= np.interp(elevation, *zip(*HEAD_RADIUS, strict=True))
    keep = np.zeros(shape, bool)
    keep[list(HEAD_SLICES)] = True
    return inside & keep


def draw(ct):
    """Return the mask of the right femur on the whole grid of the CT array (z, y, x)."""
    hu = ct[CROP].astype(float)
    peak = ndimage.maximum_filter(hu, size=3)
    threshold = np.clip((peak + SOFT_TISSUE_HU) / 2, *LIMITS_HU)
    bone = hu > threshold
    head = head_surface(hu.shape)
    mask = np.zeros(hu.shape, bool)
    for z in range(hu.shape[0]):
        part = head[z].copy()
        if z in GATES:
            part |= bone[z] & outline(GATES[z], part.shape)
        part = ndimage.binary_closing(np.pad(part, 3), iterations=1)[3:-3, 3:-3]
        part = ndimage.binary_fill_holes(part)
        for points in ADD.get(z, []):
            part |= outline(points, part.shape)
        for points in CUT.get(z, []):
            part &= ~outline(points, part.shape)
        mask[z] = ndimage.binary_fill_holes(part)
    label, _ = ndimage.label(mask)
    mask = label == np.bincount(label[label > 0]).argmax()
    full = np.zeros(ct.shape, np.uint8)
    full[CROP] = mask
    return full


def main():
    """Read the CT, draw the reference and write it on the same grid."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--ct", required=True, help="the pelvis CT, 3 mm, nail on the left")
    parser.add_argument("--out", required=True, help="the mask to write, .nii.gz")
    arguments = parser.parse_args()
    image = sitk.ReadImage(arguments.ct)
    mask = sitk.GetImageFromArray(draw(sitk.GetArrayFromImage(image)))
    mask.CopyInformation(image)
    sitk.WriteImage(mask, arguments.out, True)


if __name__ == "__main__":
    main()
