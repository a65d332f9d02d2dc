"""The paper's results on a GPU: OSNet x1.0 (Zhou et al., ICCV 2019).

By its two recipes as the author states them: SGD from scratch, and AMSGrad from ImageNet weights.
"""

from reidlab.recipe import Study

study = Study(
    "OSNet x1.0 at 256x128 on Market-1501, from scratch for 350 epochs and from ImageNet for 250, "
    "and the tricks table with OSNet x0.25 for 120 epochs, for one GPU.",
    keep=True,
    cell_timeout=86400,
    gpu=1,
    threads=8,
    runtime=1440,
    mem_mb=32000,
)
shared = dict(
    batch_size=64,
    val_fraction=0.0,  # every image trains; nothing is chosen on validation
    eval_every=50,
    distance="cosine",
)
study.run(
    "market-none",
    model="osnet_x1_0",
    epochs=350,
    optimizer="sgd",
    lr=0.065,
    schedule="step",
    milestones=[150, 225, 300],
    erase=0.5,
    **shared,
)
study.run(
    "market-imagenet",
    start="imagenet",
    model="osnet_x1_0",
    epochs=250,
    optimizer="amsgrad",
    lr=0.0015,
    schedule="cosine",
    erase=0.5,
    **shared,
)

# The tricks table, notebook 10: one trick a row, each on top of the row before it.
before = study.run(
    "tricks-id",
    start="imagenet",
    seeds=[0, 1, 2],
    epochs=120,
    optimizer="adam",
    lr=0.00035,
    schedule="step",
    milestones=[40, 70],
    label_smoothing=0.0,
    **shared,
)
rows = {"ID loss": before.name}
for label, name, trick in (
    ("+ warm-up", "tricks-warmup", dict(warmup_epochs=10)),
    ("+ random erasing", "tricks-erase", dict(erase=0.5)),
    ("+ label smoothing", "tricks-smooth", dict(label_smoothing=0.1)),
    ("+ P × K batches", "tricks-pk", dict(sampler="identities", num_instances=4)),
    ("+ triplet loss", "tricks-triplet", dict(triplet="hinge", margin=0.3)),
    ("+ BNNeck", "tricks-bnneck", dict(model="osnet_x0_25_bnneck")),
    ("+ centre loss", "tricks-center", dict(center_weight=0.0005)),
    ("+ averaged weights", "tricks-ema", dict(ema=0.999)),
):
    before = study.run(name, before, **trick)
    rows[label] = name
study.run("tricks-flip", before, start=before, epochs=0, warmup_epochs=0, flip_test=True)
rows["+ mirror image at test"] = "tricks-flip"

both = ["market-none", "market-imagenet"]
study.notebook("01-data", dataset="market1501", other="market1501")
study.notebook("02-architecture", weights="run:market-none", height=256, width=128)
study.notebook("05-comparison", runs=both, first="market-none", second="market-imagenet")
study.notebook("06-retrieval", run="market-none")
study.notebook("07-published", runs=both)
study.notebook("08-distances", runs=["market-none"])
study.notebook("09-verification", run="market-none", ask_for=0.001)
study.notebook("10-tricks", rows=rows)
