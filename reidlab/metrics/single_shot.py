"""Single-gallery-shot CMC: the gallery holds one image of each person, drawn at random.

This is the metric of CUHK03's classic protocol and of older sets. The field draws some galleries
(torchreid 10, others 100) and takes the mean, so that a result depends on a seed. Here the mean
over *all* galleries that could be drawn is computed, which has no seed: with the image of the
query's person given, other persons stand before it independently of one another, each with the
share of their images that are nearer. How many do is Poisson-binomial.
"""

import numpy as np
import torch

from reidlab.common.errors import ReidlabError
from reidlab.data.table import DISTRACTOR_PID
from reidlab.metrics.distances import Distances
from reidlab.metrics.ranks import FeatureSet, Lists


@torch.no_grad()
def single_shot_cmc(
    query: FeatureSet,
    gallery: FeatureSet,
    distance: str | Distances = "euclidean",
    max_rank: int = 50,
    same_camera_rule: bool = True,
) -> np.ndarray:
    """The expected CMC curve if one gallery image is drawn of each person, for each query anew.

    Args:
        query: Features of the queries, (Q, D).
        gallery: Features of the gallery, (G, D); distractors (pid 0) are nobody, and left out.
        distance: As in :func:`reidlab.metrics.scores.evaluate`.
        max_rank: Length of the curve.
        same_camera_rule: Remove the gallery images of the query's identity and camera before one
            is drawn.

    Returns:
        (max_rank,) rates in [0, 1], means over the queries that have a true match.

    Raises:
        ReidlabError: An argument is malformed, or no query has a true match.

    >>> query = FeatureSet(torch.tensor([[0.0]]), torch.tensor([7]), torch.tensor([1]))
    >>> line = torch.tensor([[2.0], [1.0], [3.0]])  # one of the two images of person 3 is nearer
    >>> gallery = FeatureSet(line, torch.tensor([7, 3, 3]), torch.full((3,), 2))
    >>> print(single_shot_cmc(query, gallery, max_rank=2))
    [0.5 1. ]
    """
    if max_rank < 1:
        raise ReidlabError(f"max_rank is {max_rank}; the CMC curve needs at least rank 1")
    lists = Lists(query, gallery, distance, same_camera_rule)
    people, person = np.unique(lists.g_pids, return_inverse=True)
    known = lists.g_pids > DISTRACTOR_PID
    total, valid = np.zeros(max_rank), 0
    for block in lists.blocks():
        order = block.distances.argsort(dim=1, stable=True).cpu().numpy()
        kept = block.distances.isfinite().cpu().numpy()
        matches = np.zeros(order.shape, dtype=bool)
        matches[block.rows, block.columns] = True
        for row in np.flatnonzero(matches.any(1)):
            listed = order[row][(kept[row] & known)[order[row]]]
            total += _expected_cmc(
                person[listed], np.flatnonzero(matches[row][listed]), len(people), max_rank
            )
            valid += 1
    if not valid:
        raise ReidlabError(lists.explain_no_match())
    return total / valid


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
