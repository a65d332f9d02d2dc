"""The study on the bundled data: two camera networks of generated people.

``make study`` runs it on a 2-core CPU in 11 minutes.
"""

from reidlab.recipe import Study, names

study = Study(
    "The study on two camera networks of generated people, with OSNet x0.25 at 128x64, on a "
    "2-core CPU in 11 minutes."
)

A, B = "synthetic-a", "synthetic-b"

a_none = study.run(
    "a-none",
    dataset=A,
    height=128,
    width=64,
    pad=5,  # the report's 10 pixels of 256, in proportion
    batch_size=32,
    optimizer="muon",  # from scratch it learns in 10 epochs what AdamW does not in 20
    schedule="onecycle",
    lr=0.02,
    eval_every=2,
)
b_none = study.run("b-none", a_none, dataset=B)
adapt = dict(epochs=6, optimizer="adamw", lr=0.001)
study.run("a-synthetic", a_none, start="synthetic", **adapt)
study.run("a-on-b", a_none, dataset=B, start=a_none, epochs=0)
study.run("a-to-b", a_none, dataset=B, start=a_none, **adapt)
study.run("b-on-a", a_none, start=b_none, epochs=0)
study.run("b-to-a", a_none, start=b_none, **adapt)

# A network that looks at pairs, where there are few: notebook 17.
few = dict(dataset="synthetic-tiny-a", batch_size=16, epochs=30, eval_every=30)
study.run("tiny-none", a_none, **few)
study.run("tiny-idla", "pairs-modern", **few)

# Notebooks 10 and 11 in miniature: the shipped weight, thumbnails, one epoch.
tricks = study.run(
    "tricks-id",
    a_none,
    start="synthetic",
    seeds=[0, 1, 2],
    height=64,
    width=32,
    pad=4,
    epochs=1,
    optimizer="adamw",
    lr=0.001,
    schedule="cosine",
    label_smoothing=0.0,
    val_fraction=0.0,
)
groups = study.run("tricks-pk", tricks, sampler="identities")
triplet = study.run("tricks-triplet", groups, triplet="hinge")

net = study.run(
    "net-osnet-a",
    triplet,
    seeds=[0],
    model="osnet_x0_25_bnneck",
    optimizer="adam",
    label_smoothing=0.1,
    erase=0.5,
    center_weight=0.0005,
    distance="cosine",
)
study.run(
    "net-osnet-report-a",
    net,
    model="osnet_x0_25_d1000",
    optimizer="sgd",
    momentum=0.95,
    center_lr=0.0,
    flip_test=True,
)
study.run("slip-flip-a", net, start=net, epochs=0, flip_test=True)
study.run("net-osnet-a-on-b", net, dataset=B, start=net, epochs=0)
study.run("net-osnet-a-to-b", net, dataset=B, start=net)

# Notebooks 13 and 14 in miniature: a dozen people, seconds a training.
tiny = dict(dataset="synthetic-tiny-a", batch_size=16, epochs=2, eval_every=2, val_fraction=0.0)
inside = study.run("inside-osnet", a_none, height=64, width=32, pad=4, **tiny)
ablation = {"four streams, one gate": "inside-osnet"}
for label, change in names.ABLATION.items():
    ablation[label] = f"inside-{change.replace('_', '-')}"
    study.run(ablation[label], inside, model=f"osnet_x0_25_{change}")

mspf = study.run(
    "mspf-2-4",
    net,
    start="none",
    model="mspf_x0_25",
    height=128,
    width=64,
    pad=5,
    center_weight=0.0007,
    **tiny,
)
tables = names.MSPF_TABLES
for name, network in dict(row for rows in tables.values() for row in rows.values()).items():
    if name != mspf.name:
        study.run(name, mspf, model=network)

# Of pairs: small images and few epochs, tested on 25 people who are held out, for every query
# is compared with every image.
small = dict(dataset=A, height=80, width=40, pad=4, val_identities=25, epochs=6, eval_every=6)
modern = study.run("pairs-idla", "pairs-modern", **small, batch_size=32)
study.run("pairs-fpnn", modern, model="fpnn_bn")
study.run("pairs-idla-paper", "idla-paper", **small, batch_size=32)
study.run("pairs-fpnn-paper", "fpnn-paper", **small, batch_size=32)
plain = study.run("pairs-osnet", a_none, **small | dict(epochs=3, eval_every=3), val_fraction=0.0)
study.run(
    "pairs-mcp",
    plain,
    model="mcp_bn",
    optimizer="adamw",
    lr=0.001,
    sampler="identities",
    num_instances=2,
    triplet="improved",
)

single = ["a-none", "b-none", "a-synthetic", "a-on-b", "a-to-b", "b-on-a", "b-to-a"]
study.notebook("01-data", dataset=A, other=B)
study.notebook("02-architecture", dataset=A)
study.notebook("03-training", run="a-none")
study.notebook(
    "04-cross-dataset",
    first_direction=dict(source="a-none", direct="a-on-b", fine_tuned="a-to-b", scratch="b-none"),
    second_direction=dict(source="b-none", direct="b-on-a", fine_tuned="b-to-a", scratch="a-none"),
)
study.notebook("05-comparison", runs=single, first="b-none", second="a-to-b")
study.notebook("06-retrieval", run="a-none")
study.notebook("07-published", runs=single)
study.notebook("08-distances", runs=["a-none"])
study.notebook("09-verification", run="a-none", ask_for=0.01)
study.notebook(
    "10-tricks",
    rows={
        "ID loss": "tricks-id",
        "+ P × K batches": "tricks-pk",
        "+ triplet loss": "tricks-triplet",
    },
)
study.notebook(
    "11-networks",
    networks={"OSNet x0.25": [["net-osnet-a", "net-osnet-report-a"]]},
    slips={"OSNet x0.25: mirror image at test": ["slip-flip-a", "net-osnet-a"]},
    transfer=["net-osnet-a-on-b", "net-osnet-a-to-b"],
)
study.notebook("12-claims")
study.notebook("13-inside-osnet", rows=ablation)
study.notebook(
    "14-mspf",
    **{part: {label: run for label, (run, _) in rows.items()} for part, rows in tables.items()},
    dataset=A,
    persons=30,
    images=10,
)
study.notebook(
    "15-attention",
    networks={"untrained": "none", "the shipped weight": "synthetic", "trained here": "a-none"},
    looked_at="trained here",
    dataset=A,
    count=160,
    block="conv4.1",
    seed=0,
)
study.notebook(
    "16-pairs",
    sets={
        A: {
            "FPNN, paper's recipe": ["pairs-fpnn-paper"],
            "FPNN, modern recipe": ["pairs-fpnn"],
            "IDLA, paper's recipe": ["pairs-idla-paper"],
            "IDLA, modern recipe": ["pairs-idla"],
            "MCP-CNN, modern recipe": ["pairs-mcp"],
            "OSNet x0.25, random weights": ["pairs-osnet"],
        }
    },
    pictured={"IDLA": "pairs-idla", "FPNN": "pairs-fpnn", "MCP-CNN": "pairs-mcp"},
    people=[5, 6],
    bridge="a-none",
    galleries=[10, 100, 1000],
    steps=500,
)
study.notebook(
    "17-corruptions",
    run="a-none",
    rows={
        "from random weights": "a-none",
        "from the shipped weight": "a-synthetic",
        "from the other set": "b-to-a",
        "re-ranked": "a-none",
    },
    pairs={"OSNet x0.25": "tiny-none", "IDLA": "tiny-idla"},
    reranked=["re-ranked"],
    severities=[1, 3, 5],
    people=0.1,
)
