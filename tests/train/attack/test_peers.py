"""Attacks of other libraries at equal settings: accuracies within two points."""

import importlib
import os
import warnings

import numpy as np
import pytest

from train.attack import gradient, search, square
from train.judge import Classifier

pytestmark = pytest.mark.slow

LEVELS = 20
EPS = LEVELS / 255


def peer(name: str):
    """A module of a peer; where tests must run, it must be there."""
    try:
        # Importing them meets deprecations of theirs.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return importlib.import_module(name)
    except ImportError as error:
        missing = f"{name} cannot be imported: {error}"
        (pytest.fail if os.environ.get("CI") else pytest.skip)(missing)


def accuracy(digits, attack) -> float:
    """Ours, percent."""
    found = search.run(
        attack, digits.subject, digits.images, digits.labels, LEVELS,
        seed=0, indices=np.arange(len(digits.images)),
    )  # fmt: skip
    return 100 * (1 - found.broken.mean())


def deployed(digits, adversarial: np.ndarray) -> float:
    """Theirs, percent, of images rounded toward the original, in bytes."""
    x = digits.images.astype(float)
    delta = np.trunc(np.round(255 * adversarial - x, 3))
    assert np.abs(delta).max() <= LEVELS
    classes = Classifier(digits.subject.predict).classes((x + delta).astype(np.uint8))
    return 100 * (classes == digits.labels).mean()


@pytest.mark.parametrize("name", ["FGSM", "PGD"])
def test_foolbox_agrees(digits, name: str) -> None:
    foolbox = peer("foolbox")
    jax_numpy = importlib.import_module("jax.numpy")
    logits = importlib.import_module("jax").jit(lambda x: digits.subject.surrogate(x * 255))
    model = foolbox.JAXModel(logits, bounds=(0, 1))
    theirs, ours = {
        "FGSM": (foolbox.attacks.LinfFastGradientAttack(), gradient.fgsm()),
        "PGD": (
            foolbox.attacks.LinfPGD(steps=20, abs_stepsize=EPS / 8, random_start=True),
            gradient.PGD(steps=20, step=1 / 8),
        ),
    }[name]
    x = jax_numpy.asarray(digits.images, jax_numpy.float32) / 255
    labels = jax_numpy.asarray(digits.labels)
    np.random.seed(0)
    _, clipped, _ = theirs(model, x, labels, epsilons=EPS)
    assert abs(deployed(digits, np.asarray(clipped)) - accuracy(digits, ours)) <= 2


def test_art_square_agrees(digits) -> None:
    """Also a black box to them: bytes in, logits out."""
    classifiers = peer("art.estimators.classification")
    attacks = peer("art.attacks.evasion")
    judge, queries = Classifier(digits.subject.predict), 300
    predict = lambda x: judge(np.round(x * 255).astype(np.uint8))
    box = classifiers.BlackBoxClassifierNeuralNetwork(
        predict, (28, 28, 1), 10, clip_values=(0, 1), channels_first=False
    )
    attack = attacks.SquareAttack(
        box, eps=EPS, max_iter=queries, p_init=0.8, nb_restarts=1, verbose=False,
        batch_size=len(digits.labels),
    )  # fmt: skip
    np.random.seed(0)
    made = attack.generate(digits.images.astype(np.float32) / 255, digits.labels)
    ours = accuracy(digits, square.Square(queries=queries))
    assert abs(deployed(digits, made) - ours) <= 2
