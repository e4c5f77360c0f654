"""How numbers, sites and quantities are worded in the report."""

from __future__ import annotations

import math
import re

SIGNIFICANT = 0.05
NO_BREAK = "\N{NO-BREAK SPACE}"
MINUS = "\N{MINUS SIGN}"
NOT_KNOWN = "n/a"

METRIC_TITLES = {
    "dice": "Dice", "iou": "IoU", "sensitivity": "Sensitivity", "precision": "Precision", "hd_mm": "HD",
    "hd95_mm": "HD95", "assd_mm": "ASSD", "surface_dice_1mm": "Surface Dice 1 mm",
    "surface_dice_2mm": "Surface Dice 2 mm", "contour_distance_mm": "Contour distance",
    "surface_roughness_mm": "Surface roughness", "hd95_mm_fair": "HD95, fair extent", "dice_fair": "Dice, fair extent"}
QUANTITY_TITLES = {
    "volume_ml": "Volume", "volume_ml_fair": "Volume, fair extent", "bmc_mg": "BMC", "vbmd_integral": "Integral vBMD",
    "vbmd_cortical": "Cortical vBMD", "vbmd_trabecular": "Trabecular vBMD",
    "cortical_thickness_mm": "Cortical thickness"}


def site_title(site: str) -> str:
    """Return a site as people write it."""
    return "All sites" if site == "all" else site[:1].upper() + site[1:]


def metric_title(metric: str) -> str:
    """Return a metric as people write it."""
    return METRIC_TITLES.get(metric, metric.replace("_", " "))


def quantity_title(quantity: str, region: str = "total") -> str:
    """Return a measured quantity with its region."""
    title = QUANTITY_TITLES.get(quantity, quantity.replace("_", " "))
    return title if region == "total" else f"{title}, {region}"


def quantity_phrase(quantity: str, region: str = "total") -> str:
    """Return a measured quantity as it stands within a sentence: "neck integral vBMD"."""
    title = quantity_title(quantity)
    # Abbreviations keep their capitals.
    title = title if title[1:2].isupper() else title[:1].lower() + title[1:]
    return title if region == "total" else f"{region} {title}"


def unit_of_metric(metric: str) -> str:
    """Return the unit of a metric by its column's name, "" for fractions."""
    return "mm" if "_mm" in metric and not metric.startswith("surface_dice") else "ml" if "_ml" in metric else ""


def digits_of(metric: str) -> int:
    """Return how many decimals a metric is told with."""
    return 2 if unit_of_metric(metric) else 3


def figure_text(value: float, digits: int, *, signed: bool = False) -> str:
    """Return a number with a true minus sign; ``n/a`` where there is none."""
    if not math.isfinite(value):
        return NOT_KNOWN
    text = f"{value:+.{digits}f}" if signed else f"{value:.{digits}f}"
    # What rounds to zero has no sign.
    if not text.strip("+-0."):
        text = text.lstrip("+-")
    return text.replace("-", MINUS)


def interval_text(low: float, high: float, digits: int, *, signed: bool = False) -> str:
    """Return "95 % CI low to high", or that there is none."""
    if not (math.isfinite(low) and math.isfinite(high)):
        return "no interval"
    return f"95 % CI {figure_text(low, digits, signed=signed)} to {figure_text(high, digits, signed=signed)}"


def margin_text(margin: float) -> str:
    """Return a margin of equivalence, in the quantity's unit, with its sign and three digits."""
    return f"±{margin:.0f}" if margin >= 100 else f"±{margin:.3g}"


def p_text(value: float, name: str = "p") -> str:
    """Return a p-value."""
    if not math.isfinite(value):
        return f"{name} {NOT_KNOWN}"
    return f"{name} < 0.001" if value < 0.001 else f"{name} = {value:.3f}"


def is_shown(low: float, high: float, p_value: float) -> bool:
    """Return whether a difference may be called one: its interval leaves 0 out and its test agrees."""
    return math.isfinite(low) and not low <= 0 <= high and not p_value >= SIGNIFICANT


def doubt(low: float, high: float) -> str:
    """Return why a difference is not shown."""
    return "the interval holds 0" if low <= 0 <= high else "the permutation test does not bear it out"


def unbroken(text: str) -> str:
    """Return a sentence in which no line ends between a number and what belongs to it."""
    text = re.sub(r"(?<=\d) (?=%|mm\b|ml\b|mg\b)|(?<=%) (?=CI\b)", NO_BREAK, text)
    return re.sub(r"\b(n|p) ([=<]) (?=\d)", rf"\1{NO_BREAK}\2{NO_BREAK}", text)


def counted(number: int, word: str) -> str:
    """Return a number with its word, in the plural where it is not 1."""
    return f"{number} {word}{'' if number == 1 else 's'}"
