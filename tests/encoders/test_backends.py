"""The forward pass without padding gives what sentence-transformers gives, for several families, or stands aside."""

import threading
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sentence_transformers import SentenceTransformer
from sentence_transformers.base.modules import Dense, Normalize, Transformer
from sentence_transformers.sentence_transformer.modules import Pooling
from transformers import AutoModel, BertTokenizer

from encoders.backends import linear
from encoders.backends.attention import NAME
from encoders.backends.bare import bare
from encoders.backends.cores import one_core_each, run_on_cores
from encoders.backends.packing import pack
from encoders.backends.unpadded import Unpadded, unpadded
from encoders.batching import SMALL, Budget, plan_batches, run_batches
from encoders.text import TextEncoder
from schemas.models import ModelSpec
from tests.encoders.tiny_models import WORDS

SIZES = {"num_hidden_layers": 2, "num_attention_heads": 2, "hidden_size": 32, "intermediate_size": 48, "initializer_range": 0.2}
DISTIL = {"n_layers": 2, "n_heads": 2, "dim": 32, "hidden_dim": 48, "initializer_range": 0.2}
LIMIT = 200
FAMILIES: dict[str, dict[str, Any]] = {
    "Bert": SIZES,
    "Roberta": SIZES,
    "XLMRoberta": SIZES,
    "Electra": {**SIZES, "embedding_size": 16},
    "DistilBert": DISTIL,
    "ModernBert": {**SIZES, "local_attention": 16, "global_attn_every_n_layers": 2},
}
POOLINGS = ["mean", "cls", "max", "mean_sqrt_len_tokens", "weightedmean", "lasttoken", ("cls", "mean")]
PIECES = ["[UNK]", "[PAD]", "[CLS]", "[SEP]", "[MASK]", *WORDS, *map(chr, range(97, 123)), *("##" + chr(c) for c in range(97, 123))]
TEXT = st.one_of(
    st.lists(st.sampled_from([*WORDS, "[PAD]", "Ünder", ",", "\n"]), max_size=30).map(" ".join),
    st.sampled_from(["", "a", " ", "red " * 220]),
    st.text(max_size=20),
)


def saved(folder: Path, family: str, pooling: Any = "mean", more: tuple[Any, ...] = (), **options: Any) -> Path:
    """A tiny model of this family with seeded weights, in a folder."""
    import transformers

    tokenizer = BertTokenizer(vocab={p: i for i, p in enumerate(dict.fromkeys(PIECES))}, model_max_length=LIMIT)
    sizes = {**FAMILIES.get(family, SIZES), "vocab_size": len(tokenizer), "max_position_embeddings": LIMIT + 2}
    ids = {"pad_token_id": 1, "cls_token_id": 2, "bos_token_id": 2, "eos_token_id": 3, "sep_token_id": 3}
    torch.manual_seed(7)
    config = getattr(transformers, f"{family}Config")(**sizes, **ids)
    getattr(transformers, f"{family}Model")(config).save_pretrained(folder / "bare")
    tokenizer.save_pretrained(folder / "bare")
    modules = [Transformer(str(folder / "bare")), Pooling(32, pooling, **options), *more]
    SentenceTransformer(modules=modules, device="cpu").save(str(folder), create_model_card=False)
    return folder


@pytest.fixture(scope="module", autouse=True)
def two_threads() -> Any:
    """Two batches side by side, as on two cores."""
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("families")


@cache
def pair(root: Path, family: str, pooling: Any = "mean") -> tuple[TextEncoder, SentenceTransformer]:
    """Our encoder and the library's."""
    folder = saved(root / f"{family}-{pooling}", family, pooling)
    return TextEncoder(ModelSpec(name=str(folder), device="cpu"), {}), SentenceTransformer(str(folder), device="cpu")


def assert_close(found: np.ndarray, expected: np.ndarray) -> None:
    assert found.shape == expected.shape
    assert (np.linalg.norm(found - expected, axis=1) <= 2e-6 * np.linalg.norm(expected, axis=1) + 1e-9).all()


@pytest.mark.parametrize("family", FAMILIES)
@settings(max_examples=8, deadline=None)
@given(texts=st.lists(TEXT, min_size=1, max_size=12), tokens=st.integers(1, 600))
def test_every_family_is_the_same_model(root: Path, family: str, texts: list[str], tokens: int) -> None:
    encoder, plain = pair(root, family)
    encoder.budget = Budget(tokens)
    result = encoder.encode(texts)
    assert encoder.backend.startswith("without padding"), encoder.backend
    assert_close(result.vectors, plain.encode_document(texts))
    assert result.padded == result.tokens
    assert result.truncated == [i for i, t in enumerate(texts) if len(plain.tokenizer(t, verbose=False)["input_ids"]) > LIMIT]


@pytest.mark.parametrize("pooling", POOLINGS, ids=str)
@settings(max_examples=8, deadline=None)
@given(texts=st.lists(TEXT, min_size=1, max_size=8))
def test_every_pooling_is_the_same(root: Path, pooling: Any, texts: list[str]) -> None:
    encoder, plain = pair(root, "Bert", pooling)
    assert_close(encoder.encode(texts).vectors, plain.encode_document(texts))
    assert encoder.backend.startswith("without padding"), encoder.backend


@settings(max_examples=15, deadline=None)
@given(st.lists(TEXT, min_size=1, max_size=6))
def test_lengths_are_those_before_the_cut(root: Path, texts: list[str]) -> None:
    encoder, plain = pair(root, "Bert")
    found = encoder._tokenised(texts, "document")
    assert found.lengths.tolist() == encoder.count_tokens(texts)
    assert found.ids == plain.tokenizer(texts, truncation=True)["input_ids"]


@pytest.mark.parametrize("family", ["Bert", "Roberta", "DistilBert", "ModernBert"])
@pytest.mark.parametrize("pooling", ["masked_mean", "cls"])
def test_a_bare_transformer_is_the_same(root: Path, family: str, pooling: str) -> None:
    _, plain = pair(root, family)
    model, numbers = AutoModel.from_pretrained(root / f"{family}-mean" / "bare", dtype=torch.float32).eval(), np.random.default_rng(1)
    ids = [numbers.integers(0, 60, n).tolist() for n in (1, 1, 4, 9, 9, 9, 30, 198)]

    def padded(texts: list[list[int]], pooling: str) -> np.ndarray:
        batch = plain.tokenizer.pad({"input_ids": texts}, return_tensors="pt", verbose=False)
        with torch.inference_mode():
            hidden = model(**batch)[0]
        mask = batch["attention_mask"][:, :, None]
        return (hidden[:, 0] if pooling == "cls" else (hidden * mask).sum(1) / mask.sum(1)).numpy()

    wanted = padded(ids, pooling)
    fast, how = bare(model, padded)
    assert fast, how
    assert_close(fast.pooled(ids, pooling), wanted)


def test_a_prompt_that_the_mean_leaves_out(tmp_path: Path) -> None:
    folder = saved(tmp_path, "Bert", "mean", include_prompt=False)
    encoder, plain = TextEncoder(ModelSpec(name=str(folder), device="cpu"), {"document": "the red "}), SentenceTransformer(str(folder))
    texts = ["circle of a picture", "a", "green " * 300]
    assert_close(encoder.encode(texts).vectors, plain.encode(texts, prompt="the red "))
    assert encoder.backend.startswith("without padding")


def test_modules_after_the_pooling(tmp_path: Path) -> None:
    folder = saved(tmp_path, "Roberta", "mean", (Dense(32, 8), Normalize()))
    encoder, plain = TextEncoder(ModelSpec(name=str(folder), device="cpu", dimensions=5), {}), SentenceTransformer(str(folder))
    texts = ["circle of a picture", "a", "green " * 300]
    assert_close(encoder.encode(texts).vectors, plain.encode(texts)[:, :5])
    assert encoder.backend.startswith("without padding")


def test_a_family_with_attention_of_its_own_stands_aside(tmp_path: Path) -> None:
    folder = saved(tmp_path, "MPNet")
    encoder, plain = TextEncoder(ModelSpec(name=str(folder), device="cpu", backend="torch"), {}), SentenceTransformer(str(folder))
    texts = ["circle of a picture", "", "green " * 300]
    assert_close(encoder.encode(texts).vectors, plain.encode_document(texts))
    assert "without padding" not in encoder.backend
    assert encoder.backend


def test_a_causal_model_stands_aside(tmp_path: Path) -> None:
    model = SentenceTransformer(str(saved(tmp_path, "Bert")), device="cpu")
    for layer in model[0].model.encoder.layer:
        layer.attention.self.is_causal = True
    texts = ["circle of a picture", "red " * 9]
    before, layers = model.encode(texts), [type(m) for m in model.modules()]
    fast, reason = unpadded(model)
    assert (fast, reason) == (None, "padded by the library: NotImplementedError: attention with grouped heads or a causal mask")
    assert (model.encode(texts) == before).all(), "everything was put back"
    assert [type(m) for m in model.modules()] == layers
    assert model[0].model.config._attn_implementation == "sdpa"


def test_a_forward_pass_that_differs_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = SentenceTransformer(str(saved(tmp_path, "Roberta")), device="cpu")
    monkeypatch.setattr("encoders.backends.unpadded.padding_place", lambda model: None)  # positions two too low
    fast, reason = unpadded(model)
    assert fast is None
    assert reason.startswith("padded by the library: its vectors differ by ")


def test_the_model_still_serves_padded_batches(root: Path) -> None:
    encoder, plain = pair(root, "ModernBert")
    texts = ["circle of a picture", "red " * 30, "a"]
    assert encoder.model[0].model.config._attn_implementation == NAME
    assert_close(encoder.model.encode(texts), plain.encode(texts))


def test_packed_weights_are_the_same_layers_and_can_be_put_back(root: Path) -> None:
    _, plain = pair(root, "Electra")
    model, ids = plain[0].model, torch.tensor([[2, 5, 6, 3]])
    with torch.inference_mode():
        before = model(ids)[0]
        swapped = linear.swap_layers(model)
        during = model(ids)[0]
        linear.put_back(swapped)
        after = model(ids)[0]
    assert len(swapped) == 15  # the embeddings' projection; of each layer six, and an activation that is now within one of them
    assert torch.allclose(during, before, rtol=0, atol=2e-5)
    assert (after == before).all()


def test_threads_share_an_encoder(root: Path) -> None:
    encoder, plain = pair(root, "Bert")
    texts = [" ".join(WORDS[i % 8] for i in range(n)) for n in range(1, 60)]
    found: list[np.ndarray] = []
    threads = [threading.Thread(target=lambda: found.append(encoder.encode(texts).vectors)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for vectors in found:
        assert_close(vectors, plain.encode(texts))


def test_threads_of_torch_stay_as_they_are() -> None:
    pool = one_core_each(3)
    assert {f.result() for f in [pool.threads.submit(torch.get_num_threads) for _ in range(9)]} == {1}
    assert torch.get_num_threads() == 2
    assert one_core_each(3).threads is pool.threads


@settings(max_examples=100, deadline=None)
@given(st.lists(st.lists(st.integers(0, 9), min_size=1, max_size=6), min_size=1, max_size=10), st.sampled_from([None, 1]))
def test_packing_keeps_every_token(texts: list[list[int]], padding: int | None) -> None:
    packed = pack(texts, padding)
    parts = [packed.ids[a:b].tolist() for a, b in zip(packed.starts, packed.starts[1:], strict=False)]
    assert parts == texts
    assert [r.length for r in packed.runs for _ in range(r.texts)] == [len(t) for t in texts]
    places = [packed.places[a:b].tolist() for a, b in zip(packed.starts, packed.starts[1:], strict=False)]
    if padding is None:
        assert places == [list(range(len(t))) for t in texts]
    else:  # as RoBERTa counts
        ids = torch.nn.utils.rnn.pad_sequence([torch.tensor(t) for t in texts], batch_first=True, padding_value=padding)
        real = (ids != padding).int()
        expected = (real.cumsum(1) * real + padding).tolist()
        assert places == [e[: len(t)] for e, t in zip(expected, texts, strict=True)]


class Room:
    """Doubles its input, as long as a batch has at most `tokens`; notes the batches that were refused."""

    def __init__(self, lengths: np.ndarray, tokens: int) -> None:
        self.lengths, self.tokens = lengths, tokens
        self.refused = 0

    def __call__(self, positions: np.ndarray) -> np.ndarray:
        if len(positions) * self.lengths[positions].max() > self.tokens:
            self.refused += 1
            raise MemoryError
        return positions[:, None].astype(np.float32)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(1, 64), min_size=1, max_size=80), st.integers(64, 500), st.booleans())
def test_out_of_memory_is_remembered(lengths: list[int], room: int, side_by_side: bool) -> None:
    seen, budget, out = np.array(lengths), Budget(4096), np.full((len(lengths), 1), np.nan, np.float32)
    device, pool, done = Room(seen, room), one_core_each(2) if side_by_side else None, []
    run_batches(plan_batches(seen, budget.tokens), device, out, done.append, pool, budget, seen)
    assert out[:, 0].tolist() == list(range(len(lengths)))
    assert sum(done) == len(lengths)
    for _ in range(12):  # each call that is refused halves the budget, and 4,096 is 2 to the 12th
        device.refused = 0
        run_batches(plan_batches(seen, budget.tokens), device, out, None, pool, budget, seen)
    assert device.refused == 0, "later calls know what fits"


def test_an_error_of_one_batch_is_raised_and_the_pool_goes_on() -> None:
    def refuse(positions: np.ndarray) -> np.ndarray:
        raise ValueError("broken")

    pool, out = one_core_each(2), np.empty((6, 1), np.float32)
    with pytest.raises(ValueError, match="broken"):
        run_batches([np.array([i]) for i in range(6)], refuse, out, None, pool)
    run_batches([np.arange(6)], lambda p: p[:, None].astype(np.float32), out, None, pool)
    assert out[:, 0].tolist() == list(range(6))


def test_the_next_window_begins_while_the_last_batches_are_computed() -> None:
    """Two windows of two batches on two cores: the second window computes while one batch of the first still does."""
    turn, first_ends, second_runs = threading.Lock(), threading.Event(), threading.Event()

    def first(positions: np.ndarray) -> np.ndarray:
        if 0 in positions:
            assert first_ends.wait(20)
        return positions[:, None].astype(np.float32)

    def second(positions: np.ndarray) -> np.ndarray:
        second_runs.set()
        return positions[:, None].astype(np.float32)

    def window(forward: Any, out: np.ndarray) -> threading.Thread:
        lengths = np.full(len(out), SMALL)
        thread = threading.Thread(target=run_on_cores, args=(lengths, forward, out, None, Budget(), 2, turn))
        thread.start()
        return thread

    outs = [np.full((4, 1), np.nan, np.float32) for _ in range(2)]
    slow = window(first, outs[0])
    quick = window(second, outs[1])
    assert second_runs.wait(20), "a core is free"
    quick.join(20)
    assert slow.is_alive()
    first_ends.set()
    slow.join(20)
    for out in outs:
        assert out[:, 0].tolist() == [0, 1, 2, 3]


def test_a_text_without_tokens_is_left_to_the_library(root: Path, tmp_path: Path) -> None:
    folder = saved(tmp_path, "Bert")
    encoder = TextEncoder(ModelSpec(name=str(folder), device="cpu"), {})
    fast = encoder.model and encoder._way
    assert isinstance(fast, Unpadded)
    ids, lengths = fast.tokenise([])
    assert (ids, lengths.tolist()) == ([], [])
    assert encoder.encode([]).vectors.shape == (0, 32)
