"""The shipped weight: OSNet x0.25 trained on many generated people under many cameras.

It holds no photograph and no licence but the project's own. ``make weights`` remakes it.
"""

from reidlab.recipe import Study

study = Study(
    "OSNet x0.25 on 1,000 generated people, the weight that init 'synthetic' starts from.",
    cell_timeout=21600,
)
study.run(
    "synthetic",
    dataset="synthetic-pretrain",
    height=128,
    width=64,
    pad=5,
    batch_size=64,
    schedule="onecycle",
    lr=0.004,
    epochs=10,
    erase=0.5,
    val_fraction=0.05,
    eval_every=5,
)
