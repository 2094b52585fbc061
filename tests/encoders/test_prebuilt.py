import pytest

from encoders.prebuilt import Image, prebuilt_image, prebuilt_images
from schemas.errors import JobError

T, C = "transformers-inference", "multi2vec-clip"


def found(text: str) -> Image:
    image = prebuilt_image(text)
    assert image is not None, text
    return image


def test_each_image_is_found_by_its_reference_with_every_prefix_and_suffix() -> None:
    for image in prebuilt_images():
        for prefix in ("", "semitechnologies/", "cr.weaviate.io/semitechnologies/", "localhost:5000/a/b/"):
            for suffix in ("", "-latest", "-99.0.0", "-v99.0.0"):
                assert found(f"{prefix}{image.image}:{image.tag}{suffix}") == image
        assert found(image.tag).tag == image.tag


def test_no_tag_stands_twice() -> None:
    tags = [(i.image, i.tag.lower()) for i in prebuilt_images()]
    assert len(set(tags)) == len(tags) > 60


@pytest.mark.parametrize(
    ("tag", "model", "mode"),
    [
        (f"{T}:sentence-transformers-all-MiniLM-L6-v2", "sentence-transformers/all-MiniLM-L6-v2", "huggingface"),
        (f"{T}:sentence-transformers-all-MiniLM-L6-v2-onnx", "sentence-transformers/all-MiniLM-L6-v2", "onnx"),
        (f"{T}:sentence-transformers-all-MiniLM-L6-v2-onnx-1.9.7", "sentence-transformers/all-MiniLM-L6-v2", "onnx"),
        (f"{T}:sentence-transformers-all-mpnet-base-v2", "sentence-transformers/all-mpnet-base-v2", "sentence-transformers"),
        (f"{T}:sentence-transformers-gtr-t5-large", "sentence-transformers/gtr-t5-large", "sentence-transformers"),
        (f"{T}:google-flan-t5-base", "google/flan-t5-base", "sentence-transformers"),
        (f"{T}:snowflake-snowflake-arctic-embed-m-v1.5", "Snowflake/snowflake-arctic-embed-m-v1.5", "huggingface"),
        (f"{T}:snowflake-snowflake-arctic-embed-m-v1.5-onnx-latest", "Snowflake/snowflake-arctic-embed-m-v1.5", "onnx"),
        (f"{T}:baai-bge-m3-onnx", "BAAI/bge-m3", "onnx"),
        (f"{T}:eurobert-eurobert-2.1b", "EuroBERT/EuroBERT-2.1B", "huggingface"),
        (f"{T}:intfloat-multilingual-e5-large", "intfloat/multilingual-e5-large", "sentence-transformers"),
        (f"{T}:qwen-qwen3-embedding-0.6b", "Qwen/Qwen3-Embedding-0.6B", "sentence-transformers"),
        (f"{T}:google-gemma-3-300m-embedding", "google/embeddinggemma-300m", "sentence-transformers"),
        (f"{T}:minishlab-potion-base-8M", "minishlab/potion-base-8M", "sentence-transformers"),
        (f"{C}:openai-clip-vit-base-patch16", "openai/clip-vit-base-patch16", "openai"),
        (f"{C}:google-siglip2-so400m-patch16-512-1.4.0", "google/siglip2-so400m-patch16-512", "siglip"),
        (f"{C}:facebook-metaclip-2-worldwide-b32-384", "facebook/metaclip-2-worldwide-b32-384", "openai"),
        (f"{C}:ModernVBERT-modernvbert-embed", "ModernVBERT/modernvbert-embed", "colpali"),
    ],
)
def test_a_tag_names_model_and_mode(tag: str, model: str, mode: str) -> None:
    image = found(tag)
    assert (image.model, image.mode) == (model, mode)


@pytest.mark.parametrize(
    ("tag", "mode"),
    [
        ("sentence-transformers-all-mpnet-base-v2-1.9.7", "huggingface"),
        ("sentence-transformers-all-mpnet-base-v2-1.10.0", "sentence-transformers"),
        ("mixedbread-ai-mxbai-embed-large-v1-1.9.2", "huggingface"),
        ("mixedbread-ai-mxbai-embed-large-v1-1.9.3", "sentence-transformers"),
        ("mixedbread-ai-mxbai-embed-large-v1-onnx-1.9.2", "onnx"),
    ],
)
def test_an_old_version_has_the_mode_that_it_was_built_with(tag: str, mode: str) -> None:
    assert found(f"{T}:{tag}").mode == mode


def test_a_hub_name_gives_the_image_that_is_not_onnx() -> None:
    for name in {i.model for i in prebuilt_images() if i.image == T and i.mode != "onnx"}:
        image = found(name)
        assert image.model == name and image.mode != "onnx"
    assert found("all-MiniLM-L6-v2").model == "sentence-transformers/all-MiniLM-L6-v2"
    assert prebuilt_image("BAAI/bge-m3") is None  # only an ONNX image: a container of one's own runs it otherwise
    assert prebuilt_image("someone/else") is None
    assert prebuilt_image("/models/all-MiniLM-L6-v2") is None


def test_pairs_name_both_halves() -> None:
    passage, query = found(f"{T}:facebook-dpr-ctx_encoder-single-nq-base"), found(f"{T}:facebook-dpr-question_encoder-single-nq-base")
    assert (passage.query_model, query.passage_model) == (query.model, passage.model)
    clip = found(f"{C}:sentence-transformers-clip-ViT-B-32-multilingual-v1")
    assert (clip.model, clip.text_model) == ("clip-ViT-B-32", "sentence-transformers/clip-ViT-B-32-multilingual-v1")
    assert found("clip-ViT-B-32").text_model == "clip-ViT-B-32"
    assert found("sentence-transformers/clip-ViT-B-32-multilingual-v1") == clip
    assert found(f"{C}:ViT-B-16-laion2b_s34b_b88k").pretrained == "laion2b_s34b_b88k"


@pytest.mark.parametrize(
    ("tag", "said"),
    [
        (f"{T}:sentence-transformers-all-MiniLM-L7-v2", "sentence-transformers-all-MiniLM-L6-v2"),
        (f"{T}:snowflake-arctic-embed-xs-1.9.7", "snowflake-snowflake-arctic-embed-xs"),
        (f"{C}:openai-clip-vit-base-patch32", "openai-clip-vit-base-patch16"),
        (f"{C}:sentence-transformers-all-MiniLM-L6-v2", "sentence-transformers-clip-ViT-B-32"),
        (f"{T}:custom", "carries no model"),
    ],
)
def test_an_unknown_tag_is_refused_with_tags_like_it(tag: str, said: str) -> None:
    with pytest.raises(JobError) as error:
        prebuilt_image(tag)
    assert said in str(error.value) and tag in str(error.value)
