"""A name or a path leads to an experiment, or to one sentence that says why not."""

import ast
import sys
from pathlib import Path

import pytest

import configs
from configs import registry
from configs.errors import InputError
from configs.network import Network
from configs.schema import Augment, Data, Experiment

FOLDER = Path(configs.__path__[0])
OK = "from configs.mnist_cnn import get_config\n"


@pytest.fixture
def write(tmp_path):
    def write(text, name="mine.py"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        return str(path)

    return write


@pytest.mark.parametrize("name", registry.known_names())
def test_every_known_name_loads_and_its_docstring_says_how_to_run_it(name):
    entry = registry.load(name)
    assert entry.name == name
    assert entry.network == registry.load_network(name)
    command = "python -m train --config" if entry.experiment else "python -m configs show"
    lines = ast.get_docstring(ast.parse((FOLDER / f"{name}.py").read_text())).splitlines()
    assert lines[0] == f"{entry.what}."
    assert len(entry.what) <= 38, "or the list wraps at 100 columns"
    assert f"{command} {name}" in lines


def test_every_file_of_the_package_is_machinery_or_known():
    files = {path.stem for path in FOLDER.glob("*.py")} - {"__init__"}
    files |= {path.parent.name for path in FOLDER.glob("*/__init__.py")}
    assert files == registry._MACHINERY | set(registry.known_names())


def test_experiments_are_those_that_can_be_trained():
    trained = registry.experiment_names()
    for name in registry.known_names():
        assert (registry.load(name).experiment is not None) is (name in trained)
    assert {"mnist_cnn", "sine_mlp"} <= set(trained)
    assert not {"vgg16", "resnet18", "tpu_mlp0"} & set(trained)
    for name in registry.experiment_names():
        assert isinstance(registry.load_experiment(name), Experiment)


def test_the_fast_experiment_has_the_same_network():
    fast = registry.load_experiment("mnist_cnn_fast")
    whole = registry.load_experiment("mnist_cnn")
    assert fast.network == whole.network
    assert fast.train.epochs <= whole.train.epochs / 10


def test_the_networks_on_rotated_mnist_differ_in_symmetry_and_not_in_size():
    """Parameters within 5 %, the same depth, data, epochs and no augmentation."""
    names = ("mnist_p4cnn", "mnist_z2cnn")
    symmetric, plain = map(registry.load_experiment, names)
    assert symmetric.network.parameters == pytest.approx(plain.network.parameters, rel=0.05)
    kinds = [[info.kind for info in one.network.walk()] for one in (symmetric, plain)]
    assert kinds[0] == kinds[1]
    assert plain.network.lowered() == plain.network != symmetric.network.lowered()
    assert (symmetric.data, symmetric.train) == (plain.data, plain.train)
    assert symmetric.data == Data(limit=12_000, rotated=True)
    assert symmetric.augment == plain.augment == Augment()
    assert symmetric.optimizer.name == plain.optimizer.name


def test_early_stopping_and_regression_are_there_to_try():
    for name in ("fashion_cnn", "cifar10_cnn"):
        experiment = registry.load_experiment(name)
        assert experiment.data.validation == 5000
        assert experiment.train.patience > 0
    for name, inputs in (("sine_mlp", 1), ("ripple_mlp", 2)):
        experiment = registry.load_experiment(name)
        assert experiment.task == "regression"
        assert experiment.network.input_shape == (inputs,)
        assert experiment.network.output_shape == (1,)
    gap = registry.load_network("mnist_cnn_gap")
    assert 20_000 <= gap.parameters <= 30_000
    assert "GlobalPool" in {info.kind for info in gap.walk()}


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "mnist_cn",
            r"`config` \(=mnist_cn\) is not a known name. Did you mean mnist_cnn\?",
        ),
        ("qqq", r"`config` \(=qqq\) is not a known name. Known: alexnet, .*vgg16; or"),
        ("network", r"`config` \(=network\) is not a known name"),
        ("", r"`config` \(=\) is not a known name"),
        ("no/such.py", r"`config` \(=no/such.py\) must be an existing .py file with get_c"),
        ("such.py", r"`config` \(=such.py\) must be an existing .py file"),
        (".", r"`config` \(=.\) must be an existing .py file"),
        ("x" * 300 + "/y.py", r"`config` \(=x+/y.py\) must be an existing .py file"),
    ],
)
def test_an_unknown_name_or_path_is_refused(name, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for load in (registry.load, registry.load_experiment, registry.load_network):
        with pytest.raises(InputError, match=message):
            load(name)


def test_a_folder_is_refused(tmp_path):
    folder = tmp_path / "folder.py"
    folder.mkdir()
    for path in (tmp_path, folder):
        with pytest.raises(InputError, match=r"must be an existing .py file"):
            registry.load(str(path))


@pytest.mark.parametrize("name", ["vgg16", "resnet18", "tpu_lstm0"])
def test_a_network_is_no_experiment(name):
    rule = f"`config` .={name}. is a network without training; look at it with `python -m"
    with pytest.raises(InputError, match=rule):
        registry.load_experiment(name)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "x = 1",
            r"mine.py\) must define get_config\(\) -> Experiment; copy configs/mnist",
        ),
        ("x = 1\ny = (", r"mine.py\), line 2 could not be run: SyntaxError: .*; mend the"),
        (
            "\n\nimport nosuchmodule",
            r"line 3 could not be run: ModuleNotFoundError: No mod",
        ),
        ("raise SystemExit(3)", r"line 1 could not be run: SystemExit: 3; mend the file."),
        ("raise ValueError('a\\nb')", "line 1 could not be run: ValueError: a b; mend"),
        ("x = '\0'", r"mine.py\) could not be run: .*null byte"),
        (
            "def get_config():\n    return 3",
            "`get_config` of .* must return Experiment, not",
        ),
        ("def get_config():\n    return 1 / 0", "line 2 could not be run: ZeroDivision"),
        ("def get_config():\n    exit(1)", "line 2 could not be run: SystemExit: 1; mend"),
        (
            "def get_config(a):\n    pass",
            "could not be run: TypeError: get_config.. missing",
        ),
        ("get_config = 3", "could not be run: TypeError: 'int' object is not callable"),
        (
            "def get_network():\n    return 3",
            "`get_network` of .* must return Network, not",
        ),
        (
            "from configs.schema import Train\n\ndef get_config():\n"
            "    return Train(epoch=3)",
            "line 4 could not be run: TypeError: .*unexpected keyword argument 'epoch'",
        ),
        (
            "from configs.schema import Train\n\ndef get_config():\n"
            "    return Train(epochs='3')",
            r"^mine.py, line 4: `epochs` \(='3'\) of Train must be a whole number; write",
        ),
    ],
)
def test_a_file_that_fails_is_one_sentence(write, text, message):
    with pytest.raises(InputError, match=message) as refused:
        registry.load(write(text))
    assert "\n" not in str(refused.value)


def test_an_unreadable_encoding_is_one_sentence(tmp_path):
    path = tmp_path / "mine.py"
    path.write_bytes(b"x = '\xff'")
    with pytest.raises(InputError, match=r"could not be run: SyntaxError: .*utf-8"):
        registry.load(str(path))


def test_ctrl_c_is_not_swallowed(write):
    with pytest.raises(KeyboardInterrupt):
        registry.load(write("raise KeyboardInterrupt"))


def test_a_file_may_use_a_known_experiment(write):
    path = write('"""Mine, all mine.\n\nMore.\n"""\n' + OK)
    entry = registry.load(path)
    assert (entry.name, entry.what) == ("mnist_cnn", "Mine, all mine")
    assert entry.experiment == registry.load_experiment("mnist_cnn")
    assert registry.load(write(OK)).what == ""


def test_a_file_may_hold_a_network_alone(write):
    path = write("from configs.vgg16 import get_network\n", "big.py")
    entry = registry.load(path)
    assert (entry.name, entry.experiment) == ("big", None)
    assert isinstance(entry.network, Network)
    with pytest.raises(InputError, match="is a network without training"):
        registry.load_experiment(path)


def seeded(seed):
    return (
        "import dataclasses\nfrom configs import mnist_cnn\n"
        f"def get_config():\n    seed = {seed}\n"
        "    return dataclasses.replace(mnist_cnn.get_config(), seed=seed)\n"
    )


def test_files_of_the_same_name_do_not_collide(write):
    paths = [write(seeded(i), f"{folder}/mine.py") for i, folder in enumerate("abc")]
    assert [registry.load_experiment(path).seed for path in paths] == [0, 1, 2]


def test_an_edit_is_seen_at_once(write):
    for seed in range(5):
        assert registry.load_experiment(write(seeded(seed))).seed == seed


def test_neighbours_of_the_same_name_do_not_collide(write):
    """Each file finds the module in its own folder, when it runs and when it is asked."""
    at_import = seeded("common.SEED").replace("import", "import common\nimport", 1)
    when_asked = seeded("__import__('common').SEED")
    for folder, seed, text in (
        ("a", 4, at_import),
        ("b", 5, at_import),
        ("c", 6, when_asked),
    ):
        write(f"SEED = {seed}\n", f"{folder}/common.py")
        assert registry.load_experiment(write(text, f"{folder}/mine.py")).seed == seed


def test_a_neighbour_does_not_hide_the_standard_library(write, monkeypatch):
    monkeypatch.delitem(sys.modules, "colorsys", raising=False)
    write("raise ValueError('the wrong colorsys')", "colorsys.py")
    assert registry.load(write("import colorsys\ncolorsys.ONE_THIRD\n" + OK))


def test_a_file_may_define_dataclasses(write):
    text = (
        "from __future__ import annotations\nimport dataclasses, typing\n"
        "@dataclasses.dataclass\nclass A:\n    x: int\n"
        "assert typing.get_type_hints(A) == {'x': int}\n"
    )
    assert registry.load(write(text + OK))


def test_loading_leaves_no_trace(write, tmp_path, capsys):
    path, before = list(sys.path), set(sys.modules)
    registry.load(write("print('hello')\n" + OK))
    with pytest.raises(InputError):
        registry.load(write("import common\n"))
    assert sys.path == path
    assert all(name.startswith("config_") for name in set(sys.modules) - before)
    assert [file.name for file in tmp_path.iterdir()] == ["mine.py"]
    printed = capsys.readouterr()
    assert printed.out == "", "stdout belongs to the command"
    assert "hello" in printed.err
