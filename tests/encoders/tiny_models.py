"""Small models of the real classes, made by a seeded rule in a folder: nothing is downloaded."""

import json
from pathlib import Path

from examples.shapes import word_tokenizer

WORDS = ("a", "the", "red", "green", "circle", "square", "of", "picture")
IDS = ("bos_token_id", "eos_token_id", "pad_token_id")


def tiny_clip(folder: Path, seed: int = 0, dim: int = 16, limit: int = 77, dtype: str = "float32") -> Path:
    """A Hugging Face CLIP for 32 x 32 pictures, saved in `folder`; vectors of `dim`."""
    import torch
    from transformers import CLIPConfig, CLIPImageProcessorPil, CLIPModel, CLIPProcessor

    tokenizer = word_tokenizer(WORDS, limit)
    small = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 2, "initializer_range": 0.2}
    text = {**small, "vocab_size": len(tokenizer), **{name: getattr(tokenizer, name) for name in IDS}}
    torch.manual_seed(seed)
    vision = {**small, "image_size": 32, "patch_size": 8, "initializer_factor": 5.0}
    model = CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=dim)).to(getattr(torch, dtype))
    images = CLIPImageProcessorPil(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32})
    model.save_pretrained(folder)
    CLIPProcessor(image_processor=images, tokenizer=tokenizer).save_pretrained(folder)
    return folder


def tiny_sentence_clip(folder: Path, seed: int = 0, dim: int = 16, limit: int = 77) -> Path:
    """The same as a sentence-transformers CLIP model."""
    tiny_clip(folder, seed, dim, limit)
    modules = [{"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.CLIPModel"}]
    (folder / "modules.json").write_text(json.dumps(modules))
    return folder


def tiny_text_model(folder: Path, seed: int = 0, dim: int = 16) -> Path:
    """A sentence-transformers model for texts only: BERT, mean pooling, a dense layer to `dim`."""
    import torch
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.base.modules import Dense, Transformer
    from sentence_transformers.sentence_transformer.modules import Pooling
    from transformers import BertConfig, BertModel, BertTokenizer

    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS, *map(chr, range(97, 123)), *("##" + chr(c) for c in range(97, 123))]
    tokenizer = BertTokenizer(vocab={piece: i for i, piece in enumerate(dict.fromkeys(pieces))}, model_max_length=24)
    torch.manual_seed(seed)
    sizes = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 2, "initializer_range": 0.2}
    BertModel(BertConfig(vocab_size=len(tokenizer), max_position_embeddings=24, **sizes)).save_pretrained(folder / "bert")
    tokenizer.save_pretrained(folder / "bert")
    modules = [Transformer(str(folder / "bert")), Pooling(32), Dense(32, dim, bias=False, activation_function=torch.nn.Identity())]
    SentenceTransformer(modules=modules, device="cpu").save(str(folder), create_model_card=False)
    return folder
