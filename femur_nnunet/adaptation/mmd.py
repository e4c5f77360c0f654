"""Maximum mean discrepancy between the features of sites: the unbiased multi-kernel estimate, with queues."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch.utils.checkpoint import checkpoint

from femur_nnunet.adaptation.site_queue import SiteQueue

# Kernel values held at once, for each kernel: beyond it the backward pass computes blocks anew.
LARGEST_BLOCK = 1 << 20


def squared_distances(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
    """Return the squared Euclidean distances (n, m) between rows of (n, d) and (m, d), never negative."""
    return (first.square().sum(1)[:, None] + second.square().sum(1)[None, :]
            - 2.0 * first @ second.T).clamp_min(0.0)


def kernel_sum(first: torch.Tensor, second: torch.Tensor, widths: torch.Tensor, *,
               groups: torch.Tensor | None = None) -> torch.Tensor:
    """Return the sum over all pairs of rows, and over kernels, of exp(-|x - y|^2 / width).

    Memory grows with the number of rows, not of pairs: blocks of at most ``LARGEST_BLOCK`` pairs are
    computed one after the other, and again in the backward pass instead of being kept.

    Parameters
    ----------
    first, second : Tensor
        Shapes (n, d) and (m, d).
    widths : Tensor
        Shape (kernels,), without gradient.
    groups : Tensor, optional
        Shape (n,), for a sum within one sample (``second`` is ``first``): pairs of one group are left
        out, those of a row with itself among them.
    """
    rows = max(1, LARGEST_BLOCK // max(1, len(second)))
    starts = range(0, len(first), rows)
    if len(starts) <= 1:
        return _block_sum(first, second, widths, groups, groups)
    parts = [checkpoint(_block_sum, first[start:start + rows], second, widths,
                        None if groups is None else groups[start:start + rows], groups,
                        use_reentrant=False, preserve_rng_state=False) for start in starts]
    return torch.stack(parts).sum()


def _block_sum(first: torch.Tensor, second: torch.Tensor, widths: torch.Tensor, first_groups: torch.Tensor | None,
               second_groups: torch.Tensor | None) -> torch.Tensor:
    distances = squared_distances(first, second)
    if first_groups is not None and second_groups is not None:
        # An infinite distance is a kernel value of exactly 0, without gradient.
        distances = distances.masked_fill(first_groups[:, None] == second_groups[None, :], torch.inf)
    total = first.new_zeros(())
    for width in widths:
        total = total + torch.exp(-distances / width).sum()
    return total


def mean_squared_distance(rows: torch.Tensor) -> torch.Tensor:
    """Return the mean squared distance of distinct rows of (n, d): twice the total variance; 1 if it is 0."""
    width = 2.0 * rows.var(dim=0, unbiased=True).sum()
    return torch.where(width > 0, width, torch.ones_like(width))


def unbiased_mmd2(first: torch.Tensor, second: torch.Tensor, bandwidths: Sequence[float], *,
                  first_queue: torch.Tensor | None = None, second_queue: torch.Tensor | None = None,
                  first_groups: torch.Tensor | None = None, second_groups: torch.Tensor | None = None) -> torch.Tensor:
    """Return the unbiased estimate of MMD^2 between two samples, summed over Gaussian kernels.

    With k(x, y) = sum over b of exp(-|x - y|^2 / (b * w)), w the mean squared distance of all rows
    (taken as a constant, since a width that follows the features would let the network shrink the term
    by inflating its features), the estimate is the difference of the means of k within (without the
    diagonal) and across the samples: Gretton et al. (2012), equation 3, with the sum of kernels of
    Long et al. (2015). It is zero in expectation for equal distributions, so single values may be
    negative.

    That holds for rows that are independent of each other. Tokens of one patch are not: they are alike,
    and a mean within that held pairs of them would exceed that across, which never can, also between
    equal sites. So rows come in groups (a patch each), and pairs of one group are left out as the
    diagonal is.

    Queues add rows of past steps. Each mean is then taken over the pairs that hold at least one live
    row: across, live x live, live x queue and queue x live; within, live x live and live x queue. Pairs
    of two queued rows are left out: they carry no gradient and would only shrink that of the live ones.
    A mean over any set of pairs of independent rows has the same expectation, so this is as unbiased as
    the features of past steps are like those of the present one. Queued rows belong to other groups than
    live ones.

    Parameters
    ----------
    first, second : Tensor
        Live rows, shapes (n, d) and (m, d), float32 or float64.
    bandwidths : sequence of float
        The multiples b.
    first_queue, second_queue : Tensor, optional
        Rows of past steps, shapes (q, d), without gradient.
    first_groups, second_groups : Tensor, optional
        Shapes (n,) and (m,), the integer group of each live row; without it each row is one of its own.

    Returns
    -------
    Tensor
        A scalar that carries gradient to both live samples.

    Raises
    ------
    ValueError
        A sample has no pair within: less than two groups of live rows, and no queue.
    """
    first_queue = first[:0].detach() if first_queue is None else first_queue.detach()
    second_queue = second[:0].detach() if second_queue is None else second_queue.detach()
    first_groups, second_groups = _own_groups(first, first_groups), _own_groups(second, second_groups)
    if not (_has_pairs(first_groups, first_queue) and _has_pairs(second_groups, second_queue)):
        raise ValueError("the unbiased MMD needs at least 2 groups of rows a sample, got "
                         f"{len(first_groups.unique())} and {len(second_groups.unique())} live, "
                         f"{len(first_queue)} and {len(second_queue)} rows in the queues")
    with torch.no_grad():
        everything = torch.cat([first, second, first_queue, second_queue])
        widths = mean_squared_distance(everything) * everything.new_tensor(list(bandwidths))
        # Distances do not change, but are not lost in the rounding of a common offset.
        centre = everything.mean(dim=0)
    first, second, first_queue, second_queue = (rows - centre for rows in (first, second, first_queue, second_queue))
    across = (kernel_sum(first, second, widths) + kernel_sum(first, second_queue, widths)
              + kernel_sum(first_queue, second, widths))
    pairs = len(first) * len(second) + len(first) * len(second_queue) + len(first_queue) * len(second)
    return (_mean_within(first, first_groups, first_queue, widths)
            + _mean_within(second, second_groups, second_queue, widths) - 2.0 * across / pairs)


def _own_groups(rows: torch.Tensor, groups: torch.Tensor | None) -> torch.Tensor:
    return torch.arange(len(rows), device=rows.device) if groups is None else groups


def _has_pairs(groups: torch.Tensor, queue: torch.Tensor) -> bool:
    return len(groups) > 0 and (len(queue) > 0 or bool((groups != groups[0]).any()))


def _mean_within(live: torch.Tensor, groups: torch.Tensor, queue: torch.Tensor, widths: torch.Tensor) -> torch.Tensor:
    """Mean of the kernel over unordered pairs of rows of different groups of which one at least is live."""
    _, sizes = torch.unique(groups, return_counts=True)
    pairs = 0.5 * (len(live) ** 2 - sizes.square().sum()) + len(live) * len(queue)
    return (0.5 * kernel_sum(live, live, widths, groups=groups) + kernel_sum(live, queue, widths)) / pairs


def mmd_between_sites(features: torch.Tensor, sites: torch.Tensor, bandwidths: Sequence[float],
                      queue: SiteQueue | None = None, *, groups: torch.Tensor | None = None) -> torch.Tensor:
    """Return the mean over sites of MMD^2 between one site's rows and the pooled rest.

    Parameters
    ----------
    features : Tensor
        Shape (n, d).
    sites : Tensor
        Shape (n,), the integer site of each row.
    bandwidths : sequence of float
        See :func:`unbiased_mmd2`.
    queue : SiteQueue, optional
        Rows of past steps; not changed here.
    groups : Tensor, optional
        Shape (n,), the integer group of each row, see :func:`unbiased_mmd2`; without it each row is one.

    Returns
    -------
    Tensor
        A scalar; with two sites it is the MMD^2 between them. A site without a pair within it has no
        term; zero (with gradient) when no site has one.
    """
    groups = _own_groups(features, groups)
    present = torch.unique(sites).tolist()
    nothing = features[:0].detach()
    terms = []
    for site in present[:1] if len(present) == 2 else present:
        here = sites == site
        own_queue, rest_queue = (nothing, nothing) if queue is None else queue.own_and_rest(site, like=features)
        if _has_pairs(groups[here], own_queue) and _has_pairs(groups[~here], rest_queue):
            terms.append(unbiased_mmd2(features[here], features[~here], bandwidths, first_queue=own_queue,
                                       second_queue=rest_queue, first_groups=groups[here],
                                       second_groups=groups[~here]))
    return torch.stack(terms).mean() if terms else features.sum() * 0.0
