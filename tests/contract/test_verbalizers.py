"""A verbalizer says what the library's own language-model head says, and trains no head."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from core.backbones import probe
from core.backbones.facts import folder_facts
from core.backbones.load import Backbone, load_backbone
from core.backbones.readout import pool, run_read_out
from core.backbones.spec import BackboneChoice
from core.backbones.verbalizer import answer_column
from core.data.tokens import CUE
from core.errors import BackboneError, ConfigError
from core.methods._layout import prompt_free, surround
from core.methods._module import BackboneInputs, TokenBatch
from core.training.model import build_model
from core.training.warm import WarmBackbone
from tests.method_tools import make_config, make_method, noise, shake
from tests.tiny import WORDS, tiny_vocabulary
from tests.tiny_families import make_small
from tests.tiny_language import (
    HEADS,
    SENTINEL,
    library_model,
    make_language,
    text_batch,
    tiny_language,
    verbalizer,
)

SAID = ("no", "yes", "great")
FEW = ("bert", "t5", "gpt2")


def logits_of(backbone: Backbone, inputs: BackboneInputs) -> Tensor:
    assert backbone.language is not None
    hidden = backbone.forward(inputs)
    return backbone.language.head_of(SAID)(pool(hidden, inputs, backbone.language))


@pytest.mark.parametrize("family", HEADS)
def test_the_logits_are_those_of_the_librarys_whole_model(family: str) -> None:
    backbone = tiny_language(family)
    assert backbone.language is not None
    batch = text_batch(backbone)
    vocabulary = tiny_vocabulary()
    said = [vocabulary[word] for word in SAID]
    sizes = batch.mask.sum(dim=1)
    further, place = {}, sizes - 1
    if backbone.answer_form == "masked":
        place = sizes - 2
        at_place = batch.token_ids[torch.arange(3), place]
        assert at_place.tolist() == [vocabulary["[MASK]"]] * 3
    elif backbone.answer_form == "causal":
        assert batch.token_ids[torch.arange(3), place].tolist() == [vocabulary[CUE]] * 3
    else:
        start = torch.tensor([[0, backbone.facts.vocab - 1]] * 3)
        further, place = {"decoder_input_ids": start}, torch.ones(3, dtype=torch.long)
    with torch.no_grad():
        model = library_model(backbone, family)
        whole = model(input_ids=batch.token_ids, attention_mask=batch.mask.long(), **further)
        ours = logits_of(backbone, prompt_free(backbone, batch))
    theirs = whole.logits[torch.arange(3), place][:, said]
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)
    assert float(theirs.std()) > 0.01


def test_t5_with_a_matrix_of_its_own_is_not_scaled_and_needs_that_matrix(tmp_path: Path) -> None:
    folder = make_language("t5", tmp_path / "t5", tie_word_embeddings=False)
    with pytest.raises(BackboneError, match="hold no language-model head"):
        load_backbone(verbalizer(folder), offline=True)
    file = folder / "model.safetensors"
    tensors = load_file(file)
    tensors["lm_head.weight"] = tensors["shared.weight"].flip(0).contiguous()
    save_file(tensors, file, metadata={"format": "pt"})
    backbone = load_backbone(verbalizer(folder), offline=True)
    model = library_model(backbone, "t5")
    assert not model.config.scale_decoder_outputs
    assert not torch.equal(model.lm_head.weight, model.shared.weight)
    batch = text_batch(backbone)
    start = torch.tensor([[0, backbone.facts.vocab - 1]] * 3)
    with torch.no_grad():
        whole = model(
            input_ids=batch.token_ids, attention_mask=batch.mask.long(), decoder_input_ids=start
        ).logits[:, -1, [tiny_vocabulary()[word] for word in SAID]]
        ours = logits_of(backbone, prompt_free(backbone, batch))
    torch.testing.assert_close(ours, whole, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("family", HEADS)
def test_the_answer_stands_at_the_mask_or_last_wherever_the_prompt_stands(family: str) -> None:
    backbone = tiny_language(family)
    batch = text_batch(backbone)
    embeddings = backbone.embed(batch.token_ids)
    prompt = torch.ones(3, 4, backbone.facts.width)
    back = {"masked": 2, "causal": 1, "sequence": 1}[backbone.answer_form]
    for cut in (0, 2, 4):
        inputs = surround(embeddings, batch, prompt, torch.full((3,), cut), backbone.facts)
        column = answer_column(inputs) if backbone.answer_form == "masked" else inputs.last
        for row, size in enumerate(batch.mask.sum(dim=1).tolist()):
            found = inputs.embeddings[row, column[row]]
            assert torch.equal(found, embeddings[row, size - back])
            behind = 4 - cut if back == 2 else 0
            assert int(column[row]) == size - back + (4 - behind)


@pytest.mark.parametrize("family", FEW)
def test_a_text_that_is_cut_keeps_the_place_of_its_answer(family: str) -> None:
    backbone = tiny_language(family)
    tokenizer = WarmBackbone(backbone).tokenizer
    long = " ".join(WORDS)
    for segments in ((long,), (long, long), ("why", long), ("",)):
        whole, cut = (tokenizer.encode(segments, most) for most in (128, 9))
        assert cut.used <= 9
        end = {"bert": ("[MASK]", "[SEP]"), "t5": ("[SEP]",), "gpt2": (CUE,)}[family]
        for made in (whole, cut):
            assert made.tokens[-len(end) :] == end
            assert made.special[-len(end) :] == (True,) * len(end)
            assert len(made.ids) == len(made.types) == len(made.places) == made.used
        assert cut.total == whole.total
    if family == "t5":
        assert tokenizer.token(tokenizer.sentinel or 0) == SENTINEL


@pytest.mark.parametrize("family", FEW)
@pytest.mark.parametrize("kind", ["prompt_tuning", "adap_ins_pos", "p_tuning_v2", "lora"])
def test_no_row_depends_on_padding_or_partners(family: str, kind: str) -> None:
    backbone = tiny_language(family)
    fields = {"position": "instance", "feature": "embedding_mean"} if kind == "adap_ins_pos" else {}
    name = "dynamic_prompt" if kind == "adap_ins_pos" else kind
    method = shake(make_method(backbone, name, **fields))
    read_out = run_read_out(verbalizer(backbone.folder), backbone, method)
    probe.check(backbone, method, read_out)

    def read(batch: TokenBatch) -> Tensor:
        with torch.no_grad():
            inputs = method.adapt(batch)
            return pool(backbone.forward(inputs, method.own_backbone()), inputs, read_out)

    narrow, wide = text_batch(backbone, 16), text_batch(backbone, 32)
    together = read(narrow)
    torch.testing.assert_close(read(wide), together, atol=2e-5, rtol=1e-5)
    for row in range(3):
        one = TokenBatch(*(part[row : row + 1] for part in (
            narrow.token_ids, narrow.token_types, narrow.mask)))  # fmt: skip
        torch.testing.assert_close(read(one)[0], together[row], atol=2e-5, rtol=1e-5)


@pytest.mark.parametrize("family", FEW)
def test_the_gradient_reaches_the_prompt_and_nothing_of_the_language_model(family: str) -> None:
    backbone = tiny_language(family)
    assert backbone.language is not None
    config = make_config(
        "dynamic_prompt",
        position="instance",
        representation="instance",
        feature="embedding_mean",
    )
    model = build_model(config, backbone, {"own": 3}, 0, words={"own": SAID})
    counted = config.num_trainable(backbone.facts, 0)
    assert counted.pop("head") == 0
    assert model.num_trainable() == counted
    assert all(name.startswith("method.") for name in model.named_tensors())
    part = model.part()
    batch = text_batch(backbone)
    inputs = part.method.adapt(batch, noise())
    part.logits(backbone.forward(inputs), inputs, backbone.language)[:, 1].sum().backward()
    for tensors in model.parameter_groups().values():
        assert all(tensor.grad is not None and bool(tensor.grad.any()) for tensor in tensors)
    for module in (backbone.module, backbone.language):
        for frozen in module.parameters():
            assert frozen.grad is None
            assert not frozen.requires_grad


def test_minilm_is_refused_with_the_reason() -> None:
    minilm = BackboneChoice(name="minilm", read_out="verbalizer")
    with pytest.raises(BackboneError, match=r"minilm hold no language-model head.*read_out: head"):
        load_backbone(minilm, offline=True)


@pytest.mark.parametrize("family", ["bert", "distilbert", "llama", "electra-small"])
def test_files_without_the_head_are_refused_but_serve_a_head_of_ones_own(
    family: str, tmp_path: Path
) -> None:
    folder = make_language(family, tmp_path / "model", headless=True)
    assert folder_facts(folder).language_head == ""
    with pytest.raises(BackboneError, match="model hold no language-model head"):
        load_backbone(verbalizer(folder), offline=True)
    assert load_backbone(BackboneChoice(path=str(folder)), offline=True).language is None


def test_a_head_of_which_a_part_is_missing_is_refused(tmp_path: Path) -> None:
    folder = make_language("distilbert", tmp_path / "model")
    file = folder / "model.safetensors"
    tensors = load_file(file)
    save_file(
        {name: value for name, value in tensors.items() if "vocab_layer_norm" not in name},
        file,
        metadata={"format": "pt"},
    )
    assert folder_facts(folder).language_head == "masked"
    with pytest.raises(BackboneError, match="lack 2 tensors .*vocab_layer_norm.*would be random"):
        load_backbone(verbalizer(folder), offline=True)


def test_a_family_whose_answer_is_not_known_is_refused(tmp_path: Path) -> None:
    folder = make_small("bart", tmp_path / "bart")
    with pytest.raises(BackboneError, match="family bart, for which.*no form of an answer"):
        load_backbone(verbalizer(folder), offline=True)


def test_a_tokenizer_without_the_place_of_an_answer_is_refused(tmp_path: Path) -> None:
    folder = make_language("t5", tmp_path / "t5")
    path = folder / "tokenizer.json"
    path.write_text(path.read_text().replace(SENTINEL, "<other>"))
    with pytest.raises(BackboneError, match="no token <extra_id_0>"):
        load_backbone(verbalizer(folder), offline=True)


@pytest.mark.parametrize("words", [("good", "great", "good"), ("film", "maybe", "maybes")])
def test_words_that_begin_alike_are_refused_by_name(words: tuple[str, ...]) -> None:
    language = tiny_language("bert").language
    assert language is not None
    named = "'good' and 'good'" if "good" in words else "'maybe' and 'maybes'"
    with pytest.raises(ConfigError, match=f"label words {named} begin with the same sub-token"):
        language.head_of(words)
    with pytest.raises(ConfigError, match="does not know the label word '日'"):
        language.head_of(("yes", "日"))


def test_what_is_counted_for_memory_is_what_is_loaded() -> None:
    for family in HEADS:
        backbone = tiny_language(family)
        assert backbone.language is not None
        facts = backbone.facts
        whole = library_model(backbone, family).num_parameters()
        pooled = facts.total_parameters + facts.language_parameters
        assert whole == pytest.approx(pooled, rel=0.02), family
