"""What encoder directories say is computed, or refused by name; nothing is ignored."""

import json

import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file
from tiny_encoder import BERT, CONFIG, MPNET, config_of, write_encoder
from tokenizers import Tokenizer, processors

from fspo_jax.errors import EncoderError
from fspo_jax.models.encoders.load import load_encoder

TEXTS = ["", "the cat sat", "good dog"]
POOLING = "1_Pooling/config.json"


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return write_encoder(tmp_path_factory.mktemp("encoder") / "tiny")


def edited(directory, file, **changes):
    """Changes keys of a JSON file, or makes the file."""
    path = directory / file
    old = json.loads(path.read_text()) if path.is_file() else {}
    path.write_text(json.dumps(old | changes))
    return directory


def test_load_encoder_wrong_tensors_are_all_named(tmp_path):
    directory = write_encoder(tmp_path / "m")
    wrong = load_file(directory / "model.safetensors")
    del wrong["encoder.layer.1.output.dense.bias"], wrong["embeddings.LayerNorm.weight"]
    wrong["encoder.layer.0.output.dense.weight"] = np.zeros((3, 3), np.float32)
    wrong["surplus"] = np.zeros(1, np.float32)
    save_file(wrong, directory / "model.safetensors")
    with pytest.raises(EncoderError) as error:
        load_encoder(str(directory))
    for part in (
        "missing encoder.layer.1.output.dense.bias",
        "missing embeddings.LayerNorm.weight",
        "unexpected surplus",
        "encoder.layer.0.output.dense.weight is (3, 3), not (16, 32)",
    ):
        assert part in str(error.value)


def test_load_encoder_pickled_weights_are_refused_with_the_way_to_convert_them(tmp_path):
    directory = write_encoder(tmp_path / "m")
    (directory / "model.safetensors").rename(directory / "pytorch_model.bin")
    with pytest.raises(EncoderError, match="Only safetensors are read: convert the"):
        load_encoder(str(directory))


def test_load_encoder_that_is_nowhere_raises_encoder_error(tmp_path):
    with pytest.raises(EncoderError, match="is not a directory, a GGUF file, one of all-minilm-l6-v2"):
        load_encoder(str(tmp_path / "nowhere"))


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        (
            "config.json",
            json.dumps(CONFIG | {"model_type": "elmo"}),
            "'elmo' is not supported.*families: bert",
        ),
        ("config.json", json.dumps({"model_type": "bert"}), "the key 'hidden_size' is missing"),
        ("config.json", "{", "cannot be read"),
        ("config.json", "[]", "must hold a JSON object"),
        ("config.json", "[" * 100_000, "cannot be read"),
        ("modules.json", "{}", "must hold a list"),
        ("model.safetensors", "garbage", "cannot be read"),
        ("tokenizer.json", "{}", "cannot be read"),
        ("config.json", None, "does not exist"),
        (POOLING, None, "does not exist"),
        ("model.safetensors", None, "does not exist"),
        ("tokenizer.json", None, "does not exist, nor does any of vocab.txt"),
    ],
)
def test_load_encoder_unusable_directory_raises(tmp_path, file, content, message):
    directory = write_encoder(tmp_path / "m")
    (directory / file).unlink()
    if content is not None:
        (directory / file).write_text(content)
    with pytest.raises(EncoderError, match=message):
        load_encoder(str(directory))


@pytest.mark.parametrize(
    ("file", "changes", "message"),
    [
        ("config.json", {"hidden_act": "mish"}, "activation 'mish' is not supported. Supported: gelu"),
        (
            "config.json",
            {"position_embedding_type": "relative_key"},
            "position_embedding_type = 'relative_key'",
        ),
        (
            "config.json",
            {"is_decoder": True, "add_cross_attention": True},
            "is_decoder = True; add_cross_attention",
        ),
        ("config.json", {"auto_map": {"AutoModel": "x--y.Z"}}, "auto_map"),
        ("config.json", {"pruned_heads": {"0": [1]}}, "pruned_heads"),
        ("config.json", {"quantization_config": {"bits": 4}}, "quantization_config"),
        ("config.json", {"num_attention_heads": 3}, "16 is not a multiple of num_attention_heads 3"),
        ("config.json", {"hidden_size": "16"}, "'hidden_size' is '16', not a whole number"),
        (
            "config.json",
            {"num_hidden_layers": 0},
            "'num_hidden_layers' is 0, not a whole number of 1 or more",
        ),
        (POOLING, {"pooling_mode_max_tokens": True}, "pooling mean, max is not supported"),
        (
            POOLING,
            {"pooling_mode": "weightedmean"},
            "pooling weightedmean is not supported.*mean, cls, lasttoken",
        ),
        (POOLING, {"pooling_mode": ["mean", "cls"]}, "pooling mean, cls is not supported"),
        (POOLING, {"pooling_mode_new": True}, "pooling_mode_new"),
        (POOLING, {"temperature": 2}, "temperature"),
        ("sentence_bert_config.json", {"max_seq_length": "many"}, "the largest number of tokens is 'many'"),
        ("sentence_bert_config.json", {"max_seq_length": 2}, "windows of 2 tokens have no room for text"),
        ("sentence_bert_config.json", {"transformer_task": "fill-mask"}, "transformer_task = 'fill-mask'"),
        (
            "sentence_bert_config.json",
            {"modality_config": {"text": {"method": "forward", "method_output_name": "logits"}}},
            "logits",
        ),
        (
            "config_sentence_transformers.json",
            {"default_prompt_name": "q"},
            "default prompt 'q' is not among",
        ),
        (
            "config_sentence_transformers.json",
            {"model_type": "SparseEncoder"},
            "'SparseEncoder' is not supported",
        ),
    ],
)
def test_load_encoder_setting_that_is_not_computed_is_refused_by_name(tmp_path, file, changes, message):
    directory = edited(write_encoder(tmp_path / "m"), file, **changes)
    with pytest.raises(EncoderError, match=message):
        load_encoder(str(directory))


@pytest.mark.parametrize(
    ("kind", "path"),
    [
        ("sentence_transformers.models.Dense", "2_Dense"),
        ("sentence_transformers.models.Pooling", "1_Pooling"),
        ("custom_st.Normalize", "2_Normalize"),
        ("sentence_transformers.models.Normalize", "../other"),
    ],
)
def test_load_encoder_module_that_is_not_computed_is_refused_by_name(tmp_path, kind, path):
    directory = write_encoder(tmp_path / "m", normalize=False)
    modules = json.loads((directory / "modules.json").read_text())
    (directory / "modules.json").write_text(json.dumps([*modules, {"type": kind, "path": path}]))
    with pytest.raises(EncoderError, match=path if ".." in path else f"module '{kind}' is not supported"):
        load_encoder(str(directory))


@pytest.mark.parametrize("mode", ["mean", "cls", "lasttoken"])
def test_load_encoder_pooling_as_flag_text_or_list_is_the_same(tmp_path, mode):
    directory = write_encoder(tmp_path / "m", pooling=mode)
    expected = load_encoder(str(directory)).encode(TEXTS)
    for value in (mode, [mode]):
        (directory / POOLING).write_text(json.dumps({"embedding_dimension": 16, "pooling_mode": value}))
        np.testing.assert_array_equal(load_encoder(str(directory)).encode(TEXTS), expected)


def test_load_encoder_harmless_settings_change_nothing(tiny, tmp_path):
    directory = write_encoder(tmp_path / "m")
    edited(
        directory, "config.json", use_cache=True, torch_dtype="float16", pooler_type="first_token_transform"
    )
    edited(
        directory, "config_sentence_transformers.json", similarity_fn_name="cosine", prompts={"query": "a "}
    )
    edited(
        directory,
        "sentence_bert_config.json",
        transformer_task="feature-extraction",
        modality_config={"text": {"method": "forward", "method_output_name": "last_hidden_state"}},
        module_output_name="token_embeddings",
    )
    assert load_encoder(str(directory)).fingerprint == load_encoder(str(tiny)).fingerprint


@pytest.mark.parametrize("dtype", [ml_dtypes.bfloat16, np.float16, np.float64])
def test_load_encoder_reads_shards_and_weights_of_every_type(tmp_path, dtype):
    directory = write_encoder(tmp_path / "m", prefix="bert.")
    rounded = {name: t.astype(dtype) for name, t in load_file(directory / "model.safetensors").items()}
    save_file({name: t.astype(np.float32) for name, t in rounded.items()}, directory / "model.safetensors")
    expected = load_encoder(str(directory)).encode(TEXTS)
    (directory / "model.safetensors").unlink()
    names = sorted(rounded)
    shards = {"a.safetensors": names[:9], "b.safetensors": names[9:]}
    for file, part in shards.items():
        save_file({name: rounded[name] for name in part}, directory / file)
    index = {"weight_map": {name: file for file, part in shards.items() for name in part}}
    (directory / "model.safetensors.index.json").write_text(json.dumps(index))
    np.testing.assert_allclose(load_encoder(str(directory)).encode(TEXTS), expected, atol=1e-6)
    (directory / "b.safetensors").unlink()
    with pytest.raises(EncoderError, match=r"b\.safetensors does not exist"):
        load_encoder(str(directory))


def test_load_encoder_folder_of_the_transformer_and_old_names_are_read(tiny, tmp_path):
    directory = write_encoder(tmp_path / "m")
    old = {
        n.replace("Norm.weight", "Norm.gamma"): t
        for n, t in load_file(directory / "model.safetensors").items()
    }
    save_file(old, directory / "model.safetensors")
    (directory / "0_Transformer").mkdir()
    for file in ("config.json", "model.safetensors", "tokenizer.json", "sentence_bert_config.json"):
        (directory / file).rename(directory / "0_Transformer" / file)
    modules = json.loads((directory / "modules.json").read_text())
    modules[0]["path"] = "0_Transformer"
    (directory / "modules.json").write_text(json.dumps(modules))
    np.testing.assert_array_equal(
        load_encoder(str(directory)).encode(TEXTS), load_encoder(str(tiny)).encode(TEXTS)
    )


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ("<s> $A </s>", [0, 5, 6, 2]),
        ("$A </s>", [5, 6, 2]),
        ("<s> $A", [0, 5, 6]),
        ("<s> </s> $A", [0, 2, 5, 6]),
        (None, [5, 6]),
    ],
)
def test_windows_begin_and_end_as_the_post_processor_says(tmp_path, template, expected):
    directory = write_encoder(tmp_path / "m", family="mpnet", window=5)
    tokenizer = Tokenizer.from_file(str(directory / "tokenizer.json"))
    special = [(name, tokenizer.token_to_id(name)) for name in ("<s>", "</s>")]
    tokenizer.post_processor = (
        processors.TemplateProcessing(single=template, special_tokens=special)
        if template
        else processors.ByteLevel()
    )
    tokenizer.save(str(directory / "tokenizer.json"))
    encoder = load_encoder(str(directory))
    assert [MPNET[i] for i in encoder.windows(["the a"], 5)[0][0]] == [MPNET[i] for i in expected]
    long = encoder.windows(["the cat " * 9], 5)[0]
    assert {len(window) for window in long[:-1]} == {5}
    assert encoder.windows([""], 5) == [[[i for i in expected if i < 5]]]
    assert np.isfinite(encoder.encode(["", "the a"])).all()


def test_load_encoder_without_post_processor_takes_the_tokens_that_the_settings_name(tiny, tmp_path):
    directory = write_encoder(tmp_path / "m")
    content = json.loads((directory / "tokenizer.json").read_text())
    (directory / "tokenizer.json").write_text(json.dumps(content | {"post_processor": None}))
    plain = load_encoder(str(directory))
    assert plain.windows(["the"], 5) == [[[4]]]
    edited(directory, "tokenizer_config.json", cls_token="[CLS]", sep_token={"content": "[SEP]"})
    named = load_encoder(str(directory))
    assert named.windows(["the"], 5) == load_encoder(str(tiny)).windows(["the"], 5) == [[[2, 4, 3]]]
    assert named.fingerprint != plain.fingerprint


@pytest.mark.slow  # imports transformers
def test_load_encoder_vocabulary_file_without_tokenizer_json_reads_the_same(tiny, tmp_path):
    directory = write_encoder(tmp_path / "m")
    (directory / "tokenizer.json").unlink()
    (directory / "vocab.txt").write_text("\n".join(BERT) + "\n")
    texts = ["The CAT xyz sat!", ""]
    assert load_encoder(str(directory)).windows(texts, 12) == load_encoder(str(tiny)).windows(texts, 12)


def test_load_encoder_case_follows_every_file_that_says_it(tmp_path):
    def upper_equals_lower(directory):
        encoder = load_encoder(str(directory))
        return encoder.windows(["The Cat"], 12) == encoder.windows(["the cat"], 12)

    directory = write_encoder(tmp_path / "bert")
    assert upper_equals_lower(directory)
    assert not upper_equals_lower(edited(directory, "tokenizer_config.json", do_lower_case=False))
    assert upper_equals_lower(edited(directory, "sentence_bert_config.json", do_lower_case=True))
    directory = write_encoder(tmp_path / "roberta", family="roberta")
    assert not upper_equals_lower(directory)
    assert upper_equals_lower(edited(directory, "sentence_bert_config.json", do_lower_case=True))


def test_load_encoder_largest_number_of_tokens_is_the_smallest_that_a_file_says(tmp_path):
    directory = write_encoder(tmp_path / "m", family="xlm-roberta", window=100)
    assert load_encoder(str(directory)).max_tokens == 24  # positions 2 to 25
    (directory / "sentence_bert_config.json").unlink()
    assert (
        load_encoder(str(edited(directory, "tokenizer_config.json", model_max_length=1e30))).max_tokens == 24
    )
    assert load_encoder(str(edited(directory, "tokenizer_config.json", model_max_length=9))).max_tokens == 9


def test_prefix_is_put_before_every_text(tiny, tmp_path):
    plain = load_encoder(str(tiny))
    expected = plain.encode(["good the cat", "good"])
    given = load_encoder(str(tiny), prefix="good ")
    np.testing.assert_array_equal(given.encode(["the cat", ""]), expected)
    directory = write_encoder(tmp_path / "m")
    edited(
        directory,
        "config_sentence_transformers.json",
        default_prompt_name="q",
        prompts={"q": "good ", "d": "bad "},
    )
    own = load_encoder(str(directory))
    np.testing.assert_array_equal(own.encode(["the cat", ""]), expected)
    assert given.fingerprint == own.fingerprint != plain.fingerprint
    np.testing.assert_array_equal(
        load_encoder(str(directory), prefix="bad ").encode(["the cat"]), plain.encode(["bad the cat"])
    )
    edited(directory, POOLING, include_prompt=False)
    with pytest.raises(EncoderError, match="include_prompt"):
        load_encoder(str(directory))


def test_load_encoder_tokenizer_larger_than_the_embedding_is_refused(tmp_path):
    directory = write_encoder(tmp_path / "m")
    other = write_encoder(tmp_path / "other", family="roberta")
    (directory / "tokenizer.json").write_bytes((other / "tokenizer.json").read_bytes())
    with pytest.raises(EncoderError, match="ids up to 260, but the embedding has 18 rows"):
        load_encoder(str(directory))


def test_added_tokens_beyond_the_embedding_are_left_out_of_texts(tiny, tmp_path):
    directory = write_encoder(tmp_path / "m")
    tokenizer = Tokenizer.from_file(str(directory / "tokenizer.json"))
    tokenizer.add_special_tokens(["<image>"])
    assert tokenizer.token_to_id("<image>") == config_of("bert")["vocab_size"]
    tokenizer.save(str(directory / "tokenizer.json"))
    np.testing.assert_array_equal(
        load_encoder(str(directory)).encode(["the <image> cat"]), load_encoder(str(tiny)).encode(["the cat"])
    )


NASTY = (None, True, -1, 0, 1.5, 1e400, "x", [], [1], {"a": 1}, 10**30)


@pytest.mark.slow
def test_load_encoder_damaged_values_are_encoder_errors_or_harmless(tmp_path):
    directory = write_encoder(tmp_path / "m")
    edited(
        directory,
        "config_sentence_transformers.json",
        default_prompt_name="q",
        prompts={"q": "a"},
        model_type=None,
    )
    edited(directory, "tokenizer_config.json", model_max_length=8, do_lower_case=True)
    edited(directory, "sentence_bert_config.json", do_lower_case=True, modality_config=None)
    edited(directory, POOLING, pooling_mode="mean", include_prompt=True)
    (directory / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {}}))
    trees = {
        path: json.loads(path.read_text())
        for path in directory.rglob("*.json")
        if path.name != "tokenizer.json"
    }
    load_encoder(str(directory))
    raised = []
    for path, tree in trees.items():
        places = [(tree, key) for key in (tree if isinstance(tree, dict) else ())]
        if isinstance(tree, list):
            places = [(module, key) for module in tree for key in module]
        for place, key in places:
            kept = place[key]
            for value in NASTY:
                place[key] = value
                path.write_text(json.dumps(tree))
                try:
                    load_encoder(str(directory))
                except EncoderError as error:
                    raised.append(str(error))
            place[key] = kept
        path.write_text(json.dumps(tree))
    assert len(raised) > 150 and all(str(directory) in message for message in raised)
