"""Methods that train the backbone itself train its language-model head, as the library would."""

from __future__ import annotations

from pathlib import Path

import peft
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import PreTrainedModel

from core.backbones import probe
from core.backbones.language import LANGUAGE_FAMILIES
from core.backbones.load import Backbone, load_backbone
from core.backbones.readout import ReadOut, run_read_out
from core.methods._module import TokenBatch
from core.training.model import AdaptedModel, build_model
from tests.method_tools import changed, make_config
from tests.tiny import tiny_vocabulary
from tests.tiny_language import (
    HEADS,
    library_model,
    make_language,
    text_batch,
    tiny_language,
    verbalizer,
)

SAID = ("no", "yes", "great")
WEIGHTS = torch.tensor([[0.7, -1.1, 0.4], [-0.3, 0.9, -0.6], [1.3, 0.2, -1.0]])
BIASED = ("bert", "roberta", "albert", "electra-small", "distilbert", "mpnet", "deberta-v2", "gpt2")


def part_of(backbone: Backbone, kind: str, **fields: object) -> AdaptedModel:
    config = make_config(kind, **fields)
    return build_model(config, backbone, {"own": 3}, 0, words={"own": SAID}).part()


def read_out_of(backbone: Backbone, part: AdaptedModel) -> ReadOut:
    return run_read_out(verbalizer(backbone.folder), backbone, part.method)


def logits_of(backbone: Backbone, part: AdaptedModel, batch: TokenBatch) -> Tensor:
    inputs = part.method.adapt(batch)
    hidden = backbone.forward(inputs, part.method.own_backbone())
    return part.logits(hidden, inputs, read_out_of(backbone, part))


def library_logits(backbone: Backbone, model: nn.Module, batch: TokenBatch) -> Tensor:
    """What the library's whole model says of the words at the answer's place."""
    said = [tiny_vocabulary()[word] for word in SAID]
    further, place = {}, batch.mask.sum(dim=1) - 1
    if backbone.answer_form == "masked":
        place = place - 1
    elif backbone.answer_form == "sequence":
        start = torch.tensor([[0, backbone.facts.vocab - 1]] * 3)
        further, place = {"decoder_input_ids": start}, torch.ones(3, dtype=torch.long)
    whole = model(input_ids=batch.token_ids, attention_mask=batch.mask.long(), **further)
    found: Tensor = whole.logits[torch.arange(3), place][:, said]
    return found


def pairs(
    backbone: Backbone, part: AdaptedModel, model: PreTrainedModel
) -> list[tuple[str, nn.Parameter, nn.Parameter]]:
    """Name each tensor of a method's own copy with the library's one in the same place."""
    own, language = part.method.own_backbone(), part.method.own_language()
    assert own is not None
    assert language is not None
    is_sequence = backbone.answer_form == "sequence"
    whole = model.get_encoder() if is_sequence else model.base_model
    names = ["decoder"] if is_sequence else LANGUAGE_FAMILIES[backbone.facts.family].steps
    found = [(name, mine, whole.get_parameter(name)) for name, mine in own.named_parameters()]
    for place, step in zip(names, language.steps, strict=True):
        theirs = model.get_submodule(place)
        found += [
            (f"{place}.{name}", mine, theirs.get_parameter(name))
            for name, mine in step.named_parameters()
        ]
    output = model.get_output_embeddings()
    found.append(("matrix", language.matrix, output.weight))
    if output.bias is not None:
        found.append(("bias", language.bias, output.bias))
    return found


@pytest.mark.parametrize("family", HEADS)
def test_all_weights_are_fine_tuned_as_the_librarys_whole_model(family: str) -> None:
    backbone, batch = tiny_language(family), text_batch(tiny_language(family))
    model = library_model(backbone, family)
    part = changed(part_of(backbone, "fine_tuning"))
    trained = {id(tensor) for tensor in part.parameters()}
    together = pairs(backbone, part, model)
    assert {id(mine) for _, mine, _ in together} == trained
    with torch.no_grad():
        for _, mine, theirs in together:
            theirs.copy_(mine)
    ours, whole = logits_of(backbone, part, batch), library_logits(backbone, model, batch)
    torch.testing.assert_close(ours, whole, atol=1e-5, rtol=1e-5)
    (ours * WEIGHTS).sum().backward()
    (whole * WEIGHTS).sum().backward()
    for name, mine, theirs in together:
        if theirs.grad is None:
            assert mine.grad is None, name
            continue
        assert mine.grad is not None, name
        torch.testing.assert_close(mine.grad, theirs.grad, atol=1e-5, rtol=1e-4, msg=name)
    assert backbone.language is not None
    frozen = [*backbone.module.parameters(), *backbone.language.parameters()]
    assert not any(tensor.requires_grad or id(tensor) in trained for tensor in frozen)


@pytest.mark.parametrize(
    ("kind", "family"),
    [
        *(("fine_tuning", family) for family in HEADS),
        *(("lora", family) for family in HEADS),
        *(("bitfit", family) for family in BIASED),
    ],
)
def test_what_is_trained_is_counted_passes_the_probe_and_is_kept_once(
    kind: str, family: str
) -> None:
    backbone = tiny_language(family)
    part = part_of(backbone, kind)
    probe.check(backbone, part.method, read_out_of(backbone, part))
    counted = make_config(kind).num_trainable(backbone.facts, 0)
    assert counted == {"backbone": sum(tensor.numel() for tensor in part.parameters()), "head": 0}
    kept = part.state_dict()
    trained = {tensor.data_ptr() for tensor in part.parameters()}
    assert sorted(tensor.data_ptr() for tensor in kept.values()) == sorted(trained)
    batch = text_batch(backbone)
    moved, again = changed(part), part_of(backbone, kind)
    again.load_state_dict(moved.state_dict())
    with torch.no_grad():
        ours = logits_of(backbone, moved, batch)
        assert torch.equal(logits_of(backbone, again, batch), ours)
        plain = logits_of(backbone, part_of(backbone, "prompt_tuning", num_virtual_tokens=1), batch)
    assert float((ours - plain).abs().max()) > 1e-3


def test_norms_and_the_bias_are_counted_once_under_the_names_of_old_files(tmp_path: Path) -> None:
    folder = make_language("bert", tmp_path / "old")
    path = folder / "model.safetensors"
    tensors = {
        name.replace("Norm.weight", "Norm.gamma").replace("Norm.bias", "Norm.beta"): tensor
        for name, tensor in load_file(path).items()
    }
    tensors["cls.predictions.decoder.bias"] = tensors["cls.predictions.bias"].clone()
    save_file(tensors, path, metadata={"format": "pt"})
    backbone = load_backbone(verbalizer(folder), offline=True)
    assert backbone.facts == tiny_language("bert").facts
    for kind in ("bitfit", "fine_tuning"):
        trained = sum(tensor.numel() for tensor in part_of(backbone, kind).parameters())
        assert make_config(kind).num_trainable(backbone.facts, 0)["backbone"] == trained


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")
def test_lora_reaches_t5s_decoder_as_peft_does() -> None:
    backbone, batch = tiny_language("t5"), text_batch(tiny_language("t5"))
    part = changed(part_of(backbone, "lora", rank=4, alpha=8.0), 0.2)
    ours = {name.replace(":", "."): tensor for name, tensor in part.method.named_parameters()}
    settings = peft.LoraConfig(r=4, lora_alpha=8.0, target_modules=["q", "v"])
    theirs = peft.get_peft_model(library_model(backbone, "t5"), settings).eval()
    with torch.no_grad():
        for name, tensor in theirs.named_parameters():
            for theirs_part, mine in (("lora_A", "down"), ("lora_B", "up")):
                if f".{theirs_part}." in name:
                    place = name.removeprefix("base_model.model.").split(f".{theirs_part}.")[0]
                    side, _, rest = place.partition(".")
                    start = {"encoder": "", "decoder": "language.steps.0."}[side]
                    tensor.copy_(ours.pop(f"trained.{start}{rest}.{mine}"))
        assert not ours
        whole = library_logits(backbone, theirs.get_base_model(), batch)
        torch.testing.assert_close(logits_of(backbone, part, batch), whole, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(("kind", "family"), [("bitfit", "bert"), ("lora", "t5")])
def test_in_bfloat16_what_is_trained_stays_in_full_precision(kind: str, family: str) -> None:
    folder = tiny_language(family).folder
    backbone = load_backbone(verbalizer(folder), offline=True, dtype="bfloat16")
    part = changed(part_of(backbone, kind))
    assert all(tensor.dtype is torch.float32 for tensor in part.parameters())
    exact = changed(part_of(tiny_language(family), kind))
    batch = text_batch(backbone)
    ours = logits_of(backbone, part, batch)
    assert ours.dtype is torch.float32
    torch.testing.assert_close(
        ours, logits_of(tiny_language(family), exact, batch), atol=0.1, rtol=0.05
    )
    ours.sum().backward()
    assert all(tensor.grad is not None for tensor in part.parameters())
