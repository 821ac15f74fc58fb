"""What the launcher (torchrun, or anything that sets its variables) says about this process."""

import os
from dataclasses import dataclass


@dataclass(frozen=True)
class Launch:
    """Which of how many processes this is."""

    rank: int = 0
    """0 to world - 1; 0 writes."""

    world: int = 1
    """Processes on all machines."""

    local_rank: int = 0
    """Among the processes of this machine: the number of its GPU."""

    local_world: int = 1
    """Processes on this machine, which share its cores."""

    restarts: int = 0
    """How often torchrun has started all processes again after one died."""

    id: str = ""
    """Of the launch (torchrun's `--rdzv-id`): the same on all its processes and after its restarts."""

    @property
    def leads(self) -> bool:
        """Whether this is the process that writes and speaks for all."""
        return self.rank == 0


def launched() -> Launch:
    """How this process was launched; alone unless RANK, WORLD_SIZE and MASTER_ADDR are all set."""
    if not {"RANK", "WORLD_SIZE", "MASTER_ADDR"} <= set(os.environ):
        return Launch()
    return Launch(
        rank=int(os.environ["RANK"]),
        world=int(os.environ["WORLD_SIZE"]),
        local_rank=int(os.environ.get("LOCAL_RANK", "0")),
        local_world=int(os.environ.get("LOCAL_WORLD_SIZE", "1")),
        restarts=int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")),
        id=os.environ.get("TORCHELASTIC_RUN_ID", ""),
    )
