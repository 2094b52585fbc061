"""CLIP: the three forms against sentence-transformers and transformers themselves, long texts, broken images, faults."""

import io
import json
import pickle
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from encoders.clip import ClipEncoder
from examples import shapes
from schemas.errors import JobError, RowError
from schemas.models import ModelSpec
from tests.encoders.tiny_models import tiny_clip, tiny_sentence_clip, tiny_text_model

TEXTS = ["a red circle", "", "the green square of a picture", "circle", "the picture " * 5]
LONG = "red circle the green square of a picture " * 20


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the tiny models hf, st, text and narrow (12 dimensions instead of 16)."""
    torch.set_num_threads(1)
    root = tmp_path_factory.mktemp("models")
    tiny_clip(root / "hf", seed=1)
    tiny_clip(root / "half", seed=1, dtype="float16")
    tiny_sentence_clip(root / "st", seed=2)
    tiny_text_model(root / "text", seed=3)
    tiny_sentence_clip(root / "narrow", seed=4, dim=12)
    return root


def clip(models: Path, *, prompts: dict | None = None, long_text: str = "truncate", **spec: object) -> ClipEncoder:
    paths = {k: str(models / v) if k in ("name", "text", "image") else v for k, v in spec.items()}
    return ClipEncoder(ModelSpec.model_validate({"device": "cpu", **paths}), prompts or {}, long_text)


def pictures(n: int) -> list[Image.Image]:
    rng = np.random.default_rng(0)
    return [Image.fromarray(rng.integers(0, 256, (30 + i, 40, 3), dtype=np.uint8)) for i in range(n)]


def png(image: Image.Image) -> bytes:
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


def sentence_transformer(folder: Path):
    from sentence_transformers import SentenceTransformer
    from transformers import AutoImageProcessor

    model = SentenceTransformer(str(folder), device="cpu", model_kwargs={"dtype": "float32"})
    if "image" in model.modalities:  # where torchvision is installed, the library takes it
        model[0].processor.image_processor = AutoImageProcessor.from_pretrained(folder, backend="pil")
    return model


def close(got: np.ndarray, want: np.ndarray) -> bool:
    return got.shape == want.shape and got.dtype == np.float32 and np.allclose(got, want, rtol=1e-4, atol=1e-5)


def test_a_sentence_transformers_clip_gives_its_own_vectors(models: Path) -> None:
    encoder, own = clip(models, name="st"), sentence_transformer(models / "st")
    texts, images = encoder.encode(TEXTS, "text"), encoder.encode([png(p) for p in pictures(20)], "image")
    assert (encoder.dim, encoder.max_tokens, encoder.modalities) == (16, 77, {"text", "image"})
    assert close(texts.vectors, own.encode(TEXTS)) and close(images.vectors, own.encode(pictures(20)))
    assert texts.errors == images.errors == {} and texts.truncated == []
    assert texts.tokens == sum(len(i) for i in own.tokenizer(TEXTS)["input_ids"]) <= texts.padded


def test_a_hugging_face_clip_gives_the_projected_features(models: Path) -> None:
    from transformers import AutoProcessor, CLIPModel

    model, processor = CLIPModel.from_pretrained(models / "hf").eval(), AutoProcessor.from_pretrained(models / "hf", backend="pil")
    with torch.inference_mode():
        texts = model.get_text_features(**processor(text=TEXTS, padding=True, return_tensors="pt")).pooler_output
        images = model.get_image_features(**processor(images=pictures(20), return_tensors="pt")).pooler_output
    encoder = clip(models, name="hf")
    assert close(encoder.encode(TEXTS, "text").vectors, texts.numpy())
    assert close(encoder.encode([png(p) for p in pictures(20)], "image").vectors, images.numpy())


def test_a_pair_takes_texts_from_one_model_and_images_from_the_other(models: Path) -> None:
    encoder = clip(models, text="text", image="st")
    fitting = [*TEXTS[:-1], "picture"]
    assert close(encoder.encode(fitting, "text").vectors, sentence_transformer(models / "text").encode(fitting))
    assert close(encoder.encode([png(pictures(1)[0])], "image").vectors, sentence_transformer(models / "st").encode(pictures(1)))
    assert encoder.max_tokens == 24


def test_half_a_pair_is_enough(models: Path) -> None:
    encoder = clip(models, image="st")
    assert encoder.modalities == {"image"} and encoder.max_tokens is None
    with pytest.raises(JobError, match="no part for text, only for image"):
        encoder.encode(["red"], "text")


def test_a_checkpoint_is_loaded_in_the_asked_dtype(models: Path) -> None:
    encoder = clip(models, name="half")
    assert encoder.towers["text"].model.dtype == torch.float32


def test_dimensions_keep_the_first_as_sentence_transformers_does(models: Path) -> None:
    own = sentence_transformer(models / "st")
    encoder = clip(models, name="st", dimensions=5)
    assert encoder.dim == 5
    assert close(encoder.encode(TEXTS, "text").vectors, own.encode(TEXTS, truncate_dim=5))


@pytest.mark.parametrize("folder", ["st", "hf", "text"])
def test_prompts_stand_before_texts_by_role(models: Path, folder: str) -> None:
    plain = clip(models, text=folder)
    prompted = clip(models, text=folder, prompts={"query": "a picture of "})
    want = plain.encode(["a picture of red"], "text").vectors
    assert close(prompted.encode(["red"], "text", role="query").vectors, want)
    assert close(prompted.encode(["red"], "text").vectors, plain.encode(["red"], "text").vectors)


@pytest.mark.parametrize("folder", ["st", "hf", "text"])
def test_a_long_text_is_cut_before_the_end_token_and_named(models: Path, folder: str) -> None:
    encoder = clip(models, text=folder)
    result, tokenizer = encoder.encode(["red", LONG, "a"], "text"), encoder.towers["text"].tokenizer
    limit = encoder.max_tokens
    kept = tokenizer(LONG, add_special_tokens=False)["input_ids"][: limit - 2]
    assert result.truncated == [1] and result.errors == {} and result.tokens == 3 + limit + 3
    assert close(result.vectors[1:2], encoder.encode([tokenizer.decode(kept)], "text").vectors)
    if folder != "hf":
        assert close(result.vectors, sentence_transformer(models / folder).encode(["red", LONG, "a"]))


def test_the_models_positions_limit_a_tokenizer_that_names_no_limit(models: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(models / "st", tmp_path / "st"))
    config = json.loads((folder / "tokenizer_config.json").read_text())
    del config["model_max_length"]
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    with pytest.raises((RuntimeError, ValueError, IndexError)):
        sentence_transformer(folder).encode([LONG])  # by itself it fails
    result = clip(tmp_path, name="st").encode([LONG], "text")
    assert result.truncated == [0] and close(result.vectors, clip(models, name="st").encode([LONG], "text").vectors)


def test_a_long_text_can_be_an_error(models: Path) -> None:
    done: list[int] = []
    result = clip(models, name="hf", long_text="fail").encode(["red", LONG, "a"], "text", progress=done.append)
    assert list(result.errors) == [1] and isinstance(result.errors[1], RowError)
    assert str(result.errors[1]) == "text_too_long: 162 tokens, but the model takes 77"
    assert np.isnan(result.vectors[1]).all() and np.isfinite(result.vectors[[0, 2]]).all()
    assert sum(done) == 3 and result.truncated == []


@pytest.mark.parametrize("folder", ["st", "text"])
def test_a_long_text_can_be_the_mean_of_its_windows(models: Path, folder: str) -> None:
    done: list[int] = []
    encoder = clip(models, text=folder, long_text="mean")
    result, tokenizer = encoder.encode(["red", LONG], "text", progress=done.append), encoder.towers["text"].tokenizer
    ids, room = tokenizer(LONG, add_special_tokens=False)["input_ids"], encoder.max_tokens - 2
    windows = [tokenizer.decode(ids[i : i + room]) for i in range(0, len(ids), room)]
    want = encoder.encode(windows, "text").vectors.mean(axis=0)
    assert len(windows) > 2 and np.allclose(result.vectors[1], want, rtol=1e-4, atol=1e-5)
    assert close(result.vectors[:1], encoder.encode(["red"], "text").vectors)
    assert sum(done) == 2 and result.truncated == [] and result.errors == {}


def test_broken_images_are_named_and_the_others_encoded(models: Path) -> None:
    files, done = [png(p) for p in pictures(20)], []
    want = clip(models, name="hf").encode(files, "image").vectors
    files[3], files[17] = b"", files[17][:60]
    result = clip(models, name="hf").encode(files, "image", progress=done.append)
    assert {i: e.code for i, e in result.errors.items()} == {3: "image_unreadable", 17: "image_unreadable"}
    assert np.isnan(result.vectors[[3, 17]]).all()
    good = [i for i in range(20) if i not in (3, 17)]
    assert close(result.vectors[good], want[good]) and sum(done) == 20


def test_only_broken_images_and_nothing_at_all(models: Path) -> None:
    encoder = clip(models, name="st")
    assert np.isnan(encoder.encode([b"x", b""], "image").vectors).all()
    assert encoder.encode([], "text").vectors.shape == encoder.encode([], "image").vectors.shape == (0, 16)


def test_texts_in_any_order_and_number_give_the_same_vectors(models: Path) -> None:
    texts = [" ".join(["red", "circle", "of", "a", "picture"][: 1 + i % 5]) + " x" * (i % 30) for i in range(150)]
    encoder, order = clip(models, name="hf"), np.random.default_rng(1).permutation(150)
    vectors = encoder.encode(texts, "text").vectors
    assert close(encoder.encode([texts[i] for i in order], "text").vectors, vectors[order])
    assert close(vectors[:3], np.vstack([encoder.encode([t], "text").vectors for t in texts[:3]]))


def test_it_travels_unloaded_and_loads_once_in_threads(models: Path) -> None:
    encoder = clip(models, name="st", long_text="mean", prompts={"query": "a "})
    assert encoder._towers == {}
    copy = pickle.loads(pickle.dumps(encoder))
    with ThreadPoolExecutor(8) as pool:
        towers = list(pool.map(lambda _: copy.towers["image"], range(8)))
    assert all(tower is towers[0] for tower in towers) and encoder._towers == {}
    assert (copy.long_text, copy.prompts) == ("mean", {"query": "a "})
    assert pickle.loads(pickle.dumps(copy))._towers == {}


def test_faults_name_the_path_and_what_was_expected(models: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "bert").mkdir()
    (tmp_path / "bert" / "config.json").write_text('{"model_type": "bert"}')
    shutil.copytree(models / "hf", tmp_path / "weightless", ignore=shutil.ignore_patterns("*.safetensors"))
    faults = {"missing": "is missing", "empty": "is no model", "bert": "of type 'bert'", "weightless": "cannot be loaded"}
    for name, words in faults.items():
        with pytest.raises(JobError, match=words) as error:
            clip(tmp_path, name=name).encode(["a"], "text")
        assert str(tmp_path / name) in str(error.value) and "modules.json" in str(error.value)


def test_models_that_do_not_fit_together_are_refused(models: Path) -> None:
    with pytest.raises(JobError, match=r"text' gives 16 and .*narrow' gives 12"):
        _ = clip(models, text="text", image="narrow", dimensions=8).dim
    with pytest.raises(JobError, match="takes text only; give one that takes image"):
        _ = clip(models, text="st", image="text").dim


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The pictures example with hardly any training."""
    out = tmp_path_factory.mktemp("shapes")
    shapes.main(out, steps=3)
    return out


def test_the_pictures_example_leaves_a_model_and_pictures(drawn: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = pq.read_table(drawn / "shapes.parquet").to_pylist()
    assert len({row["id"] for row in rows}) == len(rows) == 600 and rows[0]["caption"] == "a red circle"
    files = [row["image"] for row in rows[:20]]
    encoder = ClipEncoder(ModelSpec(name=str(drawn / "model"), device="cpu"), {}, "truncate")
    images = [Image.open(io.BytesIO(f)) for f in files]
    assert close(encoder.encode(files, "image").vectors, sentence_transformer(drawn / "model").encode(images))
    shapes.main(drawn, steps=3)
    assert "Everything is there already" in capsys.readouterr().out


def test_the_rule_made_tokenizer_has_one_token_for_each_word() -> None:
    ids = shapes.word_tokenizer(shapes.WORDS)(list(shapes.WORDS), add_special_tokens=False)["input_ids"]
    assert [len(i) for i in ids] == [1] * len(shapes.WORDS)


def test_training_lets_words_find_pictures() -> None:
    model, processor = shapes.train(120, seed=7)
    held_out = shapes.draw_all(2, shapes.random.Random(8))
    inputs = processor(text=[p.caption() for p in held_out[:40]], images=[p.image for p in held_out], return_tensors="pt", padding=True)
    with torch.inference_mode():
        nearest = model(**inputs).logits_per_text.argmax(1).tolist()
    right = [held_out[i].colour == held_out[n].colour for i, n in enumerate(nearest)]
    assert np.mean(right) > 0.5  # one in eight by chance; colours come first, shapes after some hundred batches
