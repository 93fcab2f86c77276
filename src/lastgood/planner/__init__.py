"""The pure core: states, events, and the one function that decides (contract §8)."""

from lastgood.planner.events import Event
from lastgood.planner.states import Settings, State
from lastgood.planner.transitions import Step, plan, plan_of_cycle

__all__ = ["Event", "Settings", "State", "Step", "plan", "plan_of_cycle"]
