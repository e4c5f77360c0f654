from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from femur_nnunet.errors import FemurError, UsageError
from femur_nnunet.phantom.tiers import AXIS_NAMES, TIER_NAMES, TIERS_FILE, load_tiers, tier_hash


def test_the_hash_changes_with_a_single_digit_of_the_file(tmp_path: Path) -> None:
    copy = tmp_path / "tiers.json"
    shutil.copy(TIERS_FILE, copy)
    assert tier_hash(copy) == tier_hash()
    copy.write_text(copy.read_text().replace('"noise_hu": 26.0', '"noise_hu": 26.1'))
    assert tier_hash(copy) != tier_hash()


def test_every_tier_of_every_axis_loads_and_says_why() -> None:
    content = json.loads(TIERS_FILE.read_text())
    for axis in AXIS_NAMES:
        assert tuple(content["axes"][axis]) == TIER_NAMES
        for tier in TIER_NAMES:
            load_tiers(**{axis: tier})
            assert len(content["axes"][axis][tier]["why"]) > 30


def test_tier_none_is_the_source_site() -> None:
    assert load_tiers(scanner="none", population="none", positioning="none") == load_tiers()


def test_axes_are_independent() -> None:
    shifted = load_tiers(scanner="severe")
    assert shifted.scanner != load_tiers().scanner
    assert (shifted.population, shifted.positioning) == (load_tiers().population, load_tiers().positioning)


def test_the_shift_grows_from_tier_to_tier() -> None:
    scanners = [load_tiers(scanner=tier).scanner for tier in TIER_NAMES]
    noise = [scanner.noise_hu for scanner in scanners]
    slope = [abs(scanner.hu_per_mg_cc_k2hpo4 - 1.35) for scanner in scanners]
    density = [load_tiers(population=tier).population.trabecular_factor for tier in TIER_NAMES]
    assert noise == sorted(noise)
    assert slope == sorted(slope)
    assert density == sorted(density, reverse=True)


def test_an_unknown_tier_is_refused_with_the_known_ones() -> None:
    with pytest.raises(UsageError, match="none or mild or moderate or severe"):
        load_tiers(scanner="extreme")


def test_an_unknown_key_in_the_file_is_refused(tmp_path: Path) -> None:
    content = json.loads(TIERS_FILE.read_text())
    content["axes"]["scanner"]["mild"]["values"]["sharpness"] = 3
    path = tmp_path / "tiers.json"
    path.write_text(json.dumps(content))
    with pytest.raises(FemurError, match="sharpness"):
        load_tiers(scanner="mild", path=path)
