"""Does everything run? CI, nbval and the notebooks' own defaults use this study.

Its scores mean nothing: a handful of people, thumbnails, two epochs.
"""

from reidlab.recipe import Study

study = Study(
    "Everything once, on a handful of generated people, in two or three minutes of CPU.",
    cell_timeout=600,  # seconds; a cell takes a few, but CI machines are shared
)

A, B = "synthetic-tiny-a", "synthetic-tiny-b"

a_none = study.run(
    "a-none",
    dataset=A,
    height=64,
    width=32,
    pad=4,  # the report's 10 pixels of 256, in proportion but not below 4
    batch_size=16,
    epochs=2,
    schedule="onecycle",
    lr=0.002,
)
b_none = study.run("b-none", a_none, dataset=B)
study.run("a-on-b", a_none, dataset=B, start=a_none, epochs=0)
study.run("a-to-b", a_none, dataset=B, start=a_none)
study.run("b-on-a", a_none, start=b_none, epochs=0)
study.run("b-to-a", a_none, start=b_none)

tricks = study.run(
    "tricks-id",
    a_none,
    seeds=[0, 1],
    schedule="cosine",
    label_smoothing=0.0,
    val_fraction=0.0,
    eval_every=2,
)
study.run("tricks-erase", tricks, erase=0.5)

net = study.run(
    "net-osnet-a",
    a_none,
    model="osnet_x0_25_bnneck",
    optimizer="adam",
    schedule="cosine",
    val_fraction=0.0,
    eval_every=2,
    sampler="identities",
    triplet="hinge",
    center_weight=0.0005,
    erase=0.5,
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
study.run("slip-center-a", net, center_lr=0.0)
study.run("net-osnet-a-on-b", net, dataset=B, start=net, epochs=0)
study.run("net-osnet-a-to-b", net, dataset=B, start=net)

inside = study.run("inside-osnet", a_none, epochs=1, eval_every=1)
study.run("inside-streams1", inside, model="osnet_x0_25_streams1")
study.run("inside-gate-none", inside, model="osnet_x0_25_gate_none")

mspf = study.run("mspf-2-4", net, model="mspf_x0_25", epochs=1, eval_every=1, center_weight=0.0007)
for name, network in {
    "osnet": "osnet_x0_25_bnneck",
    "osfa": "osfa_x0_25",
    "0": "mspf_x0_25_patches_none",
    "plain": "mspf_x0_25_attention_none",
}.items():
    study.run(f"mspf-{name}", mspf, model=network)

# Of pairs: thumbnails as well.
pairs = study.run(
    "pairs-idla",
    "pairs-modern",
    dataset=A,
    height=64,
    width=32,
    pad=4,
    batch_size=8,
    epochs=2,
    eval_every=2,
)
study.run("pairs-fpnn", pairs, model="fpnn_bn")
study.run(
    "pairs-mcp",
    a_none,
    model="mcp_bn",
    val_fraction=0.0,
    eval_every=2,
    sampler="identities",
    num_instances=2,
    triplet="improved",
)

single = ["a-none", "b-none", "a-on-b", "a-to-b", "b-on-a", "b-to-a"]
study.notebook("01-data", dataset=A, other=B)
study.notebook(
    "02-architecture", weights="synthetic", height=128, width=64, dataset=A, queries=200
)
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
study.notebook("09-verification", run="a-none", ask_for=0.1)
study.notebook("10-tricks", rows={"ID loss": "tricks-id", "+ random erasing": "tricks-erase"})
study.notebook(
    "11-networks",
    networks={"OSNet x0.25": [["net-osnet-a", "net-osnet-report-a"]]},
    slips={"OSNet x0.25: centres never trained": ["slip-center-a", "net-osnet-a"]},
    transfer=["net-osnet-a-on-b", "net-osnet-a-to-b"],
    steps={},
)
study.notebook("12-claims")
study.notebook(
    "13-inside-osnet",
    rows={
        "four streams, one gate": "inside-osnet",
        "one stream": "inside-streams1",
        "no gate": "inside-gate-none",
    },
)
study.notebook(
    "14-mspf",
    networks={
        "OSNet": "mspf-osnet",
        "OSFA": "mspf-osfa",
        "MSPF": "mspf-2-4",
    },
    patches={
        "none": "mspf-0",
        "2-4": "mspf-2-4",
    },
    attention={
        "none": "mspf-plain",
        "channel then spatial": "mspf-2-4",
    },
    dataset=A,
    persons=30,
    images=10,
)
study.notebook(
    "15-attention",
    networks={"untrained": "none", "trained": "a-none"},
    looked_at="trained",
    dataset=A,
    count=60,
    block="conv4.1",
    seed=0,
)
study.notebook(
    "16-pairs",
    sets={A: {"IDLA, modern recipe": ["pairs-idla"], "OSNet, random weights": ["a-none"]}},
    pictured={"IDLA": "pairs-idla", "FPNN": "pairs-fpnn", "MCP-CNN": "pairs-mcp"},
    people=[5, 6],
    bridge="a-none",
    galleries=[8, 32],
    steps=50,
)
study.notebook(
    "17-corruptions",
    run="a-none",
    rows={"from random weights": "a-none", "from the other set": "b-to-a", "re-ranked": "a-none"},
    pairs={"OSNet x0.25": "a-none", "IDLA": "pairs-idla"},
    reranked=["re-ranked"],
    repeats=2,
    row_repeats=2,
    severities=[3],
    people=1.0,
)
