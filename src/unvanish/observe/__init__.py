"""A live run to readings: hooks on sampled steps only, under a time budget that it measures and keeps. It judges nothing."""

from unvanish.observe.active import log
from unvanish.observe.observer import Observer
from unvanish.observe.settings import Progress, Settings, StopTraining

__all__ = ["Observer", "Progress", "Settings", "StopTraining", "log"]
