"""Whether a training adapted at all, read off its curves by fixed rules."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

ADAPTING, NOT_ADAPTING, COLLAPSED = "adapting", "not adapting", "collapsed"
PAST_CHANCE, NO_TERM = "driven past chance", "no adaptation term in use"
NO_GRADIENT = 1e-12
TELLS_ALL = 0.99
LAST_SHARE = 0.2
WINDOW_SHARE = 0.1
LEAST_MARGIN = 0.05
RULES = {
    NOT_ADAPTING: f"a term in use never had a gradient norm above {NO_GRADIENT:g} at the encoder, or the "
                  f"site classifier's mean accuracy over the last {LAST_SHARE:.0%} of the epochs is {TELLS_ALL} or "
                  "more while gradient reversal or MMD is in use",
    COLLAPSED: "with gradient reversal in use, the site classifier's accuracy never rose above chance: no mean over "
               f"{WINDOW_SHARE:.0%} of the epochs exceeds 1 / sites + max({LEAST_MARGIN}, 3 standard errors)",
    PAST_CHANCE: "with gradient reversal in use, the site classifier learnt, but its mean accuracy over the last "
                 f"{LAST_SHARE:.0%} of the epochs lies below 1 / sites - max({LEAST_MARGIN}, 3 standard errors)",
}


@dataclass(frozen=True)
class Verdict:
    """Name of a run's state and the reasons for it.

    Attributes
    ----------
    name : str
        ``adapting``, ``not adapting``, ``collapsed``, ``driven past chance`` or
        ``no adaptation term in use``.
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
                silent.append(f"the term {term} has no gradient at the encoder")
    # A training that goes on from a checkpoint of another trainer has no accuracy in its first epochs.
    accuracy = [float(value) for value in curves["site_accuracy"] if not math.isnan(value)]
    last = accuracy[-max(1, round(len(accuracy) * LAST_SHARE)):]
    at_the_end = _mean(last) if last else math.nan
    if {"domain", "mmd"} & set(in_use) and at_the_end >= TELLS_ALL:
        silent.append(f"the site classifier is right in {at_the_end:.1%} of the last {len(last)} epochs")
    if any(weight > 0 for weight in curves["consistency_weight"]) and "consistency" not in in_use:
        # In use, though no step that was measured fell into its time.
        in_use.append("consistency")
    if silent:
        return Verdict(NOT_ADAPTING, silent)
    if "domain" in in_use and accuracy:
        chance = 1.0 / n_sites
        window = max(1, round(len(accuracy) * WINDOW_SHARE))
        best = max(_mean(accuracy[start:start + window]) for start in range(len(accuracy) - window + 1))
        if best <= chance + _margin(chance, window * patches_an_epoch):
            return Verdict(COLLAPSED, [f"the site classifier never rose above chance: at best {best:.3f}, "
                                       f"chance {chance:.3f}"])
        if at_the_end < chance - _margin(chance, len(last) * patches_an_epoch):
            return Verdict(PAST_CHANCE, [f"the site classifier is right in {at_the_end:.1%} of the last {len(last)} "
                                         f"epochs, less than guessing ({chance:.1%}): lower lambda or domain_weight"])
    return Verdict(ADAPTING if in_use else NO_TERM, [])


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _margin(chance: float, patches: int) -> float:
    """Return what an accuracy over a number of patches must differ from chance by to count as another."""
    return max(LEAST_MARGIN, 3.0 * math.sqrt(chance * (1.0 - chance) / patches))
