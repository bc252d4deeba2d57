"""How much memory of a device a run needs at its peak, by formula and without torch.

    peak = process + work + weights + trained + max(inputs + update, scoring)

    process  libraries of the trainer, or the context of an accelerator
    work     token ids, masks, buffers of the allocator
    weights  frozen backbone in the run's precision; where a verbalizer reads out, its head, too
    trained  16 bytes for each trained number: value, gradient, two moments of AdamW, all float32;
             with Adafactor 12, of which the last 4 are an upper bound of its rows and columns
    inputs   embeddings of an update's rows, their prompts and their gradients, where the update is
             made in parts; of methods that reach into layers those of every layer
    update   activations that the backward pass of one part of an update needs, and one layer's
             attention scores; of a decoder that a verbalizer reads the keys and values that it
             makes of the encoder's states
    scoring  one layer's activations of a chunk that is scored without a gradient

Rows of an update are examples x choices of the task x passes of the method; columns are the length
class of the longest input and the prompt. Each layer keeps UNITS vectors of the hidden width for
each column: with frozen weights what layer norms, the feed-forward map's nonlinearity and attention
need; with trained tensors inside also the inputs of the linear maps. The units are fitted to
measurements (tests/unit/test_memory.py holds the formula to them).
"""

from __future__ import annotations

from core.data.tokens import LENGTH_CLASSES, length_class
from core.methods import MethodConfig
from core.methods._config import BackboneFacts
from core.methods.dynamic_prompt.config import Config as DynamicPrompt
from core.methods.p_tuning_v2.config import Config as Prefix
from core.recipe import RunConfig
from core.recipe_parts import TaskChoice
from core.stepping import parts_of_update
from core.tasks import TASKS

PROCESS_BYTES = 400_000_000
WORK_BYTES = 64_000_000
TRAINED_BYTES = {"adamw": 16, "adafactor": 12}
FLOAT32_BYTES = 4
DTYPE_BYTES = {"float32": 4, "bfloat16": 2}

FROZEN_UNITS = 15
INSIDE_UNITS = 21
DROPOUT_UNITS = 4
SCORING_UNITS = 12
PREFIX_UNITS = 4
"""A prefix is kept as keys and values, alone and joined to the sequence's own."""
DECODER_UNITS = 2
"""A decoder of a few tokens keeps keys and values of every column that it looks back at."""

SCORED_TOKENS = 1024
SCORED_ROWS = 128
VARYING_CHOICES = 10
"""Choices of an example where their number varies (ReCoRD), a usual count."""


def peak_bytes(config: RunConfig, facts: BackboneFacts) -> int:
    """Estimate the memory that a run trained alone needs at its peak, in bytes.

    It is meant to be too large rather than too small: texts are taken to be as long as the longest
    input allows. It grows with batch size, length and layers. In a group the runs share the
    process and the weights, so that the sum of their estimates is an upper bound.

    Args:
        config: The run.
        facts: Sizes of its backbone.
    """
    heads = [0 if config.backbone.is_verbalizer else 2] * len(config.trained_tasks)
    weights = facts.total_parameters
    if config.backbone.is_verbalizer:
        weights += facts.language_parameters
    trained = config.method.num_trainable_jointly(facts, heads, config.regime.own_axes)
    return (
        PROCESS_BYTES
        + WORK_BYTES
        + weights * DTYPE_BYTES[config.training.dtype]
        + sum(trained.values()) * TRAINED_BYTES[config.training.optimizer]
        + max(_update_bytes(config, facts), _scoring_bytes(config, facts))
    )


def _update_bytes(config: RunConfig, facts: BackboneFacts) -> int:
    """Activations of one update that wait for the backward pass, in bytes."""
    method, training = config.method, config.training
    if not _passes_gradients(method, facts):
        return 0
    together, parts = config.examples_an_update, parts_of_update(training, method)
    rows = -(-together // parts) * _choices(config) * method.passes
    columns = _columns(config)
    units = INSIDE_UNITS if method.SEPARATE else FROZEN_UNITS
    if training.backbone_dropout:
        units += DROPOUT_UNITS
    if config.backbone.is_verbalizer and facts.language_head == "sequence":
        units += DECODER_UNITS
    vectors = units * columns + PREFIX_UNITS * _prefix_length(method)
    kept = rows * vectors * facts.hidden * facts.layers * _activation_bytes(config, facts)
    waiting = 0
    if parts > 1:
        whole = together * _choices(config) * method.passes
        layers = facts.layers if _reaches_layers(method) else 1
        waiting = 2 * whole * columns * facts.hidden * layers * FLOAT32_BYTES
    return waiting + kept + rows * facts.heads * columns**2 * FLOAT32_BYTES


def _scoring_bytes(config: RunConfig, facts: BackboneFacts) -> int:
    """Activations of the largest chunk that is scored at once, in bytes; one layer at a time."""
    choices, prompt = _choices(config), config.method.prompt_length
    longest = length_class(config.training.max_tokens)
    most = 0
    for length in (size for size in LENGTH_CLASSES if size <= longest):
        rows = max(choices, min(SCORED_ROWS, SCORED_TOKENS // length))
        columns = length + prompt
        vectors = SCORING_UNITS * columns * facts.hidden * _activation_bytes(config, facts)
        scores = facts.heads * columns**2 * FLOAT32_BYTES
        most = max(most, rows * (vectors + scores))
    return most


def _passes_gradients(method: MethodConfig, facts: BackboneFacts) -> bool:
    """Tell whether anything before the head is trained, so that the backbone passes gradients."""
    return any(count for group, count in method.num_trainable(facts, 2).items() if group != "head")


def _activation_bytes(config: RunConfig, facts: BackboneFacts) -> int:
    """Bytes of one number inside the backbone; a run's own copy of all weights is float32."""
    own = config.method.num_trainable(facts, 2).get("backbone", 0)
    if own >= facts.total_parameters:
        return FLOAT32_BYTES
    return DTYPE_BYTES[config.training.dtype]


def _columns(config: RunConfig) -> int:
    return length_class(config.training.max_tokens) + config.method.prompt_length


def _reaches_layers(method: MethodConfig) -> bool:
    return isinstance(method, DynamicPrompt) and method.injection != "input"


def _prefix_length(method: MethodConfig) -> int:
    return method.num_virtual_tokens if isinstance(method, Prefix) else 0


def _choices(config: RunConfig) -> int:
    """Rows of one example, the most of all tasks of the run, a count."""
    return max(_choices_of(task) for task in config.trained_tasks)


def _choices_of(task: TaskChoice) -> int:
    spec = TASKS.get(task.name)
    if spec is None or spec.kind != "choices":
        return 1
    return len(spec.choice_fields) or VARYING_CHOICES
