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
               without_diagonal: bool = False) -> torch.Tensor:
    """Return the sum over all pairs of rows, and over kernels, of exp(-|x - y|^2 / width).

    Memory grows with the number of rows, not of pairs: blocks of at most ``LARGEST_BLOCK`` pairs are
    computed one after the other, and again in the backward pass instead of being kept.

    Parameters
    ----------
    first, second : Tensor
        Shapes (n, d) and (m, d).
    widths : Tensor
        Shape (kernels,), without gradient.
    without_diagonal : bool
        Leaves pairs of equal index out, for a sum within one sample. They are taken out by index, not
        by their value, which rounding moves away from 1.
    """
    rows = max(1, LARGEST_BLOCK // max(1, len(second)))
    starts = range(0, len(first), rows)
    if len(starts) <= 1:
        return _block_sum(first, second, widths, 0 if without_diagonal else None)
    parts = [checkpoint(_block_sum, first[start:start + rows], second, widths, start if without_diagonal else None,
                        use_reentrant=False, preserve_rng_state=False) for start in starts]
    return torch.stack(parts).sum()


def _block_sum(first: torch.Tensor, second: torch.Tensor, widths: torch.Tensor, start: int | None) -> torch.Tensor:
    distances = squared_distances(first, second)
    total = first.new_zeros(())
    for width in widths:
        kernel = torch.exp(-distances / width)
        total = total + kernel.sum()
        if start is not None:
            total = total - kernel.diagonal(start).sum()
    return total


def mean_squared_distance(rows: torch.Tensor) -> torch.Tensor:
    """Return the mean squared distance of distinct rows of (n, d): twice the total variance; 1 if it is 0."""
    width = 2.0 * rows.var(dim=0, unbiased=True).sum()
    return torch.where(width > 0, width, torch.ones_like(width))


def unbiased_mmd2(first: torch.Tensor, second: torch.Tensor, bandwidths: Sequence[float], *,
                  first_queue: torch.Tensor | None = None, second_queue: torch.Tensor | None = None) -> torch.Tensor:
    """Return the unbiased estimate of MMD^2 between two samples, summed over Gaussian kernels.

    With k(x, y) = sum over b of exp(-|x - y|^2 / (b * w)), w the mean squared distance of all rows
    (taken as a constant, since a width that follows the features would let the network shrink the term
    by inflating its features), the estimate is the difference of the means of k within (without the
    diagonal) and across the samples: Gretton et al. (2012), equation 3, with the sum of kernels of
    Long et al. (2015). It is zero in expectation for equal distributions, so single values may be
    negative.

    Queues add rows of past steps. Each mean is then taken over the pairs that hold at least one live
    row: across, live x live, live x queue and queue x live; within, live x live and live x queue. Pairs
    of two queued rows are left out: they carry no gradient and would only shrink that of the live ones.
    A mean over any set of pairs of independent rows has the same expectation, so this is as unbiased as
    the features of past steps are like those of the present one.

    Parameters
    ----------
    first, second : Tensor
        Live rows, shapes (n, d) and (m, d), float32 or float64.
    bandwidths : sequence of float
        The multiples b.
    first_queue, second_queue : Tensor, optional
        Rows of past steps, shapes (q, d), without gradient.

    Returns
    -------
    Tensor
        A scalar that carries gradient to both live samples.

    Raises
    ------
    ValueError
        A sample has no pair within: less than two live rows, or one without a queue.
    """
    first_queue = first[:0].detach() if first_queue is None else first_queue.detach()
    second_queue = second[:0].detach() if second_queue is None else second_queue.detach()
    if not (_has_pairs(first, first_queue) and _has_pairs(second, second_queue)):
        raise ValueError(f"the unbiased MMD needs at least 2 rows a sample, got {len(first)} and {len(second)} live, "
                         f"{len(first_queue)} and {len(second_queue)} in the queues")
    with torch.no_grad():
        everything = torch.cat([first, second, first_queue, second_queue])
        widths = mean_squared_distance(everything) * everything.new_tensor(list(bandwidths))
        # Distances do not change, but are not lost in the rounding of a common offset.
        centre = everything.mean(dim=0)
    first, second, first_queue, second_queue = (rows - centre for rows in (first, second, first_queue, second_queue))
    across = (kernel_sum(first, second, widths) + kernel_sum(first, second_queue, widths)
              + kernel_sum(first_queue, second, widths))
    pairs = len(first) * len(second) + len(first) * len(second_queue) + len(first_queue) * len(second)
    return (_mean_within(first, first_queue, widths) + _mean_within(second, second_queue, widths)
            - 2.0 * across / pairs)


def _has_pairs(live: torch.Tensor, queue: torch.Tensor) -> bool:
    return len(live) >= 2 or (len(live) == 1 and len(queue) >= 1)


def _mean_within(live: torch.Tensor, queue: torch.Tensor, widths: torch.Tensor) -> torch.Tensor:
    """Mean of the kernel over unordered pairs of distinct rows of which one at least is live."""
    count = len(live)
    total = 0.5 * kernel_sum(live, live, widths, without_diagonal=True) + kernel_sum(live, queue, widths)
    return total / (count * (count - 1) / 2 + count * len(queue))


def mmd_between_sites(features: torch.Tensor, sites: torch.Tensor, bandwidths: Sequence[float],
                      queue: SiteQueue | None = None) -> torch.Tensor:
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

    Returns
    -------
    Tensor
        A scalar; with two sites it is the MMD^2 between them. A site without a pair within it has no
        term; zero (with gradient) when no site has one.
    """
    present = torch.unique(sites).tolist()
    nothing = features[:0].detach()
    terms = []
    for site in present[:1] if len(present) == 2 else present:
        own, rest = features[sites == site], features[sites != site]
        own_queue, rest_queue = (nothing, nothing) if queue is None else queue.own_and_rest(site, like=features)
        if _has_pairs(own, own_queue) and _has_pairs(rest, rest_queue):
            terms.append(unbiased_mmd2(own, rest, bandwidths, first_queue=own_queue, second_queue=rest_queue))
    return torch.stack(terms).mean() if terms else features.sum() * 0.0
