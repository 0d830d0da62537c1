"""Collects what is measured in one sampled step, of sites, parameters, optimizer groups, networks and heads, into a reading.

It keeps numbers, not tensors: an output lives as long as the user's own program keeps it. The last few outputs and inputs of
networks are the exception, until the next backward.
"""

from __future__ import annotations

import weakref

import numpy as np
from torch import Tensor, nn

from unvanish.observe.output_head.graph_nodes import NodeKey
from unvanish.observe.statistics.parameter_updates import ParameterUpdate, group_numbers, parameter_numbers
from unvanish.observe.statistics.quantity_rows import pack_rows, read_back_named
from unvanish.observe.statistics.site_statistics import SiteCall, SiteStatistics, site_numbers
from unvanish.observe.statistics.tensor_statistics import Number
from unvanish.observe.structure.model_index import ModelIndex, SiteKey
from unvanish.record.quantities import Axis, Reading


class Capture:
    """The measurements of the sampled step in progress; `reading` packs them when it is over."""

    def __init__(self, step: int, model_index: ModelIndex) -> None:
        self.step = step
        self._model_index = model_index
        self._sites: dict[int, SiteStatistics] = {}
        self._site_indices: dict[tuple[int, str, int, bool], int] = {}
        self._paths: dict[int, str] = {}
        self._producers: dict[int, tuple[weakref.ref[Tensor], int]] = {}
        self._modules: list[nn.Module] = []  # kept alive for the length of the step, so that their ids stay unique
        self.updates: dict[int, ParameterUpdate] = {}
        self.learning_rates: dict[int, float] = {}  # by optimizer group
        self.backward_gradients: dict[int, tuple[Number, int]] = {}  # parameter -> norm and size of the gradient after backward
        self.outputs: dict[NodeKey, Tensor] = {}  # of networks, detached, since the last backward
        self.input_samples: list[tuple[int, Tensor]] = []  # of the same calls: number of examples, and a sample (rows, columns)
        self.input_numbers: dict[int, dict[str, Number]] = {}  # by network
        self.head_numbers: dict[int, dict[str, Number]] = {}  # by head

    def site_statistics(self, call: SiteCall) -> SiteStatistics:
        """The statistics of the site that a call belongs to."""
        local_key = (id(call.module), call.op, call.occurrence, call.functional)
        index = self._site_indices.get(local_key)
        if index is None:
            index = self._site_indices[local_key] = self._find_site(call)
            self._modules.append(call.module)
        return self._sites.setdefault(index, SiteStatistics(index))

    def _find_site(self, call: SiteCall) -> int:
        network = self._model_index.network_index(call.outermost, call.frame)
        path = self._paths.get(id(call.module))
        if path is None:
            path = self._paths[id(call.module)] = self._model_index.module_path(call.module, network, call.caller)
        key = SiteKey(path, call.op, call.occurrence, call.functional)
        order = len(self._site_indices)
        return self._model_index.site_index(network, key, kind=call.kind, order=order, module=call.module, frame=call.frame)

    def set_producer(self, output: Tensor, site: SiteStatistics) -> None:
        """Records which site made a tensor, for as long as the tensor lives."""
        self._producers[id(output)] = (weakref.ref(output), site.index)

    def set_hidden(self, output: Tensor) -> None:
        """Records that a tensor was made within compiled code, whose sites are recorded as it runs again."""
        self._producers[id(output)] = (weakref.ref(output), -1)

    def producer(self, tensor: Tensor) -> int | None:
        """The site whose output this very tensor is, -1 for one within compiled code; None where it is no site's."""
        known = self._producers.get(id(tensor))
        return known[1] if known is not None and known[0]() is tensor else None

    def reading(self, *, own_s: float) -> Reading:
        """All numbers of the step, read back from the device. `own_s`: seconds that measuring the step took."""
        numbers = {
            Axis.SITE: site_numbers(list(self._sites.values())),
            Axis.PARAMETER: parameter_numbers(self.updates),
            Axis.GROUP: group_numbers(self.learning_rates, self.updates, self._model_index.group_of),
            Axis.NETWORK: read_back_named(self.input_numbers),
            Axis.HEAD: read_back_named(self.head_numbers),
        }
        lengths = self._model_index.axis_lengths
        with np.errstate(over="ignore"):  # what float32 cannot hold is infinite
            return Reading(self.step, own_s * 1e3, {axis: pack_rows(axis, numbers[axis], lengths[axis]) for axis in Axis})
