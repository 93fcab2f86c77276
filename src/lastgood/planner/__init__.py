"""The pure core: states, events, and ``plan()``, the one function that makes decisions. No IO, no clock, no threads."""

from lastgood.planner.cycles import plan_of_cycle
from lastgood.planner.events import Event
from lastgood.planner.settings import Settings
from lastgood.planner.states import State
from lastgood.planner.transitions import Step, plan

__all__ = ["Event", "Settings", "State", "Step", "plan", "plan_of_cycle"]
