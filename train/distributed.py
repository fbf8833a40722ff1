"""Several processes that train one network: who they are."""

from __future__ import annotations

from dataclasses import dataclass

from configs.errors import InputError


@dataclass(frozen=True, kw_only=True)
class Distributed:
    """Several processes that train one network; give every one the same command but
    for `process`. Each needs to see the data set; process 0 writes the run directory."""

    # host:port at which process 0 listens; empty for a single process.
    coordinator: str = ""
    # How many processes.
    processes: int = 1
    # Number of this one, 0 to processes - 1.
    process: int = 0
    # Seconds without a sign of life after which a process counts as dead.
    heartbeat_s: int = 10
    # Seconds to wait for all processes to start.
    start_s: int = 60

    def __post_init__(self) -> None:
        if bool(self.coordinator) != (self.processes > 1):
            raise InputError(
                f"`--distributed.coordinator` (={self.coordinator!r}) goes with "
                f"`--distributed.processes` (={self.processes}) above 1; give both."
            )
        if not 0 <= self.process < self.processes:
            raise InputError(
                f"`--distributed.process` (={self.process}) must be 0 to "
                f"{self.processes - 1}, below `--distributed.processes`."
            )
        if self.coordinator and not self.coordinator.rpartition(":")[2].isdigit():
            raise InputError(
                f"`--distributed.coordinator` (={self.coordinator!r}) must be "
                f"host:port, for example 127.0.0.1:8476."
            )
        for name in ("heartbeat_s", "start_s"):
            if getattr(self, name) < 1:
                raise InputError(
                    f"`--distributed.{name}` (={getattr(self, name)}) must be 1 or more."
                )
