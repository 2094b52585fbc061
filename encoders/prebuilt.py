"""Weaviate's prebuilt inference images, as data: which model an image carries, and how its container runs it.

The table is `prebuilt.json`: the images of Weaviate's documentation and of the containers' build lists
(t2v-transformers-models up to 1.13.2, multi2vec-clip-inference up to 1.5.0), some older ones besides.
"""

import difflib
import json
import re
from dataclasses import dataclass, fields, replace
from functools import cache
from pathlib import Path
from typing import Any, Literal

from schemas.errors import JobError

IMAGES = ("transformers-inference", "multi2vec-clip")
Mode = Literal["huggingface", "sentence-transformers", "onnx", "openai", "openclip", "siglip", "colpali"]

_REFERENCE = re.compile(rf"^(?:[\w.:-]+/)*(?P<image>{'|'.join(IMAGES)}):(?P<tag>[\w.-]+?)(?:@sha256:\w+)?$")
_SUFFIX = re.compile(r"^(?P<tag>.+)-(?:latest|v?(?P<version>\d+\.\d+\.\d+))$")


@dataclass(frozen=True)
class Image:
    """One prebuilt image: its model, and the mode in which the container runs it."""

    image: Literal["transformers-inference", "multi2vec-clip"]
    tag: str  # without version
    model: str  # the hub name; of an openclip image, open_clip's name
    mode: Mode
    text_model: str | None = None  # of a CLIP pair: the model for texts, beside `model` for images
    pretrained: str | None = None  # of an openclip image: which weights
    query_model: str | None = None  # of a passage model (DPR): its other half
    passage_model: str | None = None  # of a query model (DPR): its other half
    trust_remote_code: bool = False  # the model's repository brings code
    note: str = ""  # what surprises
    since: str = ""  # the version from which `mode` holds
    before: Mode | None = None  # the mode of older versions

    def at(self, version: str | None) -> "Image":
        """The image as version `version` (such as 1.9.7; None: the newest) was built."""
        if version and self.before and _numbers(version) < _numbers(self.since):
            return replace(self, mode=self.before, since="", before=None)
        return self


def prebuilt_image(tag_or_name: str) -> Image | None:
    """The image of a reference (`[registry/]transformers-inference:<tag>`, `multi2vec-clip:<tag>`), a bare tag or a hub name.

    A version (`-1.9.7`) or `-latest` may follow the tag. A hub name gives the image that is not ONNX; None where there
    is none. Raises JobError for a reference with an unknown tag, naming tags like it.
    """
    text = tag_or_name.strip()
    reference = _REFERENCE.match(text)
    if reference is None:
        return _named(text)
    found = _tagged(reference["tag"], (reference["image"],))
    if found is None:
        raise JobError(_unknown(reference["image"], reference["tag"]))
    return found


@cache
def prebuilt_images() -> tuple[Image, ...]:
    """Every image of the table."""
    rows: list[dict[str, Any]] = json.loads(Path(__file__).with_name("prebuilt.json").read_text(encoding="utf-8"))
    known = {f.name for f in fields(Image)}
    assert all(row.keys() <= known for row in rows)
    return tuple(Image(**row) for row in rows)


def _tagged(tag: str, kinds: tuple[str, ...]) -> Image | None:
    """The image with that tag, exactly or without its version; letters' case does not matter."""
    by_tag = {i.tag.lower(): i for i in prebuilt_images() if i.image in kinds}
    if tag.lower() in by_tag:
        return by_tag[tag.lower()]
    suffix = _SUFFIX.match(tag)
    image = by_tag.get(suffix["tag"].lower()) if suffix else None
    return image.at(suffix["version"]) if image and suffix else None


def _named(name: str) -> Image | None:
    """The image of a hub name (`all-MiniLM-L6-v2` too, without its owner), or of a bare tag."""
    owned = {name, f"sentence-transformers/{name}"}
    candidates = (i for i in prebuilt_images() if i.mode != "onnx")
    found = next((i for i in candidates if (i.text_model or i.model) in owned), None)
    return found or _tagged(name, IMAGES)


def _unknown(image: str, tag: str) -> str:
    """The sentence for a tag that is not in the table."""
    if tag.startswith("custom"):
        return f"{image}:{tag} is Weaviate's base for images of one's own and carries no model: name the folder and `mode` instead"
    tags = {i.tag.lower(): i.tag for i in prebuilt_images() if i.image == image}
    suffix = _SUFFIX.match(tag)
    plain = suffix["tag"] if suffix else tag
    near = [tags[t] for t in difflib.get_close_matches(plain.lower(), tags, n=3, cutoff=0.5)]
    hint = f"tags like it are {', '.join(near)}" if near else f"the tags are {', '.join(tags.values())}"
    return f"no prebuilt image {image}:{tag} is known; {hint}; for an image of your own, name the model's folder or hub name and its `mode`"


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(map(int, version.split(".")))
