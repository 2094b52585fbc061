"""The keys of the published checkpoint and their shapes, by tower: 1,311 at the published size."""

from encoders.imagebind.sizes import CONTEXT, VOCABULARY, Config, Tower

Shapes = dict[str, tuple[int, ...]]

GROUPS = ("modality_preprocessors", "modality_trunks", "modality_heads", "modality_postprocessors")
STEMS = {"vision": "rgbt_stem", "audio": "rgbt_stem", "depth": "depth_stem", "thermal": "rgbt_stem", "imu": "imu_stem"}
PROJECTIONS = {"vision": "proj.1"}  # a layer without parameters stands before it; elsewhere "proj"
POSITIONS = {"text": "pos_embed", "imu": "pos_embed"}  # elsewhere one level below
HEADS = {"text": "proj.1", "imu": "3"}  # the linear layer; elsewhere "2"
HEAD_NORMS = {"text": "proj.0"}  # elsewhere "0"


def stem(name: str) -> str:
    """Where the weight that makes patches into tokens stands, below the tower's preprocessor."""
    return f"{STEMS[name]}.{PROJECTIONS.get(name, 'proj')}"


def positions(name: str) -> str:
    """Where the position embedding stands, below the tower's preprocessor."""
    return POSITIONS.get(name, "pos_embedding_helper.pos_embed")


def shapes(config: Config, name: str) -> Shapes:
    """Key -> shape of everything that the tower `name` has in a checkpoint of this size."""
    tower = config.towers[name]
    found = {f"modality_preprocessors.{name}.{key}": shape for key, shape in _preprocessor(name, tower).items()}
    for n in range(tower.blocks):
        found |= {f"modality_trunks.{name}.blocks.{n}.{key}": shape for key, shape in _block(tower).items()}
    if name == "vision":
        found |= _norm("modality_trunks.vision.pre_transformer_layer.0", tower.width)
    found |= _norm(f"modality_heads.{name}.{HEAD_NORMS.get(name, '0')}", tower.width)
    found[f"modality_heads.{name}.{HEADS.get(name, '2')}.weight"] = (config.dim, tower.width)
    if name != "vision":
        found[f"modality_postprocessors.{name}.1.log_logit_scale"] = ()
    return found


def tower_of(key: str) -> str | None:
    """The tower to which a key belongs by its name; None where it is no key of ImageBind's."""
    group, _, rest = key.partition(".")
    return rest.partition(".")[0] if group in GROUPS else None


def _preprocessor(name: str, tower: Tower) -> Shapes:
    width = tower.width
    found: Shapes = {positions(name): (1, tower.tokens, width)}
    if name == "text":
        return found | {"mask": (CONTEXT, CONTEXT), "token_embedding.weight": (VOCABULARY, width)}
    found["cls_token"] = (1, 1, width)
    window = (tower.item[0], *tower.kernel)
    found[f"{stem(name)}.weight"] = (width, window[0] * window[1]) if name == "imu" else (width, *window)
    return found if name == "vision" else found | _norm(f"{STEMS[name]}.norm_layer", width)


def _block(tower: Tower) -> Shapes:
    width = tower.width
    found: Shapes = {"attn.in_proj_weight": (3 * width, width), "attn.in_proj_bias": (3 * width,)}
    found |= _linear("attn.out_proj", width, width)
    found |= _linear("mlp.fc1", width, 4 * width) | _linear("mlp.fc2", 4 * width, width)
    found |= _norm("norm_1", width) | _norm("norm_2", width)
    return found | ({"attn.bias_k": (1, 1, width), "attn.bias_v": (1, 1, width)} if tower.extra_key else {})


def _linear(key: str, inputs: int, outputs: int) -> Shapes:
    return {f"{key}.weight": (outputs, inputs), f"{key}.bias": (outputs,)}


def _norm(key: str, width: int) -> Shapes:
    return {f"{key}.weight": (width,), f"{key}.bias": (width,)}
