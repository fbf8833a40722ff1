"""The smallest probe that still has every part, for tests of what is around it."""

import jax
import jax.numpy as jnp
import numpy as np

from train.attack.target import Target
from train.judge import Classifier
from train.probe.rows import Contender, Exam
from train.probe.settings import Settings

TINY = Settings(
    images=12,
    cheap_images=16,
    eps=(0.05, 0.2),
    eps_l2=(1.0,),
    eps_fgsm=(0.05, 0.2),
    eps_certified=(0.01, 0.2),
    pgd_steps=10,
    restarts=2,
    apgd_steps=12,
    targets=2,
    queries=60,
    angle_step_deg=90,
    shift_px=1,
    grid_shifts=3,
    grid_angles=3,
)


def exam(n: int = 12, size: int = 8) -> Exam:
    """Random gray images of two classes: the brighter half says which."""
    rng = np.random.default_rng(0)
    images = rng.integers(60, 190, (n, size, size, 1), dtype=np.uint8)
    top = images[:, : size // 2].astype(np.int64).sum((1, 2, 3))
    bottom = images[:, size // 2 :].astype(np.int64).sum((1, 2, 3))
    return Exam(images=images, labels=(bottom > top).astype(np.int32))


def halves(gain: float = 1e-3):
    """The network that knows the rule: logits of five classes, three out of reach."""

    def logits(pixels: jax.Array) -> jax.Array:
        x = pixels.astype(jnp.float32)
        middle = x.shape[1] // 2
        more = x[:, :middle].sum((1, 2, 3)) - x[:, middle:].sum((1, 2, 3))
        far = jnp.full((len(x), 3), -100.0, jnp.float32)
        return jnp.concatenate([gain * more[:, None], -gain * more[:, None], far], -1)

    return logits


def contender(predict, surrogate=None, name: str = "float", **keywords) -> Contender:
    """A network that is one function, or two."""
    subject = Target(name=name, predict=predict, surrogate=surrogate or predict)
    return Contender(
        subject=subject, judge=Classifier(predict), sha256="0" * 64, **keywords
    )
