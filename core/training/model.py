"""What a run trains: for each task a method and a head, most tensors shared by all tasks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType

import torch
from jaxtyping import Float
from torch import Tensor, nn

from core.backbones.load import Backbone
from core.backbones.readout import ReadOut, pool
from core.backbones.verbalizer import WordHead
from core.methods import MethodConfig
from core.methods._build import build_method
from core.methods._config import GROUPS, Axis, ParameterGroup
from core.methods._linear import empty_linear
from core.methods._module import BackboneInputs, PromptMethod
from core.training.streams import generator

HEAD_STD = 0.02


class AdaptedModel(nn.Module):
    """The method's tensors and a head for one task; the backbone is outside.

    Args:
        method: Way to adapt the backbone.
        head: Linear map from the pooled hidden state to the labels, or to one score; or the rows
            of a language-model head, one a label word, which are the backbone's or the method's.
    """

    def __init__(self, method: PromptMethod, head: nn.Linear | WordHead) -> None:
        super().__init__()
        self.method = method
        self.head = head

    def logits(
        self, hidden: Float[Tensor, "batch total hidden"], inputs: BackboneInputs, read_out: ReadOut
    ) -> Float[Tensor, "batch outputs"]:
        """Score the labels, or a choice, from the backbone's last hidden states, in float32."""
        return self.score(pool(hidden, inputs, read_out))

    def score(self, pooled: Float[Tensor, "batch hidden"]) -> Float[Tensor, "batch outputs"]:
        """Score the labels, or a choice, from pooled hidden states, in float32."""
        scores: Tensor = self.head(pooled.float())
        return scores

    @property
    def is_constant(self) -> bool:
        """True when nothing before the head is trained, so that pooled outputs never change."""
        return self.method.own_backbone() is None and not any(
            parameters for parameters in self.method.parameter_groups().values()
        )

    def parameter_groups(self) -> dict[ParameterGroup, list[nn.Parameter]]:
        """Trainable tensors by learning-rate group, in a fixed order, without empty groups."""
        groups = dict(self.method.parameter_groups())
        groups["head"] = [*groups.get("head", []), *self.head.parameters()]
        return {name: groups[name] for name in GROUPS if groups.get(name)}

    def named_tensors(self) -> dict[str, Tensor]:
        """Tensors that are stored, by name."""
        return dict(self.state_dict(keep_vars=True))


class RunModel:
    """All that a run trains: one part a task, tied but for heads and what tasks have of their own.

    Names of tensors are those of a part, ``method.…`` and ``head.…``; after joint training the
    tensors of one task alone are named ``<task>/…``.

    Args:
        parts: Part of each task, the run's own task first.
    """

    def __init__(self, parts: Mapping[str, AdaptedModel]) -> None:
        self.parts = dict(parts)

    def part(self, task: str = "") -> AdaptedModel:
        """Return a task's part; empty: that of the run's own task.

        Raises:
            KeyError: If there is no such task.
        """
        return self.parts[task or next(iter(self.parts))]

    def eval(self) -> RunModel:
        """Switch to evaluation and return itself."""
        for part in self.parts.values():
            part.eval()
        return self

    @property
    def is_constant(self) -> bool:
        """True when nothing before the heads is trained, so that pooled outputs never change."""
        return all(part.is_constant for part in self.parts.values())

    def parameter_groups(self) -> dict[ParameterGroup, list[nn.Parameter]]:
        """Trainable tensors by learning-rate group, each once, in a fixed order."""
        found: dict[ParameterGroup, dict[int, nn.Parameter]] = {}
        for part in self.parts.values():
            for name, tensors in part.parameter_groups().items():
                found.setdefault(name, {}).update((id(tensor), tensor) for tensor in tensors)
        return {name: list(found[name].values()) for name in GROUPS if name in found}

    def num_trainable(self) -> dict[str, int]:
        """Count the trainable numbers by group; what tasks share counts once."""
        return {
            name: sum(parameter.numel() for parameter in parameters)
            for name, parameters in self.parameter_groups().items()
        }

    def named_tensors(self) -> dict[str, Tensor]:
        """Tensors that are stored, by name, each once."""
        tensors = {task: part.named_tensors() for task, part in self.parts.items()}
        holders = Counter(id(tensor) for part in tensors.values() for tensor in part.values())
        return {
            name if holders[id(tensor)] == len(tensors) else f"{task}/{name}": tensor
            for task, part in tensors.items()
            for name, tensor in part.items()
        }


def new_head(hidden: int, num_outputs: int, draw: torch.Generator) -> nn.Linear:
    """Make a head with weights from a normal distribution (std 0.02) and zero bias.

    One output scores choices against each other and has no bias.
    """
    head = empty_linear(hidden, num_outputs, bias=num_outputs > 1)
    with torch.no_grad():
        head.weight.normal_(0.0, HEAD_STD, generator=draw)
        if head.bias is not None:
            head.bias.zero_()
    return head


def build_part(
    method: PromptMethod,
    backbone: Backbone,
    num_outputs: int,
    init_seed: int,
    words: Sequence[str] = (),
) -> AdaptedModel:
    """Put a head on a method: a fresh one from the init seed's stream, or that of label words."""
    language = method.own_language() or backbone.language
    if language is not None:
        return AdaptedModel(method, language.head_of(words)).to(backbone.device)
    head = new_head(backbone.facts.hidden, num_outputs, generator(init_seed, 0, "init/head"))
    return AdaptedModel(method, head).to(backbone.device)


def build_model(
    config: MethodConfig,
    backbone: Backbone,
    outputs: Mapping[str, int],
    init_seed: int,
    own: Iterable[Axis] = (),
    words: Mapping[str, Sequence[str]] = MappingProxyType({}),
) -> RunModel:
    """Build a run's trainable part, its initial values drawn from the init seed's streams.

    Every task starts from the values that it would start from alone, so that joint training and
    its control differ in nothing else. Only axes that the method has make a difference. A prompt
    that starts from label words gets those of all tasks, task by task in the order of their names
    and each word once: one prompt serves all tasks, and a control has the words of its partners.

    Args:
        config: The method's settings.
        backbone: Frozen backbone.
        outputs: Outputs of each task's head, a count, the run's own task first.
        init_seed: Seed of the initial values.
        own: Axes that each task has for itself; everything else is shared.
        words: Label words of each task that the run reads, which a joint run's control has more of
            than it trains. A language-model head says those of a task, and a prompt may start from
            them; without any, values that are read from a file later are left to be drawn.

    Raises:
        BackboneError: If the method does not work with this backbone.
        ConfigError: If a label word cannot be said or is not known, or two begin with the same
            sub-token.
    """
    axes, parts = tuple(own), dict[str, AdaptedModel]()
    first = tuple(dict.fromkeys(word for task in sorted(words) for word in words[task]))
    shared: PromptMethod | None = None
    for task, count in outputs.items():
        method = _own_method(config, backbone, init_seed, shared, axes, first)
        shared = shared or method
        parts[task] = build_part(method, backbone, count, init_seed, words.get(task, ()))
    return RunModel(parts)


def _own_method(
    config: MethodConfig,
    backbone: Backbone,
    init_seed: int,
    shared: PromptMethod | None,
    own: Sequence[Axis],
    words: Sequence[str],
) -> PromptMethod:
    """Return a task's method: the first task's tensors but for those of the axes in ``own``."""
    names: set[str] = set()
    if shared is not None:
        names = {name for axis in own for name in shared.axes().get(axis, ())}
        if not names:
            return shared
    method = build_method(config, backbone, generator(init_seed, 0, "init/method"), words)
    if shared is not None:
        for name, tensor in shared.named_parameters():
            if name not in names:
                holder, _, leaf = name.rpartition(".")
                setattr(method.get_submodule(holder), leaf, tensor)
    return method
