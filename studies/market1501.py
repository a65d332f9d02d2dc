"""The study on real data, sized to a CPU.

Research data: pictures are left out of everything that is saved. The trainings take days of two
cores; one that is interrupted resumes, and a notebook can be made alone with the runs that it
needs (README).
"""

from reidlab.recipe import Study, names

study = Study(
    "Market-1501 on a CPU: the OSNet report's 10-epoch recipe, the Siamese report's 120 epochs, "
    "published checkpoints, the tricks table with three seeds, and three networks under one "
    "pipeline.",
    keep=True,  # hours of training: a run of another code version stays, and says so
    cell_timeout=21600,
    runtime=480,
)

MSMT17 = "reid:$DATA/weights/osnet_x0_25_msmt17.pth"
MARKET = "reid:$DATA/weights/osnet_x0_25_market1501.pth"

# Notebook 03 on real data: the most from scratch in twenty minutes of two CPU cores. By itself:
#   OMP_NUM_THREADS=2 python -m reidlab run market1501 market-fast
study.run("market-fast", "fast", seeds=[0, 1, 2])

# The OSNet report's question, its Table I: what does the initialisation change? "report" is its
# recipe: 256x128, batch 16, AdamW 3e-4 / 5e-4, plateau schedule, 10 epochs.
for name, start in {"none": "none", "synthetic": "synthetic", "msmt17": MSMT17}.items():
    study.run(f"market-{name}", start=start)

# The same with three seeds, from clean code, and for the first time from ImageNet. Rank-1 and mAP
# after the last epoch only: a look at 256x128 takes a minute and a half of one core.
for name, start in {
    "imagenet": "imagenet",
    "none": "none",
    "synthetic": "synthetic",
    "msmt17": MSMT17,
}.items():
    study.run(f"table1-{name}", start=start, eval_every=10, seeds=[0, 1, 2])
study.run("table1-x1-none", model="osnet_x1_0", eval_every=10)

# The Siamese report's OSNet row, 77.3 / 56.3, at its own size, length and start: as the papers
# define the pipeline (Bag of Tricks), and as the report's code ran it.
pipeline = dict(
    batch_size=64,
    sampler="identities",
    num_instances=4,
    optimizer="adam",
    lr=0.00035,
    schedule="step",
    triplet="hinge",
    center_weight=0.0005,
    erase=0.5,
    val_fraction=0.0,  # every image trains; nothing is chosen on validation
    distance="cosine",
)
coded = dict(
    optimizer="sgd",
    momentum=0.95,
    lr=0.00035,
    warmup_start=0.01,
    center_lr=0.0,
    flip_test=True,
)
study.run(
    "siamese-papers",
    start="imagenet",
    model="osnet_x0_25_bnneck",
    epochs=120,
    milestones=[40, 70],
    warmup_epochs=10,
    eval_every=40,
    **pipeline,
)
study.run("siamese-coded", "siamese-papers", model="osnet_x0_25_d1000", **coded)

# Two checkpoints of torchreid's model zoo as they are: does our evaluation agree?
for name, start in {"market1501": MARKET, "msmt17": MSMT17}.items():
    study.run(f"published-{name}", start=start, epochs=0)
    study.run(f"published-{name}-cosine", f"published-{name}", distance="cosine")

# At 128x64, a quarter of the time. The padding is the report's 10 pixels of 256, in proportion.
study.run("m-none", height=128, width=64, pad=5)

# The paper's row of image sizes for OSNet x0.25 from ImageNet (64x32 79.1 / 56.0, 128x64 88.7 /
# 71.8, 192x96 91.6 / 76.1, 256x128 92.2 / 77.8 after 250 epochs): how near does each size come in
# 60 epochs of "fast", three fifths of them on smaller images? Without the mirror image, as there.
sizes = dict(model="osnet_x0_25", start="imagenet", epochs=60, eval_every=60, flip_test=False)
for height, first in ((128, 96), (64, 48), (192, 128), (256, 192)):
    study.run(
        f"size-{height}",
        "fast",
        height=height,
        width=height // 2,
        pad=round(height / 25.6),
        sizes=[[36, first, first // 2]],
        **sizes,
    )

# From one camera network to the other and back: as it is (on), fine-tuned (to), and from scratch
# for as many passes over images as both trainings of a fine-tuned network have seen (long).
home = dict(model="osnet_x0_25", seeds=[0, 1, 2])
m = study.run("m-scratch", "fast", **home)
c = study.run("c-scratch", "fast", dataset="cuhk03-detected", **home)
for source, target, way, epochs in ((m, c, "m-{}-c", 60), (c, m, "c-{}-m", 35)):
    study.run(way.format("on"), target, start=source, epochs=0, sizes=[])
    study.run(way.format("to"), target, start=source)
    study.run(f"{way[-1]}-long", target, epochs=epochs, eval_every=epochs)

# What helps against corrupted images, notebook 17: one recipe, one thing changed a row. At 96x48
# a training takes ten minutes of one core; three seeds where the paper claims something.
base = study.run(
    "help-base",
    start="imagenet",
    seeds=[0, 1, 2],
    height=96,
    width=48,
    pad=4,
    batch_size=64,
    epochs=16,
    optimizer="muon",
    lr=0.02,
    schedule="cosine",
    erase=0.5,
    val_fraction=0.0,
    eval_every=16,
    distance="cosine",
)
study.run("help-erase-0", base, erase=0.0)
study.run("help-mirror", base, start=base, epochs=0, flip_test=True)
once = dict(seeds=[0])
for share in (0.25, 0.75):
    study.run(f"help-erase-{share * 100:.0f}", base, erase=share, **once)
for corrupt in ("noise", "blur", "weather", "digital", "gaussian_blur", "jpeg_compression", "any"):
    study.run(f"help-{corrupt.replace('_', '-')}", base, corrupt=corrupt, **once)
study.run("help-triplet", base, sampler="identities", triplet="soft", **once)
study.run("help-none", base, start="none", **once)
study.run("help-synthetic", base, start="synthetic", **once)
# Other networks beside OSNet, from random weights, at the size that ResNet50 can be trained at.
small = dict(start="none", height=64, width=32, pad=3)
for name in ("osnet_x0_25", "mobilenet_v3_large", "mspf_x0_25"):
    study.run(f"help-64-{name.split('_')[0]}", base, model=name, **small, **once)
# Muon on ResNet50's 23 million parameters takes three seconds a step of one core: AdamW.
adamw = dict(optimizer="adamw", lr=1e-3, schedule="onecycle")
for name in ("osnet_x0_25", "resnet50"):
    study.run(f"help-adamw-{name.split('_')[0]}", base, model=name, **adamw, **small, **once)
# A network of pairs scores 1,300 of them a second and core, and the whole test set has 53 million.
study.run("help-idla", "pairs-modern", dataset="market1501-twentieth", epochs=150, eval_every=150)
study.run("help-none-twentieth", "help-none", dataset="market1501-twentieth")
study.run("pairs-fpnn", "help-idla", model="fpnn_bn")
study.run(
    "pairs-mcp", "help-idla", model="mcp_bn", height=250, width=100, pad=0, sampler="identities",
    num_instances=2, triplet="improved", distance="euclidean",
)  # fmt: skip

# The OSNet paper's ablation, notebook 13: one part of the block changed a row.
ablation = {"four streams, one gate": "m-scratch"}
for label, change in names.ABLATION.items():
    ablation[label] = f"inside-{change.replace('_', '-')}"
    study.run(ablation[label], m, model=f"osnet_x0_25_{change}")

# OSNet, OSFA and MSPF, notebook 14: one recipe, every trunk from ImageNet. Eight patches of an
# image, and OSFA's four parts, want 128 rows. Two seeds: MSPF holds three OSNets.
mspf = study.run(
    "mspf-2-4",
    m,
    model="mspf_x0_25",
    start="imagenet",
    seeds=[0, 1],
    sizes=[],
    sampler="identities",
    num_instances=4,
    triplet="hinge",
    center_weight=0.0007,
    flip_test=False,
)
tables = names.MSPF_TABLES
for name, network in dict(row for rows in tables.values() for row in rows.values()).items():
    if name != mspf.name:
        study.run(name, mspf, model=network)

# The tricks table, notebook 10: one trick a row, each on top of the row before it. From random
# weights so short a training does not survive the triplet loss without a neck: all features
# become equal.
study.run(
    "tricks-id",
    start="synthetic",
    seeds=[0, 1, 2],
    height=96,
    width=48,
    pad=4,
    batch_size=64,
    epochs=6,
    lr=0.002,
    schedule="cosine",
    label_smoothing=0.0,
    val_fraction=0.0,
    eval_every=6,
    distance="cosine",  # as the strong baseline's: its features have length 1
)
TRICKS = {
    "tricks-warmup": dict(warmup_epochs=1),
    "tricks-erase": dict(erase=0.5),
    "tricks-smooth": dict(label_smoothing=0.1),
    "tricks-pk": dict(sampler="identities", num_instances=4),
    "tricks-triplet": dict(triplet="hinge", margin=0.3),
    "tricks-bnneck": dict(model="osnet_x0_25_bnneck"),
    "tricks-center": dict(center_weight=0.0005),
    "tricks-ema": dict(ema=0.99),
}
before = "tricks-id"
for name, trick in TRICKS.items():
    before = study.run(name, before, **trick)
study.run("tricks-flip", before, start=before, epochs=0, warmup_epochs=0, flip_test=True)

# The table of the Siamese report (three networks), notebook 11. Its networks come from ImageNet;
# these, one like the other, from generated people. OSNet and MobileNetV3 have three seeds;
# ResNet50, several times slower, has one.
NETWORKS = {
    "osnet": ("osnet_x0_25_bnneck", "osnet_x0_25_d1000", [0, 1, 2]),
    "mobilenet": ("mobilenet_v3_large", "mobilenet_v3_large_report", [0, 1, 2]),
    "resnet50": ("resnet50", "resnet50_report", [0]),
}
small = dict(height=64, width=32, pad=3)
people = dict(
    dataset="synthetic-pretrain",
    batch_size=64,
    epochs=6,
    lr=0.002,
    schedule="onecycle",
    erase=0.5,
    val_fraction=0.0,
    eval_every=6,
    distance="cosine",
    **small,
)
# The pipeline of Bag of Tricks, its 120 epochs, warm-up of 10 and steps at 40 and 70 in
# proportion to 10 epochs. Rates were tried on held-out training identities: the papers' form
# gains from three times 3.5e-4; the report's form, SGD with momentum 0.95, falls to chance there.
short = small | pipeline | dict(lr=0.001, milestones=[3, 6], warmup_epochs=1, eval_every=10)
study.run("net-osnet-d1000-g", model="osnet_x0_25_d1000", seeds=[0, 1, 2], **people)
for net, (papers, report, seeds) in NETWORKS.items():
    start = study.run(f"net-{net}-g", model=papers, seeds=seeds, **people)
    study.run(f"net-{net}-m", start=start, model=papers, seeds=seeds, **short)
    own = "net-osnet-d1000-g" if net == "osnet" else start
    study.run(f"net-{net}-report-m", f"net-{net}-m", start=own, model=report, **coded)
# The papers' form at the rate of the report's form: what the optimiser and a missing neck are
# held against, which do not stand the higher one.
study.run("net-osnet-slow-m", "net-osnet-m", lr=0.00035)

# What is missing to the report's result: from random weights, then longer; larger images, a
# longer training, and both.
large = dict(height=128, width=64, pad=5)
thrice = dict(epochs=30, warmup_epochs=3, milestones=[10, 18], eval_every=30)
study.run("net-osnet-none-m", "net-osnet-m", start="none")
study.run(
    "net-osnet-long-m",
    "net-osnet-none-m",
    epochs=20,
    warmup_epochs=2,
    milestones=[7, 12],
    eval_every=20,
)
study.run("net-osnet-large-m", "net-osnet-m", **large)
study.run("net-osnet-30-m", "net-osnet-m", **thrice)
study.run("net-osnet-large-30-m", "net-osnet-30-m", seeds=[0], **large)

# One slip of the report's code at a time, in the papers' form.
study.run("slip-sgd-m", "net-osnet-slow-m", optimizer="sgd", momentum=0.95, warmup_start=0.01)
study.run("slip-center-m", "net-osnet-m", center_lr=0.0)
study.run("slip-neck-m", "net-osnet-slow-m", start="net-osnet-d1000-g", model="osnet_x0_25_d1000")
study.run(
    "slip-flip-m", "net-osnet-m", start="net-osnet-m", epochs=0, warmup_epochs=0, flip_test=True
)
study.run("slip-sigmoid-m", "net-mobilenet-m", model="mobilenet_v3_large_sigmoid")
study.run("slip-stride-m", "net-resnet50-m", model="resnet50_stride2")

compared = ["market-none", "market-synthetic", "market-msmt17"]
compared += [f"published-{name}" for name in ("market1501", "market1501-cosine")]
compared += [f"published-{name}" for name in ("msmt17", "msmt17-cosine")]
study.notebook("01-data", dataset="market1501", other="market1501")
# A network that was trained on real people, and a thousand queries: are its gates alive?
study.notebook("02-architecture", weights=MARKET, dataset="market1501", queries=1000)
study.notebook("03-training", run="market-fast")
study.notebook(
    "04-cross-dataset",
    first_direction=dict(
        source="m-scratch", direct="m-on-c", fine_tuned="m-to-c", scratch="c-long"
    ),
    second_direction=dict(
        source="c-scratch", direct="c-on-m", fine_tuned="c-to-m", scratch="m-long"
    ),
)
study.notebook("05-comparison", runs=compared, first="market-none", second="market-msmt17")
study.notebook("06-retrieval", run="market-msmt17")
study.notebook("07-published", runs=compared)
study.notebook("08-distances", runs=["published-market1501", "market-msmt17"])
study.notebook("09-verification", run="market-msmt17", ask_for=0.001)
study.notebook(
    "10-tricks",
    rows={
        "ID loss": "tricks-id",
        "+ warm-up": "tricks-warmup",
        "+ random erasing": "tricks-erase",
        "+ label smoothing": "tricks-smooth",
        "+ P × K batches": "tricks-pk",
        "+ triplet loss": "tricks-triplet",
        "+ BNNeck": "tricks-bnneck",
        "+ centre loss": "tricks-center",
        "+ averaged weights": "tricks-ema",
        "+ mirror image at test": "tricks-flip",
    },
)
study.notebook(
    "11-networks",
    networks={
        "ResNet50": [["net-resnet50-m", "net-resnet50-report-m"]],
        "MobileNetV3-Large": [["net-mobilenet-m", "net-mobilenet-report-m"]],
        "OSNet x0.25": [["net-osnet-m", "net-osnet-report-m"]],
    },
    slips={
        "OSNet x0.25: a third of the rate": ["net-osnet-slow-m", "net-osnet-m"],
        "OSNet x0.25: SGD, momentum 0.95, its warm-up": ["slip-sgd-m", "net-osnet-slow-m"],
        "OSNet x0.25: centres never trained": ["slip-center-m", "net-osnet-m"],
        "OSNet x0.25: 1000-d, no neck": ["slip-neck-m", "net-osnet-slow-m"],
        "OSNet x0.25: mirror image at test": ["slip-flip-m", "net-osnet-m"],
        "MobileNetV3-Large: sigmoid": ["slip-sigmoid-m", "net-mobilenet-m"],
        "ResNet50: last stride 2": ["slip-stride-m", "net-resnet50-m"],
    },
    transfer=[],
    steps={
        "from generated people": "net-osnet-m",
        "from generated people, four times the pixels": "net-osnet-large-m",
        "from generated people, three times as long": "net-osnet-30-m",
        "from generated people, larger and longer": "net-osnet-large-30-m",
        "from random weights": "net-osnet-none-m",
        "from random weights, longer": "net-osnet-long-m",
        "from the shipped weight, larger images, ID loss alone": "tricks-smooth",
        "from random weights, full size, ID loss alone": "market-none",
        "from random weights, another recipe and network: fast, x0.5": "market-fast",
    },
)
study.notebook("12-claims")
study.notebook("13-inside-osnet", rows=ablation)
study.notebook(
    "14-mspf",
    **{part: {label: run for label, (run, _) in rows.items()} for part, rows in tables.items()},
    dataset="synthetic-a",
    persons=30,
    images=10,
)
study.notebook(
    "15-attention",
    networks={
        "untrained": "none",
        "the shipped weight": "synthetic",
        "published, Market-1501": "published-market1501",
        "published, MSMT17": "published-msmt17",
    },
    looked_at="published, Market-1501",
    dataset="synthetic-a",
    count=160,
    block="conv4.1",
    seed=0,
)
study.notebook(
    "16-pairs",
    sets={
        "market1501-twentieth": {
            "IDLA, modern recipe": ["help-idla"],
            "FPNN, modern recipe": ["pairs-fpnn"],
            "MCP-CNN, modern recipe": ["pairs-mcp"],
            "OSNet x0.25, random weights": ["help-none-twentieth"],
        }
    },
    pictured={"IDLA": "help-idla", "FPNN": "pairs-fpnn", "MCP-CNN": "pairs-mcp"},
    people=[5, 6],
    bridge="help-none-twentieth",
    galleries=[100, 793, 5332, 15913],
    steps=1500,
)
study.notebook(
    "17-corruptions",
    run="published-market1501",
    rows={
        "the base: erasing 0.5": "help-base",
        "erasing 0": "help-erase-0",
        "erasing 0.25": "help-erase-25",
        "erasing 0.75": "help-erase-75",
        "noise as augmentation": "help-noise",
        "blur": "help-blur",
        "weather": "help-weather",
        "digital": "help-digital",
        "Gaussian blur alone": "help-gaussian-blur",
        "JPEG alone": "help-jpeg-compression",
        "every kind": "help-any",
        "soft triplet": "help-triplet",
        "from random weights": "help-none",
        "from generated people": "help-synthetic",
        "mirror image at test": "help-mirror",
        "re-ranked": "help-base",
        "64x32, random weights: OSNet x0.25": "help-64-osnet",
        "64x32, random weights: MSPF x0.25": "help-64-mspf",
        "64x32, random weights: MobileNetV3-Large": "help-64-mobilenet",
        "64x32, random weights, AdamW: OSNet x0.25": "help-adamw-osnet",
        "64x32, random weights, AdamW: ResNet50": "help-adamw-resnet50",
    },
    pairs={"OSNet x0.25": "help-none-twentieth", "IDLA": "help-idla"},
    reranked=["re-ranked"],
    repeats=10,
    row_repeats=5,
    severities=[1, 2, 3, 4, 5],
    people=0.1,
)
