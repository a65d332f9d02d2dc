"""The words of a recipe: every name that it may use, said without torch.

The rooms above give each word its meaning: a network of ``MODELS`` is built by the file of
``reidlab/models`` that stands behind it, a data set is read by the file of
``reidlab/data/readers``. Tests hold the words against what those files know.
"""

import math
import re

from reidlab.common.errors import ReidlabError

OPTIMIZERS = ("adamw", "adam", "amsgrad", "sgd", "muon")
SCHEDULES = ("plateau", "step", "cosine", "onecycle", "inverse")
SAMPLERS = ("shuffle", "identities")
PAIR_SAMPLERS = ("pairs", "growing-pairs", "hard-pairs")
TRIPLETS = ("none", "hinge", "soft", "improved")
DEVICES = ("auto", "cpu", "cuda", "mps")
PRECISIONS = ("auto", "float32", "bfloat16")
DISTANCES = ("euclidean", "cosine", "correlation", "cityblock", "minkowski")

#: Family -> its kinds of corrupted images. ImageNet-C's, with its extra kind of each family at
#: the end, and rain among the weather.
CORRUPTIONS = {
    "noise": ("gaussian_noise", "shot_noise", "impulse_noise", "speckle_noise"),
    "blur": ("defocus_blur", "glass_blur", "motion_blur", "zoom_blur", "gaussian_blur"),
    "weather": ("snow", "frost", "fog", "brightness", "spatter", "rain"),
    "digital": ("contrast", "elastic_transform", "pixelate", "jpeg_compression", "saturate"),
}

#: Network -> the file of ``reidlab/models`` that defines it.
MODELS = {
    "osnet_x1_0": "osnet",
    "osnet_x0_75": "osnet",
    "osnet_x0_5": "osnet",
    "osnet_x0_25": "osnet",
    "osnet_ibn_x1_0": "osnet",
    "osnet_ain_x1_0": "osnet",
    "osnet_ain_x0_75": "osnet",
    "osnet_ain_x0_5": "osnet",
    "osnet_ain_x0_25": "osnet",
    "resnet50": "baseline",
    "mobilenet_v3_large": "baseline",
    "osnet_x0_25_bnneck": "baseline",
    "resnet50_stride2": "as_coded",
    "mobilenet_v3_large_sigmoid": "as_coded",
    "resnet50_report": "as_coded",
    "mobilenet_v3_large_report": "as_coded",
    "osnet_x0_25_d1000": "as_coded",
    "mcp": "mcp",
    "mcp_bn": "mcp",
}
#: The OSNet paper's ablation: what a row of it says -> the variant of osnet_x0_25.
ABLATION = {
    "three streams": "streams3",
    "two streams": "streams2",
    "one stream": "streams1",
    "plain bottleneck": "bottleneck",
    "all streams four deep": "depth4",
    "a gate for each stream": "gate_separate",
    "one number for a stream": "gate_stream",
    "gates fixed after training": "gate_fixed",
    "no gate": "gate_none",
    "side by side": "gate_concat",
    "full 3x3": "conv3x3",
}
#: The MSPF document's tables: parameter of notebook 14 -> what a row says -> its run, and network.
MSPF_TABLES = {
    "networks": {
        "OSNet": ("mspf-osnet", "osnet_x0_25_bnneck"),
        "OSFA": ("mspf-osfa", "osfa_x0_25"),
        "MSPF": ("mspf-2-4", "mspf_x0_25"),
    },
    "patches": {
        "none": ("mspf-0", "mspf_x0_25_patches_none"),
        "2": ("mspf-2", "mspf_x0_25_patches_2"),
        "2-4": ("mspf-2-4", "mspf_x0_25"),
        "2-4-8": ("mspf-2-4-8", "mspf_x0_25_patches_2_4_8"),
    },
    "attention": {
        "none": ("mspf-plain", "mspf_x0_25_attention_none"),
        "spatial": ("mspf-spatial", "mspf_x0_25_attention_spatial"),
        "channel": ("mspf-channel", "mspf_x0_25_attention_channel"),
        "spatial then channel": ("mspf-spatial-channel", "mspf_x0_25_attention_spatial_channel"),
        "channel then spatial": ("mspf-2-4", "mspf_x0_25"),
    },
}
#: Networks of an ablation: what stands behind the name of the whole network, x0.25 wide.
_ABLATIONS = {
    "osnet": " ".join(ABLATION.values()),
    "osfa": "feb2021 attention_none attention_1 attention_2 fusion_none fusion_all pooling_max",
    "mspf": "patches_none patches_2 patches_2_4_8 attention_none attention_spatial "
    "attention_channel attention_spatial_channel grid",
}
MODELS |= {
    f"{network}_{width}": network
    for network in ("osfa", "mspf")
    for width in ("x1_0", "x0_75", "x0_5", "x0_25")
}
MODELS |= {
    f"{network}_x0_25_{change}": network
    for network, changes in _ABLATIONS.items()
    for change in changes.split()
}

#: Networks that look at two images at once, and the files that define them.
PAIR_MODELS = {"idla": "idla", "idla_bn": "idla", "fpnn": "fpnn", "fpnn_bn": "fpnn"}

#: Data set -> the file of ``reidlab/data/readers`` that reads it. A set that comes in several
#: splits is known with the number of a split, too: see `reader`.
DATASETS = {
    "market1501": "market1501",
    "market1501-twentieth": "market1501",
    "market-layout": "market1501",
    "dukemtmc": "dukemtmc",
    "cuhk03-labeled": "cuhk03",
    "cuhk03-detected": "cuhk03",
    "cuhk03-classic-labeled": "cuhk03",
    "cuhk03-classic-detected": "cuhk03",
    "msmt17": "msmt17",
    "msmt17-list-train": "msmt17",
    "last": "last",
    "last-val": "last",
    "viper": "viper",
    "cuhk01-486": "cuhk01",
    "cuhk01-100": "cuhk01",
    "grid": "grid",
    "prid2011": "prid2011",
    "ilids": "ilids",
    "own": "own",
}

#: The data sets of generated people, drawn by ``pedestrians``.
GENERATED = (
    "synthetic-a",
    "synthetic-b",
    "synthetic-tiny-a",
    "synthetic-tiny-b",
    "synthetic-pretrain",
)

#: Data set -> how many numbered splits it has: ``cuhk03-classic-labeled-7``.
SPLITS = {"cuhk03-classic-labeled": 20, "cuhk03-classic-detected": 20, "cuhk01-100": 20}
SPLITS |= dict.fromkeys(("viper", "cuhk01-486", "grid", "prid2011", "ilids"), 10)

#: (Σ |q - g|ᵖ)^(1/p) over some thousand dimensions exceeds float32 below this order.
LEAST_ORDER = 0.1


def reader(dataset: str) -> str | None:
    """The file that reads a data set; None for a name that is unknown.

    >>> reader("cuhk03-classic-labeled-7"), reader("cuhk03-classic-labeled-20")
    ('cuhk03', None)
    >>> reader("synthetic-a")
    'market1501'
    """
    if dataset in GENERATED:
        return "market1501"  # whose layout they are written in
    return DATASETS.get(split(dataset)[0])


def split(dataset: str) -> tuple[str, int]:
    """A data set without the number of its split, and that number: 0, the first, where none is.

    >>> split("viper-3"), split("viper"), split("viper-10")
    (('viper', 3), ('viper', 0), ('viper-10', 0))
    """
    numbered = re.fullmatch(r"(.+)-(0|[1-9]\d*)", dataset)
    if numbered and int(numbered[2]) < SPLITS.get(numbered[1], 0):
        return numbered[1], int(numbered[2])
    return dataset, 0


def is_pairwise(model: str) -> bool:
    """Whether a network looks at two images at once, and has no features of one.

    >>> is_pairwise("idla_bn"), is_pairwise("mcp")
    (True, False)
    """
    return model in PAIR_MODELS


def base(model: str) -> str:
    """The network that a variant is a variant of; variants are called after it.

    >>> base("resnet50_stride2"), base("osnet_x0_25")
    ('resnet50', 'osnet_x0_25')
    """
    return min(
        (name for name in MODELS | PAIR_MODELS if f"{model}_".startswith(f"{name}_")), key=len
    )


def has_shipped_weight(model: str) -> bool:
    """Whether ``init`` "synthetic" has a weight for a network."""
    return base(model) == "osnet_x0_25"


def takes_weights_of(model: str, other: str) -> bool:
    """Whether a network can start from the trained weights of another: variants share a base."""
    return base(model) == base(other)


def may_be_shown(dataset: str) -> bool:
    """Whether pictures of a data set may be committed or published: of generated people only.

    This is the one place that decides it. Photographs of real people may be looked at on one's own
    screen, and are left out of everything that is saved.
    """
    return dataset in GENERATED


def corruptions() -> dict[str, tuple[str, ...]]:
    """What a corruption may be called, and the kinds that this stands for.

    >>> known = corruptions()
    >>> known["fog"], len(known["blur"]), len(known["any"])
    (('fog',), 5, 20)
    """
    kinds = tuple(kind for family in CORRUPTIONS.values() for kind in family)
    return {"any": kinds} | CORRUPTIONS | {kind: (kind,) for kind in kinds}


def minkowski_order(distance: str) -> float:
    """The order p that ``minkowski:p`` names; 3 where it names none.

    Args:
        distance: one of `DISTANCES`, or ``minkowski:p`` with p from 0.1 up, ``inf`` included.
            Other distances have no order: NaN.

    Raises:
        ReidlabError: there is no such distance, or p is no such number.

    >>> minkowski_order("minkowski:4"), minkowski_order("minkowski"), minkowski_order("cosine")
    (4.0, 3.0, nan)
    """
    base, colon, text = str(distance).partition(":")
    if base not in DISTANCES or (colon and base != "minkowski"):
        raise ReidlabError(
            f"distance is {distance!r}; known are {', '.join(DISTANCES)} (minkowski:p for order p)"
        )
    if base != "minkowski":
        return math.nan
    try:
        order = float(text) if colon else 3.0
    except ValueError:
        order = math.nan
    if not order >= LEAST_ORDER:  # NaN is refused too
        raise ReidlabError(
            f"distance is {distance!r}: the order of a Minkowski distance must be a number from "
            f"{LEAST_ORDER} up, or inf, such as minkowski:3"
        )
    return order
