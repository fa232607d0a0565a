"""The devices of several hosts: the hostfile has to be there, with as many as the recipe says.

DeepSpeed's launcher goes on with the devices of one host where it finds no hostfile.
"""

from __future__ import annotations

from training.errors import LaunchFailed
from training.plan.gpus import PlanRefused
from training.plan.plan import ranks_of
from training.recipe import EngineSettings


def require_hosts(engine: EngineSettings) -> None:
    """Makes sure that the hostfile, where the recipe names one, has the recipe's devices.

    Raises:
        LaunchFailed: it cannot be read, or names another number of devices.
    """
    try:
        slots = ranks_of(engine)
    except PlanRefused as error:
        raise LaunchFailed(error.what, cause=error.cause, solution=error.solution) from error
    if slots != engine.ranks:
        raise LaunchFailed(
            f"The hostfile '{engine.hostfile}' has {slots} devices, the recipe {engine.ranks}.",
            cause="`engine.ranks` is not the sum of the hostfile's slots.",
            solution="Set engine.ranks to the number of devices on all hosts together.",
        )
