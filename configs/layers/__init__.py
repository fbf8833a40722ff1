"""The layer kinds, one short file each; `layer.py` says what a kind is.

A kind whose file is put here is known everywhere: whatever it lowers to, every stage runs.
"""

import importlib
import pkgutil

from configs.layers.conv import Conv, Padding
from configs.layers.dense import Dense
from configs.layers.flatten import Flatten
from configs.layers.joins import Concat, Multiply, Residual
from configs.layers.layer import Layer, added, same_padding, same_paddings
from configs.layers.pool import GlobalPool, Pool
from configs.layers.recurrent import Lstm, LstmCell
from configs.program import ORIENTATIONS, Function, Shape

Activation = Function

for _module in pkgutil.iter_modules(__path__):
    importlib.import_module(f"{__name__}.{_module.name}")

__all__ = [
    "ORIENTATIONS",
    "Activation",
    "Concat",
    "Conv",
    "Dense",
    "Flatten",
    "GlobalPool",
    "Layer",
    "Lstm",
    "LstmCell",
    "Multiply",
    "Padding",
    "Pool",
    "Residual",
    "Shape",
    "added",
    "same_padding",
    "same_paddings",
]
