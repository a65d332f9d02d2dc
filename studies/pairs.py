"""Networks that look at two images at once, on the small sets that they were made for.

FPNN, IDLA and MCP-CNN under one modern recipe, IDLA and FPNN under their papers' as well, and
OSNet fine-tuned on the same images: one partition of each set at first, more of what is cheap.
Research data: pictures are left out of everything that is saved.
"""

import re

from reidlab.recipe import Study

study = Study(
    "FPNN, IDLA and MCP-CNN on VIPeR, CUHK01, i-LIDS, PRID2011 and GRID, beside OSNet.",
    keep=True,  # hours of training: a run of another code version stays, and says so
    cell_timeout=21600,
    runtime=300,
)

SETS = {"viper": 3, "ilids": 3, "grid": 3, "prid2011": 3, "cuhk01-100": 1, "cuhk01-486": 1}
MSMT17 = "reid:$DATA/weights/osnet_x0_25_msmt17.pth"

# Small sets: an epoch of VIPeR is ten steps.
small = dict(epochs=60, batch_size=32, val_fraction=0.0, schedule="onecycle", eval_every=60)
# The size that the MSMT17 weights were trained at: at 128x64 they have 8 Rank-1 on VIPeR, not 31.
osnet = small | dict(height=256, width=128, pad=10, lr=1e-3, erase=0.3, distance="cosine")
mcp = small | dict(
    model="mcp_bn", height=250, width=100, pad=0, lr=1e-3, sampler="identities", num_instances=2,
    triplet="improved", distance="euclidean", batch_size=64, epochs=100, eval_every=100,
)  # fmt: skip
for name, partitions in SETS.items():
    for number in range(partitions):
        this = dict(dataset=f"{name}-{number}")
        for start, weights in (("imagenet", "imagenet"), ("msmt17", MSMT17)):
            study.run(f"{name}-osnet-{start}-{number}", start=weights, **osnet, **this)
        study.run(f"{name}-msmt17-as-is-{number}", f"{name}-osnet-msmt17-{number}", epochs=0)
    this = dict(dataset=f"{name}-0")
    study.run(f"{name}-mcp-0", **mcp, **this)
    study.run(f"{name}-idla-0", "pairs-modern", **this)
    study.run(f"{name}-fpnn-0", "pairs-modern", model="fpnn_bn", **this)
    study.run(f"{name}-idla-paper-0", "idla-paper", **this)
    study.run(f"{name}-fpnn-paper-0", "fpnn-paper", **this)

#: Label of a row of the table -> how its runs are called, between the set and the partition.
ROWS = {
    "FPNN, paper's recipe": "fpnn-paper",
    "FPNN, modern recipe": "fpnn",
    "IDLA, paper's recipe": "idla-paper",
    "IDLA, modern recipe": "idla",
    "MCP-CNN, modern recipe": "mcp",
    "OSNet x0.25 from MSMT17, not fine-tuned": "msmt17-as-is",
    "OSNet x0.25 from ImageNet": "osnet-imagenet",
    "OSNet x0.25 from MSMT17": "osnet-msmt17",
}
study.notebook(
    "16-pairs",
    sets={
        name: {
            label: [run for run in study.runs if re.fullmatch(rf"{name}-{word}-\d", run)]
            for label, word in ROWS.items()
        }
        for name in SETS
    },
    pictured={"IDLA": "viper-idla-0", "FPNN": "viper-fpnn-0", "MCP-CNN": "viper-mcp-0"},
    people=[5, 6],
    bridge="viper-osnet-imagenet-0",
    galleries=[100, 316, 900, 5332],
    steps=1500,
)
