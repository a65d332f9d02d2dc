"""Single-gallery-shot CMC: the gallery holds one image of each person, drawn at random.

This is the metric of CUHK03's classic protocol and of older sets. The field draws some galleries
(torchreid 10, others 100) and takes the mean, so that a result depends on a seed. Here the mean
over *all* galleries that could be drawn is computed, which has no seed: with the image of the
query's person given, other persons stand before it independently of one another, each with the
share of their images that are nearer. How many do is Poisson-binomial.
"""

import numpy as np

from reidlab.data.table import DISTRACTOR_PID
from reidlab.metrics.ranks import Block


def expected_curves(block: Block, g_pids: np.ndarray, max_rank: int) -> np.ndarray:
    """The sum of the expected CMC curves of a block's queries, one image drawn of each person.

    Args:
        block: of :meth:`reidlab.metrics.ranks.Lists.blocks`; what the same-camera rule has removed
            cannot be drawn.
        g_pids: (G,) whom the gallery shows; distractors (pid 0) are nobody, and left out.
        max_rank: length of the curve.

    Returns:
        (max_rank,) sum over the queries that have a true match.

    >>> import torch
    >>> distances = torch.tensor([[2.0, 1.0, 3.0]])  # one of two images of person 3 is nearer
    >>> block = Block(0, distances, np.array([0]), np.array([0]))
    >>> print(expected_curves(block, np.array([7, 3, 3]), max_rank=2))
    [0.5 1. ]
    """
    people, person = np.unique(g_pids, return_inverse=True)
    order = block.distances.argsort(dim=1, stable=True).cpu().numpy()
    kept = block.distances.isfinite().cpu().numpy() & (g_pids > DISTRACTOR_PID)
    matches = np.zeros(order.shape, dtype=bool)
    matches[block.rows, block.columns] = True
    total = np.zeros(max_rank)
    for row in np.flatnonzero(matches.any(1)):
        listed = order[row][kept[row][order[row]]]
        places = np.flatnonzero(matches[row][listed])
        total += _expected_cmc(person[listed], places, len(people), max_rank)
    return total


def _expected_cmc(
    person: np.ndarray, matches: np.ndarray, people: int, max_rank: int
) -> np.ndarray:
    """One query's curve.

    Args:
        person: (L,) whom the images of the list show, the nearest first.
        matches: (M,) places of the true matches in it, one of which is drawn.
        people: the number of persons.
        max_rank: length of the curve.
    """
    images = np.bincount(person, minlength=people)
    before = np.stack([np.bincount(person[:place], minlength=people) for place in matches])
    nearer = before / np.maximum(images, 1)  # (M, P), the chance that a person stands before
    nearer[:, person[matches[0]]] = 0
    # chance[m, r]: r persons stand before match m, of those gone through; those above are lost.
    chance = np.zeros((len(matches), max_rank))
    chance[:, 0] = 1
    for share in nearer[:, nearer.any(0)].T[:, :, None]:
        moved = chance * share
        chance -= moved
        chance[:, 1:] += moved[:, :-1]
    return chance.cumsum(1).mean(0)
