"""multi2vec-clip's container: every golden answer of its own code, neighbours, broken images, modes and refusals."""

import io
import json
import pickle
import shutil
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from encoders.clip_inference import ClipInference
from encoders.clip_modes import mode_of, parts_of
from encoders.openclip import why_random
from schemas.errors import JobError
from schemas.job import VectorSpec
from schemas.models import ModelSpec
from tests.golden.clip_models import build, data, image, vectors

GROUPS = {
    "clip-openai": ("openai", {"name": "clip-tiny"}),
    "clip-st": ("sentence-transformers", {"name": "st-clip-tiny"}),
    "clip-st-textmodel": ("sentence-transformers", {"text": "st-text-tiny", "image": "st-clip-tiny"}),
    "clip-siglip": ("siglip", {"name": "siglip-tiny"}),
    "clip-openclip": ("openclip", {"name": "openclip-tiny"}),
}
CASES = [pytest.param(group, case, id=f"{group}/{case['id']}") for group in GROUPS for case in data()["groups"][group]]
TOLERANCE = 1e-5  # relative
few = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.set_num_threads(1)
    return build(tmp_path_factory.mktemp("clip-golden"))


@cache
def encoder(models: Path, group: str) -> ClipInference:
    return clip(models, GROUPS[group][1])


def clip(root: Path, model: dict, **spec: object) -> ClipInference:
    paths = {key: str(root / value) if key in ("name", "text", "image") else value for key, value in model.items()}
    return ClipInference(VectorSpec.model_validate({"model": {"device": "cpu", **paths}, **spec}))


def difference(got: np.ndarray, want: np.ndarray) -> float:
    """The worst relative difference of a row."""
    return float((np.linalg.norm(got - want, axis=1) / np.linalg.norm(want, axis=1)).max(initial=0))


def png(pixels: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def noise(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


@pytest.mark.parametrize(("group", "case"), CASES)
def test_every_golden_answer(models: Path, group: str, case: dict) -> None:
    found, errors = {}, []
    for modality, values in (("text", case["texts"]), ("image", [image(name) for name in case["images"]])):
        found[modality] = encoder(models, group).encode(values, modality, groups=np.zeros(len(values), np.int64))
        errors += [error.reason for error in found[modality].errors.values()]
    if "error" in case:
        assert case["error"].removesuffix(" <_io.BytesIO object at 0x?>") in errors
        return
    assert errors == []
    for modality, encoding in found.items():
        if len(encoding.vectors):
            assert encoding.vectors.dtype == np.float32
            assert difference(encoding.vectors, vectors(case[f"{modality}_vectors"], len(encoding.vectors))) <= TOLERANCE


objects = st.lists(st.lists(st.text("abc dogXÉ日.", max_size=40), max_size=4), min_size=1, max_size=8)


@pytest.mark.parametrize("group", GROUPS)
@few
@given(objects=objects)
def test_other_objects_change_no_text_vector(models: Path, group: str, objects: list[list[str]]) -> None:
    texts = [text for texts in objects for text in texts]
    owner = np.repeat(np.arange(len(objects)), [len(texts) for texts in objects])
    order = np.random.default_rng(len(texts)).permutation(len(texts))  # an object's texts need not stand together
    together = encoder(models, group).encode([texts[i] for i in order], "text", groups=owner[order])
    for number, of_object in enumerate(objects):
        alone = encoder(models, group).encode(of_object, "text", groups=np.zeros(len(of_object), np.int64))
        rows = together.vectors[np.argsort(order)][owner == number]
        assert alone.errors == {} and difference(rows, alone.vectors) <= TOLERANCE


@pytest.mark.parametrize("group", GROUPS)
@few
@given(sizes=st.lists(st.tuples(st.integers(4, 70), st.integers(1, 70)), min_size=1, max_size=14))
def test_other_images_change_no_image_vector(models: Path, group: str, sizes: list[tuple[int, int]]) -> None:
    files = [png(noise(height, width)) for height, width in sizes]
    together = encoder(models, group).encode(files, "image")
    one_by_one = [encoder(models, group).encode([file], "image").vectors[0] for file in files]
    assert together.errors == {} and difference(together.vectors, np.array(one_by_one)) <= TOLERANCE


def test_a_siglip_text_depends_on_longer_texts_of_its_own_object_only(models: Path) -> None:
    siglip = encoder(models, "clip-siglip")
    texts = ["dog", "a long text about a house and a river", "dog"]
    found = siglip.encode(texts, "text", groups=np.array([7, 7, 3])).vectors
    assert difference(found[2:], siglip.encode(["dog"], "text").vectors) <= TOLERANCE
    assert difference(found[:1], found[2:]) > 0.1


@pytest.mark.parametrize("group", GROUPS)
@settings(few, max_examples=60)
@given(
    junk=st.lists(st.binary(max_size=200) | st.binary(max_size=60).map(lambda tail: b"\x89PNG\r\n\x1a\n" + tail), min_size=1, max_size=15)
)
def test_random_bytes_are_row_errors_beside_good_images(models: Path, group: str, junk: list[bytes]) -> None:
    good = png(noise(20, 30))
    found = encoder(models, group).encode([*junk, good], "image")
    assert set(found.errors) == set(range(len(junk))) and {e.code for e in found.errors.values()} == {"image_unreadable"}
    assert np.isnan(found.vectors[:-1]).all() and np.isfinite(found.vectors[-1]).all()


@pytest.mark.parametrize("group", GROUPS)
@settings(few, max_examples=60)
@given(position=st.integers(0, 2**16), byte=st.integers(0, 255), cut=st.none() | st.integers(0, 2**16))
def test_a_damaged_image_is_a_vector_or_a_row_error(models: Path, group: str, position: int, byte: int, cut: int | None) -> None:
    file = bytearray(image("img:jpeg"))
    file[position % len(file)] = byte
    found = encoder(models, group).encode([bytes(file[: cut % len(file) if cut is not None else None])], "image")
    assert (0 in found.errors) == bool(np.isnan(found.vectors).all()) and (0 in found.errors or np.isfinite(found.vectors).all())


def test_bombs_and_hair_lines_are_refused_before_they_are_decoded(models: Path) -> None:
    large = io.BytesIO()
    Image.new("1", (20_000, 6_000)).save(large, "PNG")
    hair = png(np.zeros((2, 3000, 3), np.uint8))
    errors = encoder(models, "clip-openai").encode([large.getvalue(), hair], "image").errors
    assert [error.code for error in errors.values()] == ["image_too_large"] * 2
    assert "20000 x 6000" in errors[0].reason and "1000 times" in errors[1].reason


def test_an_image_three_pixels_high_is_read_as_its_own_channels(models: Path) -> None:
    pixels = noise(3, 20)
    as_channels = np.ascontiguousarray(pixels.transpose(1, 2, 0))  # 20 x 3 pixels
    found = encoder(models, "clip-st").encode([png(pixels), png(as_channels)], "image").vectors
    assert difference(found[:1], found[1:]) <= TOLERANCE
    other = encoder(models, "clip-openai").encode([png(pixels), png(as_channels)], "image").vectors
    assert difference(other[:1], other[1:]) > 0.1


def test_only_the_two_modes_that_say_so_normalise(models: Path) -> None:
    unit = {g: bool(np.isclose(np.linalg.norm(encoder(models, g).encode(["dog"], "text").vectors), 1)) for g in GROUPS}
    assert [group for group, is_unit in unit.items() if is_unit] == ["clip-openai", "clip-openclip"]


def test_what_is_cut_is_named_and_can_be_refused(models: Path) -> None:
    long, done = "cat " * 200, []
    for group in ("clip-st-textmodel", "clip-siglip", "clip-openclip"):
        assert encoder(models, group).encode(["dog", long, "cat"], "text").truncated == [1]
        refusing = clip(models, GROUPS[group][1], long_text="fail")
        found = refusing.encode(["dog", long, "cat"], "text", progress=done.append)
        assert found.errors[1].code == "text_too_long" and found.truncated == [] and refusing.max_tokens is not None
    assert sum(done) == 9


def test_open_clip_counts_a_text_of_exactly_its_length_as_whole(models: Path) -> None:
    openclip = encoder(models, "clip-openclip")
    assert openclip.encode(["cat " * 75, "cat " * 76], "text").truncated == [1]


def test_a_text_model_strips_texts_and_puts_its_own_default_prompt_before_them(models: Path, tmp_path: Path) -> None:
    plain = encoder(models, "clip-st-textmodel")
    shutil.copytree(models / "st-text-tiny", tmp_path / "prompted")
    file = tmp_path / "prompted" / "config_sentence_transformers.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"prompts": {"q": "search: "}, "default_prompt_name": "q"}))
    found = clip(tmp_path, {"text": "prompted"}).encode(["dog "], "text").vectors
    assert difference(found, plain.encode(["search: dog"], "text").vectors) <= TOLERANCE
    assert difference(found, plain.encode(["dog"], "text").vectors) > 0.01


def test_no_value_gives_no_vector_and_progress_counts_each(models: Path) -> None:
    done: list[int] = []
    openai = encoder(models, "clip-openai")
    assert openai.encode([], "text").vectors.shape == openai.encode([], "image").vectors.shape == (0, 24)
    openai.encode(["dog", "cat " * 100, "a"], "text", progress=done.append)
    openai.encode([png(noise(9, 9)), b""] * 10, "image", progress=done.append)
    assert sum(done) == 23


def test_a_worker_gets_the_spec_and_loads_for_itself(models: Path) -> None:
    loaded = encoder(models, "clip-openai")
    want = loaded.encode(["dog"], "text").vectors
    copy = pickle.loads(pickle.dumps(loaded))
    assert len(pickle.dumps(loaded)) < 3000 and copy._halves == {}
    assert np.array_equal(copy.encode(["dog"], "text", role="query").vectors, want)


def folder_of_image(root: Path, **parts: Path) -> Path:
    for name, source in parts.items():
        shutil.copytree(source, root / "models" / name)
    return root


def test_folders_taken_out_of_images(models: Path, tmp_path: Path) -> None:
    tiny = {name: models / name for name in ("clip-tiny", "st-clip-tiny", "st-text-tiny", "siglip-tiny")}
    openai = folder_of_image(tmp_path / "a", openai_clip=tiny["clip-tiny"], openai_clip_processor=tiny["clip-tiny"])
    (openai / "models" / "openai_clip" / "preprocessor_config.json").unlink()
    pair = folder_of_image(tmp_path / "b", clip=tiny["st-clip-tiny"], text=tiny["st-text-tiny"])
    siglip = folder_of_image(tmp_path / "c", siglip=tiny["siglip-tiny"])
    snapshot = siglip / "models" / "siglip" / "models--google--tiny" / "snapshots" / "abc"
    snapshot.mkdir(parents=True)
    for file in ("preprocessor_config.json", "spiece.model", "tokenizer_config.json", "special_tokens_map.json"):
        shutil.move(siglip / "models" / "siglip" / file, snapshot)
    (snapshot / "config.json").write_text((models / "siglip-tiny" / "config.json").read_text())
    for root, group in ((openai, "clip-openai"), (pair / "models", "clip-st-textmodel"), (siglip, "clip-siglip")):
        found = clip(root, {"name": ""})
        assert mode_of(found.spec.model) == GROUPS[group][0]
        for values, modality in ((["dog", "cat"], "text"), ([image("img:noise")], "image")):
            assert np.array_equal(found.encode(values, modality).vectors, encoder(models, group).encode(values, modality).vectors)


def test_a_prebuilt_image_whose_model_lies_in_a_folder_has_the_image_s_mode(models: Path) -> None:
    named = {"prebuilt": "multi2vec-clip:openai-clip-vit-base-patch16", "name": str(models / "st-clip-tiny")}
    assert mode_of(ModelSpec.model_validate(named)) == "openai"
    assert mode_of(ModelSpec(name=str(models / "st-clip-tiny"))) == "sentence-transformers"


def test_the_openclip_folder_of_an_image(models: Path, tmp_path: Path) -> None:
    import open_clip

    open_clip.add_model_config(models / "openclip-tiny" / "ViT-tiny-golden.json")
    folder = tmp_path / "openclip"
    folder.mkdir()
    weights = str(models / "openclip-tiny" / "open_clip_model.safetensors")
    (folder / "config.json").write_text(
        json.dumps({"model_name": "ViT-tiny-golden", "pretrained": weights, "cache_dir": "./models/openclip"})
    )
    found = clip(tmp_path, {"name": ""})
    assert found.parts.pretrained == weights and found.parts.mode == "openclip"
    assert np.array_equal(found.encode(["dog"], "text").vectors, encoder(models, "clip-openclip").encode(["dog"], "text").vectors)


@pytest.mark.parametrize(
    ("model", "mode", "text", "image"),
    [
        ({"name": "openai/clip-vit-base-patch16"}, "openai", "openai/clip-vit-base-patch16", "openai/clip-vit-base-patch16"),
        ({"name": "facebook/metaclip-b32-400m"}, "openai", "facebook/metaclip-b32-400m", "facebook/metaclip-b32-400m"),
        ({"name": "google/siglip-base-patch16-224"}, "siglip", "google/siglip-base-patch16-224", "google/siglip-base-patch16-224"),
        ({"name": "owner/anything"}, "sentence-transformers", "owner/anything", "owner/anything"),
        ({"name": "owner/anything", "mode": "openclip"}, "openclip", "owner/anything", "owner/anything"),
        (
            {"prebuilt": "multi2vec-clip:sentence-transformers-clip-ViT-B-32-multilingual-v1"},
            "sentence-transformers",
            "sentence-transformers/clip-ViT-B-32-multilingual-v1",
            "clip-ViT-B-32",
        ),
        ({"prebuilt": "multi2vec-clip:ViT-B-16-laion2b_s34b_b88k"}, "openclip", "ViT-B-16", "ViT-B-16"),
    ],
)
def test_the_mode_of_a_name(model: dict, mode: str, text: str, image: str) -> None:
    parts = parts_of(ModelSpec.model_validate(model))
    assert (parts.mode, parts.text, parts.image) == (mode, text, image)


def test_faults_of_a_job_are_named(models: Path, tmp_path: Path) -> None:
    (tmp_path / "colpali" / "colpali_engine_model").mkdir(parents=True)
    (tmp_path / "bert").mkdir()
    (tmp_path / "bert" / "config.json").write_text('{"model_type": "bert"}')
    folder_of_image(tmp_path / "a", openai_clip=models / "clip-tiny")
    for model, words in (
        ({"prebuilt": "multi2vec-clip:ModernVBERT-modernvbert-embed"}, "colpali.*inference_url"),
        ({"name": str(tmp_path / "colpali")}, "colpali"),
        ({"name": str(tmp_path / "none")}, "none.*missing"),
        ({"name": str(tmp_path / "bert")}, "type 'bert'"),
        ({"name": str(tmp_path)}, "no model"),
        ({"name": str(tmp_path / "a"), "mode": "siglip"}, "mode openai.*'siglip'"),
        ({"name": "sentence-transformers/all-MiniLM-L6-v2", "mode": "huggingface"}, "huggingface"),
        ({"prebuilt": "transformers-inference:sentence-transformers-all-MiniLM-L6-v2"}, "no prebuilt image of multi2vec-clip"),
        ({"text": "a", "image": "b", "mode": "openai"}, "pair"),
    ):
        with pytest.raises(JobError, match=words):
            mode_of(ModelSpec.model_validate(model))
    for spec in ({"model": {"name": "x", "dimensions": 3}}, {"model": "x", "prompts": {"query": "q"}}, {"model": "x", "long_text": "mean"}):
        with pytest.raises(JobError, match="multi2vec-clip"):
            ClipInference(VectorSpec.model_validate(spec))


def test_a_part_that_is_not_there_is_asked_for(models: Path) -> None:
    only_text = clip(models, {"text": "st-text-tiny"})
    assert only_text.modalities == {"text"} and only_text.max_tokens == 24
    with pytest.raises(JobError, match="no part for image"):
        only_text.encode([b""], "image")
    with pytest.raises(JobError, match="takes text only"):
        clip(models, {"name": "st-text-tiny"}).encode(["a"], "text")
    with pytest.raises(JobError, match="cannot be loaded"):
        clip(models, {"name": "siglip-tiny", "mode": "openclip"}).encode(["a"], "text")


TINY_TEXT = {"context_length": 77, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1}


@pytest.mark.parametrize(
    ("vision", "reason"),
    [
        ({"image_size": 32, "layers": [1, 1, 1, 1], "width": 8, "patch_size": None}, "statistics of the batch"),
        ({"image_size": 32, "layers": 1, "width": 16, "head_width": 8, "patch_size": 8, "patch_dropout": 0.5}, "drops at random"),
    ],
)
def test_an_openclip_model_whose_answers_vary_is_refused(tmp_path: Path, vision: dict, reason: str) -> None:
    import open_clip
    from safetensors.torch import save_file

    config = {"embed_dim": 16, "vision_cfg": vision, "text_cfg": TINY_TEXT}
    (tmp_path / "open_clip_config.json").write_text(json.dumps({"model_cfg": config, "preprocess_cfg": {}}))
    state = {key: value.contiguous() for key, value in open_clip.CLIP(**config).state_dict().items()}
    save_file(state, tmp_path / "open_clip_model.safetensors")
    with pytest.raises(JobError, match=f"cannot be repeated.*{reason}"):
        _ = clip(tmp_path, {"name": ""}).dim


def test_stochastic_depth_is_seen_in_training_mode_only() -> None:
    import timm

    model = timm.create_model("convnext_atto", drop_path_rate=0.1)
    assert "DropPath" in (why_random(model) or "") and why_random(model.eval()) is None


@pytest.mark.parametrize("model", [{"imagebind": "x.pth"}, {"passage": "p", "query": "q"}])
def test_a_model_of_another_kind_is_refused(model: dict) -> None:
    with pytest.raises(JobError, match="needs a CLIP model"):
        ClipInference(VectorSpec.model_validate({"model": model}))
