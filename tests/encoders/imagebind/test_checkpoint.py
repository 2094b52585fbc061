"""Loading ImageBind's checkpoint: strictness by key and shape, formats, parts alone, and files that are something else."""

import json
import logging
import pickle
import sys
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from encoders.imagebind import checkpoint
from encoders.imagebind.checkpoint import LICENCE, load, locate
from encoders.imagebind.layout import shapes, tower_of
from encoders.imagebind.sizes import HUGE, TOWERS
from schemas.errors import JobError
from schemas.modules import MODALITIES
from tests.encoders.imagebind import small

BLOCK = "modality_trunks.imu.blocks.0"
SCALE = "modality_postprocessors.imu.1.log_logit_scale"
MASK = "modality_preprocessors.text.mask"
repeated = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The same small checkpoint in each form that is taken."""
    torch.set_num_threads(1)
    root = tmp_path_factory.mktemp("imagebind")
    small.make(root / "folder")
    small.make_pth(root / "small.pth")
    save_file(small.tensors(), root / "small.safetensors")
    (root / "small.safetensors.json").write_text(json.dumps(small.SIZES))
    return {"folder": root / "folder", "pth": root / "small.pth", "safetensors": root / "small.safetensors"}


def saved(path: Path, tensors: dict[str, torch.Tensor]) -> str:
    """The .pth `path` of `tensors`, of the small sizes."""
    torch.save(tensors, path)
    path.with_name(f"{path.name}.json").write_text(json.dumps(small.SIZES))
    return str(path)


def fault(path: str | Path, *modalities: str) -> str:
    with pytest.raises(JobError) as error:
        load(str(path), modalities or ("imu",))
    return "\n".join(error.value.faults)


@pytest.mark.parametrize("form", ["folder", "pth", "safetensors"])
@pytest.mark.parametrize("modality", MODALITIES)
def test_a_part_is_loaded_alone_and_whole(files: dict[str, Path], form: str, modality: str) -> None:
    model, want = load(str(files[form]), [modality]), small.tensors()
    assert model.config == small.config()
    assert set(model.tensors) == set(shapes(small.config(), TOWERS[modality])) - {MASK}
    assert all(torch.equal(tensor, want[key]) for key, tensor in model.tensors.items())


def test_all_parts_together(files: dict[str, Path]) -> None:
    assert set(load(str(files["pth"]), MODALITIES).tensors) == set(small.tensors()) - {MASK}


def test_image_and_video_are_one_part(files: dict[str, Path]) -> None:
    assert {tower_of(key) for key in load(str(files["folder"]), ["image", "video"]).tensors} == {"vision"}


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("form", ["pth", "safetensors"])
def test_other_parts_stay_on_disk(files: dict[str, Path], form: str) -> None:
    """Of the mapped file only names and the asked part come into memory; the text's table alone has 2.4 MB."""
    model = load(str(files[form]), ["imu"])
    inside = sum(tensor.nbytes for tensor in model.tensors.values())
    assert sum(float(t.sum()) for t in model.tensors.values()) != 0  # now the part has been read
    assert resident(files[form]) < inside + 1_000_000 < files[form].stat().st_size


def resident(file: Path) -> int:
    """Bytes of `file` that are mapped into this process and in memory."""
    found, within = 0, False
    for line in Path("/proc/self/smaps").read_text().splitlines():
        if "-" in line.split(" ", 1)[0]:
            within = line.endswith(str(file))
        elif within and line.startswith("Rss:"):
            found += int(line.split()[1]) * 1024
    return found


def test_a_checkpoint_may_lack_the_parts_that_are_not_asked_for(tmp_path: Path) -> None:
    path = saved(tmp_path / "some.pth", {key: t for key, t in small.tensors().items() if tower_of(key) in ("imu", "text")})
    assert load(path, ["imu", "text"]).tensors
    assert "has no modality_preprocessors.audio." in fault(path, "imu", "audio")


def test_missing_keys_are_named_and_counted(tmp_path: Path) -> None:
    tensors = {key: t for key, t in small.tensors().items() if not key.startswith(f"{BLOCK}.")}
    said = fault(saved(tmp_path / "m.pth", tensors))
    assert f"has no {BLOCK}.attn.in_proj_weight" in said and said.endswith("and 9 more")


def test_unknown_keys_are_named(tmp_path: Path) -> None:
    extra = {f"{BLOCK}.attn.bias_q": torch.zeros(1), "modality_trunks.smell.x": torch.zeros(1), "head": torch.zeros(1)}
    said = fault(saved(tmp_path / "e.pth", small.tensors() | extra))
    assert "keys that ImageBind does not: " + ", ".join(extra) in said


def test_wrong_shapes_are_named_with_the_right_ones(tmp_path: Path) -> None:
    tensors = small.tensors() | {SCALE: torch.zeros(1), f"{BLOCK}.norm_1.bias": torch.zeros(3)}
    said = fault(saved(tmp_path / "s.pth", tensors))
    assert f"{SCALE} (1,) instead of ()" in said and f"{BLOCK}.norm_1.bias (3,) instead of (16,)" in said


def test_all_faults_are_said_at_once(tmp_path: Path) -> None:
    tensors = small.tensors() | {SCALE: torch.zeros(1), "head": torch.zeros(1)}
    del tensors[f"{BLOCK}.norm_1.bias"]
    with pytest.raises(JobError) as error:
        load(saved(tmp_path / "all.pth", tensors), ["imu"])
    assert len(error.value.faults) == 3


def test_a_fault_of_another_part_waits_until_it_is_asked_for(tmp_path: Path) -> None:
    tensors = small.tensors() | {"modality_trunks.audio.blocks.9.x": torch.zeros(1), SCALE: torch.zeros(1)}
    path = saved(tmp_path / "o.pth", tensors)
    assert load(path, ["text"]).tensors
    assert "blocks.9.x" in fault(path, "audio") and SCALE in fault(path, "imu")


@given(dropped=st.sampled_from(sorted(shapes(small.config(), "imu"))))
@repeated
def test_no_key_can_be_missing(tmp_path: Path, dropped: str) -> None:
    tensors = {key: torch.zeros(shape) for key, shape in shapes(small.config(), "imu").items() if key != dropped}
    assert dropped in fault(saved(tmp_path / "drop.pth", tensors))


def test_integers_and_another_mask_are_refused(tmp_path: Path) -> None:
    tensors = small.tensors()
    assert "should hold floats" in fault(saved(tmp_path / "i.pth", tensors | {SCALE: torch.tensor(1)}))
    assert "not causal" in fault(saved(tmp_path / "k.pth", tensors | {MASK: torch.zeros(77, 77)}), "text")


def test_the_published_size_is_meant_without_a_json_file(tmp_path: Path, files: dict[str, Path]) -> None:
    (tmp_path / "model.safetensors").write_bytes((files["folder"] / "model.safetensors").read_bytes())
    assert locate(str(tmp_path))[1] == HUGE
    assert "(16,) instead of (512,)" in fault(tmp_path)
    (tmp_path / "config.json").write_text('{"vision_embed_dim": 1280}')  # of another tool
    assert locate(str(tmp_path))[1] == HUGE


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "is no JSON file"),
        ('{"towers": 3}', "towers is 3"),
        ('{"towers": {"smell": {}}}', "towers.smell is not known"),
        ('{"towers": {"imu": {"depth": 3}}}', "towers.imu.depth is not known"),
        ('{"towers": {"imu": {"width": 16.5}}}', "towers.imu.width is 16.5"),
        ('{"towers": {"imu": {"heads": 7}}}', "towers.imu.width 512 is no multiple of its 7 heads"),
        ('{"towers": {}, "dim": 0}', "dim is 0"),
        ('{"towers": {}, "size": 1}', "size is not known"),
    ],
)
def test_wrong_sizes_are_named(tmp_path: Path, files: dict[str, Path], text: str, said: str) -> None:
    (tmp_path / "model.safetensors").write_bytes((files["folder"] / "model.safetensors").read_bytes())
    (tmp_path / "config.json").write_text(text)
    assert said in fault(tmp_path) and "config.json" in fault(tmp_path)


def test_the_draft_layout_of_transformers_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "draft.safetensors"
    save_file({"vision_model.embeddings.cls_token": torch.zeros(1), "text_model.final_layer_norm.bias": torch.zeros(1)}, path)
    assert "draft for transformers" in fault(path) and "imagebind_huge.pth" in fault(path)


def test_another_model_is_refused(tmp_path: Path) -> None:
    assert "is no ImageBind: it has a.weight" in fault(saved(tmp_path / "other.pth", {"a.weight": torch.zeros(2)}))


@pytest.mark.parametrize("held", [[torch.zeros(1)], {}, {"state_dict": {"x": torch.zeros(1)}}, {1: torch.zeros(1)}])
def test_what_is_no_flat_dictionary_is_refused(tmp_path: Path, held: object) -> None:
    torch.save(held, tmp_path / "held.pth")
    assert "dictionary of tensors" in fault(tmp_path / "held.pth")


class Harmful:
    """An object that would write a file when it is unpickled."""

    def __reduce__(self) -> tuple:
        return open, ("/tmp/warpbeam-imagebind-ran", "w")


def test_code_in_a_checkpoint_is_not_run(tmp_path: Path) -> None:
    torch.save({"x": Harmful()}, tmp_path / "zipped.pth")
    (tmp_path / "old.pth").write_bytes(pickle.dumps({"x": Harmful()}, protocol=2))
    for name in ("zipped.pth", "old.pth"):
        assert "could run code" in fault(tmp_path / name)
    assert not Path("/tmp/warpbeam-imagebind-ran").exists()


def test_the_older_format_of_torch_is_read_too(tmp_path: Path) -> None:
    path = saved(tmp_path / "old.pth", {})
    torch.save(small.tensors(), path, _use_new_zipfile_serialization=False)
    assert torch.equal(load(path, ["imu"]).tensors[SCALE], small.tensors()[SCALE])


@given(share=st.floats(0, 0.999), form=st.sampled_from(["pth", "safetensors"]))
@repeated
def test_a_truncated_file_is_refused(tmp_path: Path, files: dict[str, Path], share: float, form: str) -> None:
    whole = files[form].read_bytes()
    cut = tmp_path / f"cut.{form}"
    cut.write_bytes(whole[: int(share * len(whole))])
    assert str(cut) in fault(cut)


@given(content=st.binary(max_size=300), form=st.sampled_from(["pth", "safetensors"]))
@repeated
def test_any_other_file_is_refused(tmp_path: Path, content: bytes, form: str) -> None:
    path = tmp_path / f"random.{form}"
    path.write_bytes(content)
    assert str(path) in fault(path)


def test_a_path_that_leads_nowhere_is_named(tmp_path: Path) -> None:
    assert "there is no 'nowhere.pth'" in fault("nowhere.pth")
    assert "has no model.safetensors" in fault(tmp_path)
    (tmp_path / "model.onnx").touch()
    assert ".safetensors" in fault(tmp_path / "model.onnx")


def test_half_precision_leaves_the_scales_alone(files: dict[str, Path]) -> None:
    kinds = {key: tensor.dtype for key, tensor in load(str(files["pth"]), ["imu"], "bfloat16").tensors.items()}
    assert kinds.pop(SCALE) is torch.float32 and set(kinds.values()) == {torch.bfloat16}


def test_the_licence_is_said_once_a_process(files: dict[str, Path], caplog: pytest.LogCaptureFixture) -> None:
    checkpoint._told.clear()
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            load(str(files["folder"]), ["imu"])
    assert [record.getMessage() for record in caplog.records] == [LICENCE]
    assert "CC BY-NC-SA 4.0" in LICENCE and checkpoint.tell_licence() == LICENCE
