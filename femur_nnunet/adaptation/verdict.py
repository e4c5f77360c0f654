"""Whether a training adapted at all, read off its curves by fixed rules."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

ADAPTING, NOT_ADAPTING, COLLAPSED, NO_TERM = "adapting", "not adapting", "collapsed", "no adaptation term in use"
NO_GRADIENT = 1e-12
TELLS_ALL = 0.99
LAST_SHARE = 0.2
WINDOW_SHARE = 0.1
LEAST_MARGIN = 0.05
RULES = {
    NOT_ADAPTING: f"a term in use never had a gradient norm above {NO_GRADIENT:g} at the attached layers, or the "
                  f"site classifier's mean accuracy over the last {LAST_SHARE:.0%} of the epochs is {TELLS_ALL} or "
                  "more while gradient reversal or MMD is in use",
    COLLAPSED: "with gradient reversal in use, the site classifier's accuracy never rose above chance: no mean over "
               f"{WINDOW_SHARE:.0%} of the epochs exceeds 1 / sites + max({LEAST_MARGIN}, 3 standard errors)",
}


@dataclass(frozen=True)
class Verdict:
    """Name of a run's state and the reasons for it.

    Attributes
    ----------
    name : str
        ``adapting``, ``not adapting``, ``collapsed`` or ``no adaptation term in use``.
    reasons : list of str
        One sentence for each rule that was met.
    """

    name: str
    reasons: list[str]


def judge(curves: Mapping[str, Sequence[float]], *, n_sites: int, patches_an_epoch: int) -> Verdict:
    """Judge a training by its curves, one value an epoch, NaN where a value was not measured.

    Parameters
    ----------
    curves : mapping of str to sequence of float
        ``gradient_domain, gradient_mmd, gradient_consistency`` (NaN in epochs in which the term was not
        in use), ``consistency_weight`` (0 without the term) and ``site_accuracy``.
    n_sites : int
        Number of sites, equally frequent in a batch; chance is its inverse.
    patches_an_epoch : int
        Patches that an epoch's accuracy was taken over, for its standard error.
    """
    silent, in_use = [], []
    for term in ("domain", "mmd", "consistency"):
        measured = [value for value in curves[f"gradient_{term}"] if not math.isnan(value)]
        if measured:
            in_use.append(term)
            if max(measured) <= NO_GRADIENT:
                silent.append(f"the term {term} has no gradient at the attached layers")
    accuracy = [float(value) for value in curves["site_accuracy"]]
    if {"domain", "mmd"} & set(in_use):
        last = accuracy[-max(1, round(len(accuracy) * LAST_SHARE)):]
        if sum(last) / len(last) >= TELLS_ALL:
            silent.append(f"the site classifier is right in {sum(last) / len(last):.1%} of the last {len(last)} epochs")
    if any(weight > 0 for weight in curves["consistency_weight"]) and "consistency" not in in_use:
        # Under torch.compile its gradient is not measured.
        in_use.append("consistency")
    if silent:
        return Verdict(NOT_ADAPTING, silent)
    if "domain" in in_use:
        window = max(1, round(len(accuracy) * WINDOW_SHARE))
        best = max(sum(accuracy[start:start + window]) / window for start in range(len(accuracy) - window + 1))
        chance = 1.0 / n_sites
        error = math.sqrt(chance * (1.0 - chance) / (window * patches_an_epoch))
        if best <= chance + max(LEAST_MARGIN, 3.0 * error):
            return Verdict(COLLAPSED, [f"the site classifier never rose above chance: at best {best:.3f}, "
                                       f"chance {chance:.3f}"])
    return Verdict(ADAPTING if in_use else NO_TERM, [])
