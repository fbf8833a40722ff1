"""Lists experiments and networks; `show` prints what one costs, layer by layer."""

from __future__ import annotations

import argparse
import os
import sys

from configs import registry, stored
from configs.errors import InputError


def main(arguments: list[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    try:
        _show(options) if options.command == "show" else _list(options)
        sys.stdout.flush()
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except BrokenPipeError:
        # The reader has left; without this the interpreter complains when it exits.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m configs", description=__doc__)
    _add_json(parser, default=False)
    commands = parser.add_subparsers(dest="command", metavar="show")
    show = commands.add_parser(
        "show",
        help="layer table of an experiment or a network",
        description="Prints shapes, memory, weights, MACs and reuse of every layer, "
        "and the settings of an experiment.",
    )
    show.add_argument(
        "config",
        metavar="NAME_OR_PATH",
        help=f"{', '.join(registry.known_names())}, or a .py file with get_config() "
        f"or get_network()",
    )
    # Suppressed, or it would undo a --json before `show`.
    _add_json(show, default=argparse.SUPPRESS)
    return parser


def _add_json(parser: argparse.ArgumentParser, default: object) -> None:
    parser.add_argument(
        "--json", action="store_true", default=default, help="print one JSON document"
    )


def _list(options: argparse.Namespace) -> None:
    from configs import table  # rich only where a table is made

    entries = [registry.load(name) for name in registry.known_names()]
    if options.json:
        print(stored.canonical(table.overview_data(entries)))
        return
    table.print_overview(entries)
    print("\nNext: python -m configs show mnist_cnn")
    print("      python -m train --config mnist_cnn")


def _show(options: argparse.Namespace) -> None:
    from configs import table

    entry = registry.load(options.config)
    if options.json:
        print(stored.canonical(table.network_data(entry)))
        return
    table.print_network(entry)
    if entry.experiment:
        print(f"\nNext: python -m train --config {options.config}")


if __name__ == "__main__":
    sys.exit(main())
