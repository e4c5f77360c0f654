"""Maximum mean discrepancy between the features of two sites: the unbiased multi-kernel estimate."""

from __future__ import annotations

from collections.abc import Sequence

import torch


def squared_distances(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
    """Return the squared Euclidean distances (n, m) between rows of (n, d) and (m, d), never negative."""
    return (first.square().sum(1)[:, None] + second.square().sum(1)[None, :]
            - 2.0 * first @ second.T).clamp_min(0.0)


def unbiased_mmd2(first: torch.Tensor, second: torch.Tensor, bandwidths: Sequence[float]) -> torch.Tensor:
    """Return the unbiased estimate of MMD^2 between two samples, summed over Gaussian kernels.

    With k(x, y) = sum over b of exp(-|x - y|^2 / (b * w)), w the mean squared distance of the pooled
    samples (taken as a constant, since a width that follows the features would let the network shrink
    the term by inflating its features), the estimate is the difference of the means of k within
    (without the diagonal) and across the samples: Gretton et al. (2012), equation 3, with the sum of
    kernels of Long et al. (2015). It is zero in expectation for equal distributions, so single values
    may be negative.

    Parameters
    ----------
    first, second : Tensor
        Shapes (n, d) and (m, d), n and m at least 2, float32 or float64.
    bandwidths : sequence of float
        The multiples b.

    Returns
    -------
    Tensor
        A scalar that carries gradient to both samples.

    Raises
    ------
    ValueError
        A sample has less than two rows: its within-term is not defined.
    """
    n, m = len(first), len(second)
    if n < 2 or m < 2:
        raise ValueError(f"the unbiased MMD needs at least 2 rows a sample, got {n} and {m}")
    pooled = torch.cat([first, second])
    distances = squared_distances(pooled, pooled)
    count = n + m
    width = distances.detach().sum() / (count * (count - 1))
    width = torch.where(width > 0, width, torch.ones_like(width))
    # The diagonal is taken out by index, not by its value: it is exp(0) = 1 for each kernel.
    kernel = sum(torch.exp(-distances / (multiple * width)) for multiple in bandwidths)
    assert isinstance(kernel, torch.Tensor)
    within_first = (kernel[:n, :n].sum() - kernel[:n, :n].diagonal().sum()) / (n * (n - 1))
    within_second = (kernel[n:, n:].sum() - kernel[n:, n:].diagonal().sum()) / (m * (m - 1))
    return within_first + within_second - 2.0 * kernel[:n, n:].mean()


def mmd_between_sites(features: torch.Tensor, sites: torch.Tensor, bandwidths: Sequence[float]) -> torch.Tensor:
    """Return the mean over sites of MMD^2 between one site's rows and the pooled rest.

    Parameters
    ----------
    features : Tensor
        Shape (n, d).
    sites : Tensor
        Shape (n,), the integer site of each row.
    bandwidths : sequence of float
        See :func:`unbiased_mmd2`.

    Returns
    -------
    Tensor
        A scalar; with two sites it is the MMD^2 between them. A site with less than two rows has no
        term; zero (with gradient) when no site has one.
    """
    present = torch.unique(sites).tolist()
    terms = []
    for site in present[:1] if len(present) == 2 else present:
        own, rest = features[sites == site], features[sites != site]
        if len(own) >= 2 and len(rest) >= 2:
            terms.append(unbiased_mmd2(own, rest, bandwidths))
    return torch.stack(terms).mean() if terms else features.sum() * 0.0
