"""The small sets that come in partitions, built small, and the real ones where at hand."""

import numpy as np
import pytest
import scipy.io
import torch

from reidlab import data
from reidlab.common.errors import DataError
from reidlab.data.readers import cuhk01, grid, ilids, prid2011, viper
from reidlab.data.readers.partitions import drawn
from reidlab.metrics.scores import FeatureSet, evaluate
from reidlab.recipe.names import SPLITS
from tests.conftest import write_image
from tests.data.readers.test_readers import zip_of
from tests.metrics.test_scores import pairwise


def write_partitions(file, variable, fields, partitions):
    """A .mat file as the published ones are: a struct array of lists, counted from 1."""
    kinds = [(field, object) for field in fields]
    content = np.zeros((1, len(partitions)), dtype=kinds)
    for number, lists in enumerate(partitions):
        for field, people in zip(fields, lists):
            content[0, number][field] = np.array([people], dtype=np.uint16)
    scipy.io.savemat(file, {variable: content})


@pytest.fixture
def root(tmp_path, monkeypatch):
    """A data root with the five sets, of a few people each."""
    for number, person in enumerate(("000", "001", "005", "873")):
        write_image(tmp_path / "VIPeR" / "cam_a" / f"{person}_45.bmp", number)
        write_image(tmp_path / "VIPeR" / "cam_b" / f"{person}_90.bmp", 10 + number)
    (tmp_path / "splits").mkdir()
    halves = [([1, 4], [2, 3]), ([2, 3], [1, 4])]
    file = tmp_path / "splits" / "viper_partition_SCSP.mat"
    write_partitions(file, "parti", ("trnSet", "tstSet"), halves)
    counts = {"images": 8, "identities": 4, "train images": 4, "gallery images": 2, "cameras": 2}
    monkeypatch.setattr(viper, "COUNTS", counts)

    for person in range(1, 103):
        for image in range(1, 5):
            name = f"{person:04d}{image:03d}.png"
            write_image(tmp_path / "CUHK01" / "campus" / name, 4 * person + image, (4, 8))
    file = tmp_path / "splits" / "cuhk01_partition_campus_salience.mat"
    everyone = list(range(1, 103))
    write_partitions(file, "partition", ("ptrn", "ptst"), [(everyone[::2], everyone[1::2])])
    monkeypatch.setattr(cuhk01, "COUNTS", {"images": 408, "identities": 102, "cameras": 2})
    tested = {"cuhk01-486": {"train identities": 51}, "cuhk01-100": {"train identities": 2}}
    monkeypatch.setattr(cuhk01, "TESTED", tested)

    for person in range(1, 5):
        for part, camera in (("probe", person), ("gallery", person + 1)):
            name = f"{person:04d}_{camera}_25008_169_19_94_259.jpeg"
            write_image(tmp_path / "underground_reid" / part / name, person)
    for other in range(3):
        name = f"0000_{other + 1}_2510{other}_1_1_1_1.jpeg"
        write_image(tmp_path / "underground_reid" / "gallery" / name, other)
    monkeypatch.setattr(grid, "TRAINED", 2)
    monkeypatch.setattr(grid, "COUNTS", {"images": 11, "gallery distractors": 3})

    for camera, people in (("cam_a", 5), ("cam_b", 7)):
        for person in range(1, people + 1):
            file = tmp_path / "prid_2011" / "single_shot" / camera / f"person_{person:04d}.png"
            write_image(file, person)
    monkeypatch.setattr(prid2011, "IN_BOTH", 4)
    monkeypatch.setattr(prid2011, "TRAINED", 2)
    monkeypatch.setattr(prid2011, "CAMERAS", {"images of camera a": 5, "images of camera b": 7})
    monkeypatch.setattr(prid2011, "COUNTS", {"query images": 2, "gallery images": 5})

    for person, images in enumerate((2, 3, 4, 2), 1):
        for image in range(1, images + 1):
            name = f"{person:04d}{image:03d}.jpg"
            write_image(tmp_path / "i-LIDS_Pedestrian" / "Persons" / name, 10 * person + image)
    monkeypatch.setattr(ilids, "TRAINED", 2)
    monkeypatch.setattr(ilids, "COUNTS", {"images": 11, "identities": 4})
    return tmp_path


def rows(frame):
    return [
        (path.rpartition("/")[2], pid, camid) for path, pid, camid in frame.itertuples(index=False)
    ]


def test_viper(root):
    first, second = data.load("viper", root), data.load("viper-1", root)
    assert rows(first.query) == [("001_45.bmp", 2, 1), ("005_45.bmp", 3, 1)]
    assert rows(first.gallery) == [("001_90.bmp", 2, 2), ("005_90.bmp", 3, 2)]
    assert sorted(first.train.pid) == [1, 1, 4, 4] and sorted(second.train.pid) == [2, 2, 3, 3]
    assert first.fingerprint != second.fingerprint
    assert data.load("viper-0", root).fingerprint == first.fingerprint


def test_cuhk01_has_both_protocols(root):
    half = data.load("cuhk01-486", root)
    assert half.single_shot
    assert rows(half.query)[:2] == [("0002001.png", 2, 1), ("0002002.png", 2, 1)]
    assert rows(half.gallery)[:2] == [("0002003.png", 2, 2), ("0002004.png", 2, 2)]
    hundreds = [data.load(f"cuhk01-100-{number}", root) for number in (0, 19)]
    for hundred in hundreds:
        assert hundred.query.pid.nunique() == 100 and len(hundred.gallery) == 200
        assert not set(hundred.train.pid) & set(hundred.query.pid)
    assert set(hundreds[0].train.pid) != set(hundreds[1].train.pid)


def test_grid_keeps_its_distractors(root):
    dataset = data.load("grid-3", root)
    assert len(dataset.train) == 4 and len(dataset.query) == 2
    assert sorted(dataset.gallery.pid) == [0, 0, 0, *sorted(dataset.query.pid)]
    assert (dataset.query.camid.to_numpy() == dataset.query.pid.to_numpy()).all()  # as named


def test_prid2011_knows_that_higher_numbers_are_other_people(root):
    dataset = data.load("prid2011", root)
    assert sorted(dataset.gallery.pid) == [0, 0, 0, *sorted(dataset.query.pid)]
    assert all("cam_a" in path for path in dataset.query.path)
    assert not any("cam_a/person_0005" in path for path in dataset.query.path)
    assert len(dataset.train) == 4


def test_ilids_is_ranked_without_the_probe_itself(root):
    """The mean over galleries of one image a person that are not the probe, gallery by gallery."""
    dataset = data.load("ilids", root)
    assert dataset.query.equals(dataset.gallery) and dataset.single_shot
    generator = torch.Generator().manual_seed(0)
    images = FeatureSet(
        torch.randn(len(dataset.query), 2, generator=generator),
        *(torch.tensor(dataset.query[column].to_numpy()) for column in ("pid", "camid")),
    )
    ranking = evaluate(images, images, single_shot=True)
    assert ranking.num_valid == len(dataset.query)  # no image finds itself only
    distmat, pids = pairwise(images, images, "euclidean"), dataset.query.pid.to_numpy()
    hits = []
    for probe in range(len(pids)):
        own = [j for j in range(len(pids)) if pids[j] == pids[probe] and j != probe]
        others = [j for j in range(len(pids)) if pids[j] != pids[probe]]
        hits.append(np.mean([distmat[probe, i] < distmat[probe, j] for i in own for j in others]))
    assert ranking.single_shot[0] == pytest.approx(np.mean(hits))


def test_drawn_partitions_are_halves_that_stay():
    """Written down from a first run: results of a partition must not change under its number."""
    assert sorted(drawn(range(1, 120), 59, "ilids", 0))[:8] == [1, 2, 4, 6, 8, 15, 16, 20]
    halves = [drawn(range(1, 201), 100, "prid2011", number) for number in range(10)]
    assert all(len(half) == 100 for half in halves)
    shared = [len(one & other) for one in halves for other in halves if one is not other]
    assert min(shared) > 35 and max(shared) < 65  # halves of 200 share 50 ± 3.5


@pytest.mark.parametrize(
    ("name", "folder"),
    [
        ("viper", "VIPeR"),
        ("cuhk01-486", "CUHK01"),
        ("grid", "underground_reid"),
        ("prid2011", "prid_2011"),
        ("ilids", "i-LIDS_Pedestrian"),
    ],
)
def test_zip_stranger_and_loss(name, folder, root, own_cache):
    expected = data.load(name, root).fingerprint
    archive = zip_of(root / folder, root / f"{folder}.zip")
    (root / folder).rename(root / "aside")
    assert data.load(name, root).fingerprint == expected
    assert own_cache in data.locate(name, archive).parents

    archive.unlink()
    with pytest.raises(DataError, match=f"{name} was not found: looked for a folder with"):
        data.load(name, root)

    (root / "aside").rename(root / folder)
    image = next(path for path in sorted((root / folder).rglob("*")) if path.is_file())
    stranger = image.with_name("holiday.png")
    stranger.write_bytes(image.read_bytes())
    with pytest.raises(DataError, match=r"holiday\.png is not named like"):
        data.load(name, root)
    stranger.unlink()
    image.unlink()
    with pytest.raises(DataError, match=r"found \d+, published|once each|does not fit"):
        data.load(name, root)


def test_partitions_that_do_not_fit(root):
    file = root / "splits" / "viper_partition_SCSP.mat"
    write_partitions(file, "parti", ("trnSet", "tstSet"), [([1, 2], [3, 5])])
    with pytest.raises(DataError, match="does not fit the images: partition 0 has 2 people"):
        data.load("viper", root)
    file.write_bytes(file.read_bytes()[:200])
    with pytest.raises(DataError, match="cannot be read as partitions"):
        data.load("viper", root)
    file.unlink()
    with pytest.raises(DataError, match=r"looked for viper_partition_SCSP\.mat in"):
        data.load("viper", root)


def test_a_split_that_a_set_has_not():
    with pytest.raises(DataError, match=r"no dataset is called 'viper-10'.*viper-0 to -9"):
        data.load("viper-10", "/nowhere")


REAL = {  # train images, query images, gallery images, distractors
    "viper": (632, 316, 316, 0),
    "cuhk01-486": (1_940, 972, 972, 0),
    "cuhk01-100": (3_484, 200, 200, 0),
    "grid": (250, 125, 900, 775),
    "prid2011": (200, 100, 649, 549),
    "ilids": (227, 249, 249, 0),
}


@pytest.mark.parametrize("name", REAL)
def test_real_sets_in_every_partition(name, real_data):
    trained = set()
    for number in range(SPLITS[name]):
        dataset = data.load(f"{name}-{number}", real_data)
        assert not set(dataset.train.pid) & set(dataset.query.pid)
        assert set(dataset.query.pid) <= set(dataset.gallery.pid)
        trained.add(frozenset(dataset.train.pid))
    assert len(trained) == SPLITS[name]
    first = data.load(name, real_data)
    distractors = int((first.gallery.pid == 0).sum())
    counts = tuple(len(frame) for frame in first.splits().values())
    assert (*counts, distractors) == REAL[name]
