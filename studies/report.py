"""The table of the Siamese report (three networks) with its own budget, notebook 11.

120 epochs from ImageNet, on a GPU. The report's second set was DukeMTMC-reID, which its authors
have withdrawn; here CUHK03 stands for it. Who has DukeMTMC-reID changes one line.
"""

from reidlab.recipe import Study

study = Study(
    "ResNet50, MobileNetV3 and OSNet x0.25 as the papers define them and as a report's code ran "
    "them, 120 epochs from ImageNet on Market-1501 and a second set, fine-tuned from one to the "
    "other, for one GPU.",
    keep=True,
    cell_timeout=86400,
    gpu=1,
    threads=8,
    runtime=1440,
    mem_mb=32000,
)
OTHER = "cuhk03-detected"  # or "dukemtmc"

# The pipeline of Bag of Tricks, as the papers define it ...
pipeline = study.run(
    "net-osnet-m",
    start="imagenet",
    model="osnet_x0_25_bnneck",
    batch_size=64,
    sampler="identities",
    epochs=120,
    optimizer="adam",
    lr=0.00035,
    schedule="step",
    milestones=[40, 70],
    warmup_epochs=10,
    triplet="hinge",
    center_weight=0.0005,
    erase=0.5,
    val_fraction=0.0,  # every image trains; nothing is chosen on validation
    eval_every=40,
    distance="cosine",
)
# ... and as the report's code ran it.
coded = dict(optimizer="sgd", momentum=0.95, warmup_start=0.01, center_lr=0.0, flip_test=True)
evaluate = dict(epochs=0, warmup_epochs=0)
finetune = dict(epochs=10, warmup_epochs=1, milestones=[3, 6], eval_every=10)

networks, transfer = {}, []
for label, net, papers, report in (
    ("ResNet50", "net-resnet50", "resnet50", "resnet50_report"),
    ("MobileNetV3-Large", "net-mobilenet", "mobilenet_v3_large", "mobilenet_v3_large_report"),
    ("OSNet x0.25", "net-osnet", "osnet_x0_25_bnneck", "osnet_x0_25_d1000"),
):
    for form, model, changes in ((net, papers, {}), (f"{net}-report", report, coded)):
        m = pipeline
        if form != "net-osnet":
            m = study.run(f"{form}-m", pipeline, model=model, **changes)
        o = study.run(f"{form}-o", m, dataset=OTHER)
        # From one to the other: as it is (on), and after 10 epochs (to).
        for way, how in (("on", evaluate), ("to", finetune)):
            transfer += [study.run(f"{form}-m-{way}-o", o, start=m, **how)]
            transfer += [study.run(f"{form}-o-{way}-m", m, start=o, **how)]
    networks[label] = [[f"{net}-{place}", f"{net}-report-{place}"] for place in "mo"]

# One slip of the report's code at a time, in the papers' form.
slips = {}
for label, name, of, changes in (
    ("OSNet x0.25: SGD, momentum 0.95, its warm-up", "sgd", "net-osnet-m",
     dict(optimizer="sgd", momentum=0.95, warmup_start=0.01)),
    ("OSNet x0.25: centres never trained", "center", "net-osnet-m", dict(center_lr=0.0)),
    ("OSNet x0.25: 1000-d, no neck", "neck", "net-osnet-m", dict(model="osnet_x0_25_d1000")),
    ("OSNet x0.25: mirror image at test", "flip", "net-osnet-m",
     dict(start=pipeline, flip_test=True, **evaluate)),
    ("MobileNetV3-Large: sigmoid", "sigmoid", "net-mobilenet-m",
     dict(model="mobilenet_v3_large_sigmoid")),
    ("ResNet50: last stride 2", "stride", "net-resnet50-m", dict(model="resnet50_stride2")),
):  # fmt: skip
    slips[label] = [study.run(f"slip-{name}-m", of, **changes), of]

study.notebook(
    "11-networks",
    networks=networks,
    slips=slips,
    transfer=transfer,
    steps={"from ImageNet, 120 epochs": pipeline},
)
