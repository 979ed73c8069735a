"""`lora_merge`: the product of LoRA's matrices becomes part of the kernel."""

from __future__ import annotations

from dataclasses import dataclass

from surgery.declared.fields import key
from surgery.errors import SelectorError
from surgery.ops.base import op
from surgery.ops.structure import StructureOp
from surgery.weights.arithmetic import is_float
from surgery.weights.layer_selectors import SelectLayers
from surgery.weights.lora import lora_layers, merged
from surgery.weights.model import Model
from surgery.weights.restructuring import restructured


@op
@dataclass(frozen=True, kw_only=True)
class LoraMerge(StructureOp):
    """Merge LoRA into the kernels of the selected layers, which are trainable again.

    Source: Hu et al., LoRA: Low-Rank Adaptation of Large Language Models, 2021.
    """

    select: SelectLayers = key("The layers; those without LoRA stay as they are.", "**")

    @property
    def title(self) -> str:
        return f"{self.name} {self.select}"

    def apply(self, model: Model) -> Model:
        self.architecture(model)
        chosen = {node.address for node in self.select.layers(model)}
        there = [(layer.address, name) for layer, name in lora_layers(model)]
        found = [(address, name) for address, name in there if address in chosen]
        if not found:
            all_of_them = ", ".join(address for address, _ in there) or "no layer"
            raise SelectorError(f"{self.select} names no layer with LoRA; {all_of_them} has it")
        for address, name in found:
            dtype = model[f"{address}/{name}"].tensor.dtype
            if not is_float(dtype):
                raise SelectorError(
                    f"{address} has LoRA on a {name} that is quantised ({dtype.name}), which would "
                    "have to be quantised anew; merge it with Keras"
                )
        made = merged(model, {address for address, _ in found})
        # The kernel stood behind the others while it was not trained.
        return restructured(made, made.need_architecture("LoRA is in its layers").config)
