"""CUHK03 from small files of the official structure, against torchreid's reader and the arrays."""

import dataclasses
import shutil
import sys
import types
import zipfile
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest
import scipy.io
from PIL import Image

from reidlab import data
from reidlab.common.errors import DataError
from reidlab.data.readers import cuhk03, cuhk03_mat
from reidlab.evaluation.rescore import run_features
from reidlab.metrics.scores import evaluate
from reidlab.recipe.config import TrainConfig
from reidlab.training.loop import fit
from tests.conftest import write_image
from tests.data.readers.test_readers import assert_same_split

PEOPLE = [4, 3, 2, 1, 1]  # of the five pairs of cameras
TESTED = [(1, 2), (1, 4), (2, 1), (3, 2)]  # of every classic split, one is another in split 7


def cells(kind: str) -> dict[tuple[int, int, int], np.ndarray]:
    """(pair, person, number) -> image (H, W, 3); person 3 of pair 1 has images of view 1 only."""
    rng = np.random.default_rng({"labeled": 1, "detected": 2}[kind])
    found = {}
    for pair, people in enumerate(PEOPLE, 1):
        for person in range(1, people + 1):
            numbers = [1, 2, 5] if (pair, person) == (1, 3) else [1, 2, 6, 7, 10]
            for number in numbers[: 4 if kind == "detected" else 5]:
                size = (int(rng.integers(9, 14)), 6, 3)
                found[pair, person, number] = rng.integers(0, 256, size, dtype=np.uint8)
    return found


def write_mat(file: Path) -> None:
    """What MATLAB 7.3 wrote: everything transposed, cells as references, a block of its own."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(file, "w", userblock_size=512) as mat:
        held = mat.create_group("#refs#")

        def keep(array: np.ndarray, **attributes) -> h5py.Reference:
            dataset = held.create_dataset(str(len(held)), data=array)
            dataset.attrs.update(attributes)
            return dataset.ref

        def references(shape: tuple[int, ...], values: list) -> np.ndarray:
            table = np.empty(shape, dtype=h5py.ref_dtype)
            table.reshape(-1)[:] = values
            return table

        empty = keep(np.zeros(2, dtype=np.uint64), MATLAB_empty=1)
        for kind in ("labeled", "detected"):
            images, pairs = cells(kind), []
            for pair, people in enumerate(PEOPLE, 1):
                table = [
                    keep(images[pair, person, number].T)
                    if (pair, person, number) in images
                    else empty
                    for number in range(1, 11)
                    for person in range(1, people + 1)
                ]
                pairs.append(keep(references((10, people), table)))
            mat[kind] = references((1, 5), pairs)
        sets = [[*TESTED[:3], (2, 3)] if split == 7 else TESTED for split in range(20)]
        mat["testsets"] = references((1, 20), [keep(np.array(part, float).T) for part in sets])
    with open(file, "r+b") as header:
        header.write(b"MATLAB 7.3 MAT-file".ljust(512))


def write_config(file: Path, kind: str, **changes) -> dict:
    """The new protocol: people of pairs 1 and 4 to train on, one query a view for the others."""
    keys = sorted(cells(kind))
    names = [f"{a}_{b:03d}_{1 + (c > 5)}_{c:02d}.png" for a, b, c in keys]
    people = sorted({key[:2] for key in keys})
    labels = np.array([1 + people.index(key[:2]) for key in keys])
    train = [index for index, (pair, _, _) in enumerate(keys) if pair in (1, 4)]
    query = [
        index
        for index, (pair, _, number) in enumerate(keys)
        if pair not in (1, 4) and number in (1, 6)
    ]
    gallery = sorted(set(range(len(keys))) - set(train) - set(query))
    filelist = np.empty((len(names), 1), dtype=object)
    filelist[:, 0] = names
    content = {"filelist": filelist, "labels": labels[:, None]}
    for part, index in {"train": train, "query": query, "gallery": gallery}.items():
        content[f"{part}_idx"] = np.array(index)[:, None] + 1
    content |= changes
    scipy.io.savemat(file, {key: value for key, value in content.items() if value is not None})
    return content


@pytest.fixture
def root(tmp_path, monkeypatch, own_cache) -> Path:
    """A data root with the files where torchreid wants them, and counts to go with them."""
    folder = tmp_path / "data" / "cuhk03"
    write_mat(folder / "cuhk03_release" / "cuhk-03.mat")
    new = {"train identities": 5, "query identities": 6, "gallery identities": 6, "cameras": 2}
    new |= {"query images": 12, "gallery distractors": 0}
    classic = {"identities": 11, "train identities": 7, "query identities": 4, "cameras": 2}
    counts = {}
    for kind, train, gallery in (("labeled", 23, 18), ("detected", 19, 12)):
        write_config(folder / cuhk03.CONFIG.format(kind=kind), kind)
        counts[f"cuhk03-{kind}"] = new | {"train images": train, "gallery images": gallery}
        counts[f"cuhk03-classic-{kind}"] = classic | {"images": len(cells(kind))}
    monkeypatch.setattr(cuhk03, "PUBLISHED", counts)
    return tmp_path / "data"


@pytest.fixture
def mat(root) -> Path:
    return root / "cuhk03" / "cuhk03_release" / "cuhk-03.mat"


def torchreid_reads(root: Path, monkeypatch, tmp_path, **settings):
    """torchreid's reader on a copy, since it unpacks beside the files."""
    import torchreid.reid.data.datasets.image.cuhk03 as peer

    imageio = types.SimpleNamespace(imwrite=lambda file, image: Image.fromarray(image).save(file))
    monkeypatch.setitem(sys.modules, "imageio", imageio)
    copy = tmp_path / "torchreid"
    if not copy.exists():
        shutil.copytree(root, copy)
    return peer.CUHK03(root=str(copy), verbose=False, **settings)


@pytest.mark.parametrize("kind", ["labeled", "detected"])
@pytest.mark.parametrize("split", [None, 0, 7])
def test_read_as_torchreid_reads_it(root, monkeypatch, tmp_path, kind, split):
    classic = split is not None
    theirs = torchreid_reads(
        *(root, monkeypatch, tmp_path),
        cuhk03_labeled=kind == "labeled",
        cuhk03_classic_split=classic,
        split_id=split or 0,
    )
    name = f"cuhk03-classic-{kind}-{split}" if classic else f"cuhk03-{kind}"
    for part, frame in data.load(name, root).splits().items():
        assert_same_split(frame, getattr(theirs, part))


@pytest.mark.parametrize("kind", ["labeled", "detected"])
def test_pixels_are_those_of_the_arrays(mat, kind):
    images = cuhk03_mat.unpack_images(mat, kind)
    expected = cells(kind)
    assert len(images) == len(expected)
    for row in images.itertuples():
        number = int(Path(row.path).stem.split("_")[3])
        pixels = np.asarray(Image.open(row.path))
        assert np.array_equal(pixels, expected[row.pair, row.person, number]), row.name
        assert row.view == (1 if number <= 5 else 2)


def test_classic_names(root):
    first = data.load("cuhk03-classic-labeled", root)
    assert first.train.equals(data.load("cuhk03-classic-labeled-0", root).train)
    other = data.load("cuhk03-classic-labeled-7", root)
    assert set(other.query.pid) != set(first.query.pid)
    assert first.query.equals(first.gallery)
    assert "split 0 of 0 to 19" in first.note and "split 7" in other.note
    assert "not comparable" in first.note and "rank1_single_shot" in first.note
    assert first.single_shot and not data.load("cuhk03-labeled", root).single_shot


def test_runs_on_a_classic_split_have_its_own_curve(root, tmp_path, monkeypatch):
    monkeypatch.setenv("REIDLAB_DATA", str(root))
    config = TrainConfig(
        dataset="cuhk03-classic-labeled", model="osnet_x0_25", height=32, width=16, epochs=0
    )
    run = fit(config, tmp_path / "run", root)
    features = run_features(run)
    curve = evaluate(features.query, features.gallery, single_shot=True).single_shot
    np.testing.assert_allclose(run.metrics["cmc_single_shot"], curve, atol=1e-6)
    assert run.metrics["rank1_single_shot"] == pytest.approx(100 * curve[0])
    assert run.metrics["cmc_single_shot"] != run.metrics["cmc"]
    other = dataclasses.replace(config, dataset="cuhk03-labeled")
    assert "cmc_single_shot" not in fit(other, tmp_path / "other", root).metrics


def test_people_have_the_same_pid_in_every_classic_split(root):
    def people(name):
        frames = data.load(name, root).splits().values()
        return {(Path(p).name, pid) for f in frames for p, pid in zip(f.path, f.pid)}

    assert people("cuhk03-classic-detected-0") == people("cuhk03-classic-detected-7")


def test_train_and_test_share_nobody(root):
    for name in ("cuhk03-labeled", "cuhk03-detected", "cuhk03-classic-detected"):
        dataset = data.load(name, root)
        assert not set(dataset.train.pid) & set(dataset.query.pid)
        assert min(dataset.train.pid.min(), dataset.query.pid.min()) >= 1
        assert set(dataset.gallery.camid) == {1, 2}


def test_unpacked_once(root, monkeypatch):
    before = data.load("cuhk03-labeled", root)
    monkeypatch.setattr(cuhk03_mat, "_unpack", None)  # would fail if it were called
    after = data.load("cuhk03-labeled", root)
    assert after.train.equals(before.train) and after.fingerprint == before.fingerprint


def test_an_interrupted_unpacking_leaves_nothing(mat, own_cache, monkeypatch):
    save, saved = Image.Image.save, []

    def interrupted(image, file, kind):
        if len(saved) == 7:
            raise KeyboardInterrupt
        saved.append(save(image, file, kind))

    monkeypatch.setattr(Image.Image, "save", interrupted)
    with pytest.raises(KeyboardInterrupt):
        cuhk03_mat.unpack_images(mat, "detected")
    assert not list(own_cache.rglob("*.png"))


def test_purged_images_are_restored(mat):
    images = cuhk03_mat.unpack_images(mat, "detected")
    content = Path(images.path[3]).read_bytes()
    Path(images.path[3]).unlink()
    assert cuhk03_mat.unpack_images(mat, "detected").equals(images)
    assert Path(images.path[3]).read_bytes() == content
    for cut in ("", "name,pair\n1,"):
        Path(images.path[3]).with_name("index.csv").write_text(cut)
        assert cuhk03_mat.unpack_images(mat, "detected").equals(images)


def test_fingerprint_is_of_the_pixels_not_of_the_machine(root, mat, tmp_path, monkeypatch):
    here = data.load("cuhk03-labeled", root).fingerprint
    monkeypatch.setenv("REIDLAB_CACHE", str(tmp_path / "elsewhere"))
    save = Image.Image.save
    monkeypatch.setattr(
        Image.Image, "save", lambda self, file, kind: save(self, file, kind, compress_level=0)
    )
    assert data.load("cuhk03-labeled", root).fingerprint == here
    with h5py.File(mat, "r+") as file:
        image = file[file[file["labeled"][0, 0]][0, 0]]
        image[0, 0, 0] ^= 1
    assert data.load("cuhk03-labeled", root).fingerprint != here


# --- Where it may be ----------------------------------------------------------------------------


@pytest.fixture
def np_root(root) -> Path:
    """CUHK03-NP's folders, made of the same images, beside the .mat files."""
    for kind in ("labeled", "detected"):
        dataset = data.load(f"cuhk03-{kind}", root)
        for part, folder in (("train", "train"), ("query", ""), ("gallery", "test")):
            place = root / "cuhk03-np" / kind / (f"bounding_box_{folder}" if folder else "query")
            for number, row in enumerate(getattr(dataset, part).itertuples()):
                file = place / f"{row.pid:04d}_c{row.camid}_{number}.png"
                file.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(row.path, file)
    return root


@pytest.mark.parametrize("kind", ["labeled", "detected"])
def test_np_folders_are_the_same_split(np_root, kind):
    name = f"cuhk03-{kind}"
    from_mat = data.load(name, np_root / "cuhk03")
    for given in (np_root, np_root / "cuhk03-np", np_root / "cuhk03-np" / kind):
        from_folders = data.load(name, given)
        assert "folders" in from_folders.note and "cuhk-03.mat" in from_mat.note
        for part, frame in from_folders.splits().items():
            mine = sorted(zip(frame.pid, frame.camid))
            assert mine == sorted(zip(from_mat.splits()[part].pid, from_mat.splits()[part].camid))


def test_crops_of_one_size_are_said_to_be_resized(np_root):
    assert "resized" not in data.load("cuhk03-detected", np_root).note
    for file in (np_root / "cuhk03-np" / "detected" / "query").iterdir():
        Image.new("RGB", (64, 128)).save(file)
    assert "64x128 pixels: somebody resized them" in data.load("cuhk03-detected", np_root).note


def test_real_cuhk03_detected(real_data):
    """CUHK03-NP's official split; the crops of the file at hand were resized."""
    dataset = data.load("cuhk03-detected", real_data)
    summary = dataset.summary().set_index("split")
    assert summary.images.to_dict() == {"train": 7365, "query": 1400, "gallery": 5332}
    assert summary.identities.to_dict() == {"train": 767, "query": 700, "gallery": 700}
    assert summary.cameras.to_dict() == {"train": 2, "query": 2, "gallery": 2}
    assert "resized" in dataset.note


def test_np_zip(np_root, own_cache):
    expected = data.load("cuhk03-detected", np_root).fingerprint
    archive = np_root / "cuhk03-np.zip"
    with zipfile.ZipFile(archive, "w") as file:
        for path in sorted((np_root / "cuhk03-np").rglob("*")):
            file.write(path, path.relative_to(np_root))
    shutil.rmtree(np_root / "cuhk03-np")
    assert data.load("cuhk03-detected", np_root).fingerprint == expected


def test_the_other_kind_in_the_folder_is_noticed(np_root):
    shutil.rmtree(np_root / "cuhk03-np" / "labeled")
    (np_root / "cuhk03-np" / "detected").rename(np_root / "cuhk03-np" / "labeled")
    with pytest.raises(DataError, match="train images: found 19, published 23"):
        data.load("cuhk03-labeled", np_root)


def test_classic_needs_the_mat(np_root):
    assert data.locate("cuhk03-classic-labeled", np_root).name == "cuhk-03.mat"
    shutil.rmtree(np_root / "cuhk03")
    with pytest.raises(DataError, match=r"classic-labeled was not found: .* cuhk-03\.mat, or"):
        data.load("cuhk03-classic-labeled", np_root)


def test_mat_in_other_places(root, mat, tmp_path, own_cache):
    expected = data.load("cuhk03-labeled", root)
    assert data.load("cuhk03-labeled", mat).train.pid.equals(expected.train.pid)
    assert data.load("cuhk03-labeled", mat.parent).fingerprint == expected.fingerprint
    with zipfile.ZipFile(root / "cuhk03_release.zip", "w") as file:
        file.write(mat, "cuhk03_release/cuhk-03.mat")
    shutil.rmtree(mat.parent)
    for config in (root / "cuhk03").glob("*.mat"):
        config.rename(root / config.name)
    assert data.load("cuhk03-labeled", root).fingerprint == expected.fingerprint


# --- Bad input ----------------------------------------------------------------------------------


@pytest.mark.parametrize("keep", [0, 100, 0.5, 0.99])
@pytest.mark.parametrize("name", ["cuhk03-labeled", "cuhk03-classic-labeled"])
def test_truncated_mat(root, mat, own_cache, keep, name):
    content = mat.read_bytes()
    mat.write_bytes(content[: int(keep * len(content)) if keep < 1 else keep])
    with pytest.raises(DataError, match=r"cuhk-03\.mat cannot be read.*truncated.*fetch it again"):
        data.load(name, root)
    assert not list(own_cache.rglob("*.png"))


def test_mat_of_something_else(root, mat):
    with h5py.File(mat, "w") as file:
        file["camera"] = np.zeros(3)
    with pytest.raises(DataError, match=r"has no 'labeled': it holds camera\. It is not CUHK03's"):
        data.load("cuhk03-labeled", root)
    with h5py.File(mat, "w") as file:
        file["labeled"] = np.zeros(3)
    with pytest.raises(DataError, match=r"cuhk-03\.mat cannot be read"):
        data.load("cuhk03-labeled", root)


def test_mat_of_an_old_version(root, mat):
    scipy.io.savemat(mat, {"labeled": np.zeros(3)})
    with pytest.raises(DataError, match=r"cuhk-03\.mat cannot be read"):
        data.load("cuhk03-labeled", root)


def test_image_of_another_type(root, mat):
    with h5py.File(mat, "r+") as file:
        pair = file[file["labeled"][0, 1]]
        wrong = file.create_dataset("wrong", data=np.zeros((3, 4, 5)))
        pair[0, 1] = wrong.ref
    with pytest.raises(DataError, match=r"labeled image 2_002_1_01\.png: found float64 of shape"):
        data.load("cuhk03-labeled", root)


def test_mat_with_images_missing(root, mat):
    with h5py.File(mat, "r+") as file:
        pair = file[file["labeled"][0, 0]]
        empty = file.create_dataset("empty", data=np.zeros(2, dtype=np.uint64))
        pair[1, 0] = empty.ref
    with pytest.raises(DataError, match=r"images: found \d+, published \d+"):
        data.load("cuhk03-classic-labeled", root)
    with pytest.raises(DataError, match=r"lists 1 images that .* the first being 1_001_1_02\.png"):
        data.load("cuhk03-labeled", root)


def test_test_set_of_strangers(root, mat):
    with h5py.File(mat, "r+") as file:
        file[file["testsets"][0, 3]][:, 0] = (5, 9)
    with pytest.raises(DataError, match=r"test set 3 names 1 people.*person 9 of camera pair 5"):
        data.load("cuhk03-classic-detected-3", root)
    assert len(data.load("cuhk03-classic-detected-4", root).query)


def test_config_missing(root):
    (root / "cuhk03" / "cuhk03_new_protocol_config_labeled.mat").unlink()
    with pytest.raises(DataError, match=r"config_labeled\.mat is not: looked in .*Zhong et al"):
        data.load("cuhk03-labeled", root)
    assert len(data.load("cuhk03-detected", root).train)


def test_config_of_the_other_kind(root):
    shutil.copy(
        root / "cuhk03" / cuhk03.CONFIG.format(kind="labeled"),
        root / "cuhk03" / cuhk03.CONFIG.format(kind="detected"),
    )
    with pytest.raises(DataError, match=r"lists \d+ images that .* for the other kind of crops"):
        data.load("cuhk03-detected", root)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"labels": None}, r"lacks labels"),
        ({"train_idx": np.array([[0]])}, r"contradicts itself: .*indices from 0 to"),
        ({"query_idx": np.array([[999]])}, r"contradicts itself: .* to 999"),
        ({"labels": np.ones((3, 1))}, r"contradicts itself: 53 file names, 3 labels"),
    ],
)
def test_config_that_does_not_fit(root, changes, message):
    write_config(root / "cuhk03" / cuhk03.CONFIG.format(kind="labeled"), "labeled", **changes)
    with pytest.raises(DataError, match=message):
        data.load("cuhk03-labeled", root)


@pytest.mark.parametrize("content", [b"", b"<html>", None])
def test_config_damaged(root, content):
    file = root / "cuhk03" / cuhk03.CONFIG.format(kind="labeled")
    file.write_bytes(file.read_bytes()[:300] if content is None else content)
    with pytest.raises(DataError, match=r"config_labeled\.mat (cannot be read|lacks)"):
        data.load("cuhk03-labeled", root)


def test_labels_from_zero(root):
    file = root / "cuhk03" / cuhk03.CONFIG.format(kind="labeled")
    labels = write_config(file, "labeled")["labels"]
    write_config(file, "labeled", labels=labels - 1)
    assert data.load("cuhk03-labeled", root).train.pid.min() == 1


def test_without_h5py(root, monkeypatch):
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(DataError, match=r"h5py.* not installed.*make add PACKAGE=h5py"):
        data.load("cuhk03-labeled", root)


def test_published_counts_add_up():
    """CUHK03-NP's three parts are all images of the release, of 767 + 700 people."""
    for kind, total in (("labeled", 14_096), ("detected", 14_097)):
        new = cuhk03.PUBLISHED[f"cuhk03-{kind}"]
        assert sum(new[f"{part} images"] for part in ("train", "query", "gallery")) == total
        assert cuhk03.PUBLISHED[f"cuhk03-classic-{kind}"]["images"] == total
        assert new["train identities"] + new["query identities"] == 1_467


def test_index_survives_the_round_trip(mat):
    images = cuhk03_mat.unpack_images(mat, "labeled")
    assert isinstance(images, pd.DataFrame) and images.name.is_unique
    write_image(Path(images.path[0]).parent / "stray.png")
    assert cuhk03_mat.unpack_images(mat, "labeled").equals(images), "the index says what belongs"
