"""The models of a job as types: a folder or hub name, a pair, a container that runs, a service."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

SECRET = re.compile(r"^\$\{[A-Za-z_][A-Za-z0-9_]*\}$")


class Part(BaseModel):
    """A frozen piece of the job that refuses keys it does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)


def _secret(value: Any) -> Any:
    """Refuse a secret written out: the job carries only the name of an environment variable."""
    if value is not None and not (isinstance(value, str) and SECRET.match(value)):
        raise ValueError("a secret is never written into a job: give the name of an environment variable, as in ${WEAVIATE_API_KEY}")
    return value


Secret = Annotated[str | None, BeforeValidator(_secret)]
SecretMap = dict[str, Annotated[str, BeforeValidator(_secret)]]


class NvidiaSpec(Part):
    """NVIDIA's embedding service; model and base URL come from the collection unless the job names them."""

    api_key: Secret = Field(
        "${NVIDIA_APIKEY}", description="${NAME} of the environment variable that holds the key.", validate_default=True
    )
    model: str | None = Field(None, description="The service's name of the model, such as nvidia/nvclip.")
    base_url: str | None = Field(None, description="Where the service answers; absent, NVIDIA's own address.")
    requests_per_minute: float | None = Field(None, gt=0, description="A ceiling that the account has.")


class InferenceSpec(Part):
    """Weaviate's inference containers that already run: one for everything, or one for objects and one for queries."""

    url: str | None = Field(None, description="The container's address: what `inferenceUrl` is to Weaviate.")
    passage_url: str | None = Field(None, description="The container for objects.")
    query_url: str | None = Field(None, description="The container for queries.")
    token: Secret = Field(None, description="${NAME} of a bearer token, where the container asks for one.")
    concurrency: int = Field(8, ge=1, description="Requests in flight at a time.")

    @model_validator(mode="after")
    def _one_or_two(self) -> InferenceSpec:
        pair = (self.passage_url, self.query_url)
        if (self.url is None) == (None in pair) or (self.url is not None and any(pair)):
            raise ValueError("name either `url`, or both `passage_url` and `query_url`")
        return self


def _inference(value: Any) -> Any:
    return {"url": value} if isinstance(value, str) else value


class ModelSpec(Part):
    """A model: one for everything, one for texts and one for images that share a space, or one for objects and one for queries."""

    name: str | None = Field(None, description="A folder or a hub name.")
    text: str | None = Field(None, description="The folder or name for texts.")
    image: str | None = Field(None, description="The folder or name for images.")
    passage: str | None = Field(None, description="The folder or name for objects (DPR), beside `query`.")
    query: str | None = Field(None, description="The folder or name for queries (DPR), beside `passage`.")
    prebuilt: str | None = Field(
        None,
        description="A prebuilt image of Weaviate's, `transformers-inference:<tag>` or `multi2vec-clip:<tag>`; `name` may say where its model lies.",
    )
    inference_url: Annotated[InferenceSpec, BeforeValidator(_inference)] | None = Field(
        None, description="An inference container that runs: its URL, or {passage_url, query_url}."
    )
    nvidia: NvidiaSpec | None = Field(None, description="NVIDIA's service: {} or {api_key, model, base_url}.")
    imagebind: str | None = Field(
        None, description="ImageBind's checkpoint: a .pth or .safetensors file, or a folder with model.safetensors and config.json."
    )
    preset: Literal["upstream", "container"] | None = Field(
        None,
        description="ImageBind's preprocessing: the original's, or that of Weaviate's container; absent, the container's for a module's vector.",
    )
    vocabulary: str | None = Field(
        None,
        description="ImageBind's text vocabulary: bpe_simple_vocab_16e6.txt.gz or a CLIP tokenizer folder; absent, the package open-clip-torch has it.",
    )
    fake: int | None = Field(None, ge=1, description="Made-up vectors of this dimension, for trying a pipeline without a model.")
    mode: Literal["huggingface", "sentence-transformers", "onnx", "openai", "openclip", "siglip"] | None = Field(
        None, description="How Weaviate's container runs the model; absent, as the container would choose for this folder or name."
    )
    direct: bool = Field(False, description="No sentence splitting in the huggingface mode (T2V_TRANSFORMERS_DIRECT_TOKENIZE).")
    prefixes: bool = Field(False, description="`passage: ` and `query: ` before texts (USE_QUERY_PASSAGE_PREFIXES).")
    revision: str | None = Field(None, description="The hub commit, tag or branch.")
    dtype: Literal["float32", "float16", "bfloat16", "int8"] = Field(
        "float32", description="The precision of weights and arithmetic; int8 is for text models on a CPU, through OpenVINO."
    )
    backend: Literal["auto", "torch", "openvino"] = Field(
        "auto", description="What computes a text model on a CPU; `auto` is the fastest here that gives the same vectors."
    )
    image_decoding: Literal["exact", "reduced"] = Field(
        "exact", description="`reduced` decodes large JPEGs at a half, a quarter or an eighth, for a CLIP whose vectors no module makes."
    )
    batch_tokens: int | None = Field(
        None, ge=1, description="Tokens that a text model computes at a time, padding included; absent, what is fastest here."
    )
    dimensions: int | None = Field(None, ge=1, description="Keep only the first so many dimensions (Matryoshka models).")
    device: str | None = Field(None, description="cpu, cuda, cuda:1; absent, the GPU if there is one.")
    trust_remote_code: bool = Field(False, description="Run code that the model's repository brings. Off for a reason.")

    @model_validator(mode="after")
    def _one_shape(self) -> ModelSpec:
        pairs = [self.text or self.image, self.passage or self.query]
        shapes = [self.name or self.prebuilt, *pairs, self.inference_url, self.nvidia, self.imagebind, self.fake]
        if sum(s is not None for s in shapes) != 1:
            raise ValueError(
                "name a model in one way: a folder or hub name, {text, image}, {passage, query}, {prebuilt}, {inference_url}, {nvidia}, {imagebind} or {fake: dimension}"
            )
        if self.dtype == "int8" and self.backend == "torch":
            raise ValueError("`dtype: int8` is computed by OpenVINO: leave out `backend: torch`")
        if (self.passage is None) != (self.query is None):
            raise ValueError("`passage` and `query` go together: one model for objects, one for queries")
        return self
