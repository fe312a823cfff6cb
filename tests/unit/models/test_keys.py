import pytest

from ccd_cli.core.errors import CheckpointError
from ccd_cli.models.keys import custom_names, encoder_names, layout_of, own_name, published_name, strip_prefixes


@pytest.mark.parametrize(
    ("layout", "published", "own"),
    [
        ("depth-anything", "pretrained.blocks.3.attn.qkv.weight", "encoder.blocks.3.attn.qkv.weight"),
        ("depth-anything", "depth_head.projects.0.bias", "head.project.0.bias"),
        ("depth-anything", "depth_head.resize_layers.3.weight", "head.rescale.3.weight"),
        ("depth-anything", "depth_head.scratch.layer4_rn.weight", "head.reduce.3.weight"),
        ("depth-anything", "depth_head.scratch.refinenet4.resConfUnit1.conv2.bias", "head.fuse.3.side.conv2.bias"),
        ("depth-anything", "depth_head.scratch.refinenet1.resConfUnit2.conv1.weight", "head.fuse.0.unit.conv1.weight"),
        ("depth-anything", "depth_head.scratch.refinenet2.out_conv.weight", "head.fuse.1.out.weight"),
        ("depth-anything", "depth_head.scratch.output_conv1.bias", "head.mix.bias"),
        ("depth-anything", "depth_head.scratch.output_conv2.2.weight", "head.final.1.weight"),
        ("distill-any-depth", "backbone.blocks.0.17.ls1.gamma", "encoder.blocks.17.ls1.gamma"),
        ("distill-any-depth", "backbone.pos_embed", "encoder.pos_embed"),
        ("depth-anything-3", "backbone.pretrained.norm.weight", "encoder.norm.weight"),
        ("depth-anything-3", "head.scratch.sky_output_conv2.0.weight", "head.sky.0.weight"),
    ],
)
def test_names_both_ways(layout, published, own):
    assert own_name(published, layout) == own
    assert published_name(own, layout) == published


def test_a_chunks_blocks_are_numbered_through():
    assert own_name("backbone.blocks.3.23.norm1.bias", "distill-any-depth") == "encoder.blocks.23.norm1.bias"
    with pytest.raises(CheckpointError, match="same place"):
        custom_names(["backbone.blocks.0.2.norm1.bias", "backbone.blocks.1.2.norm1.bias"], "distill-any-depth")


def test_prefixes_go_only_where_all_carry_them():
    assert strip_prefixes(["module.model.a", "module.model.b"]) == {"module.model.a": "a", "module.model.b": "b"}
    assert strip_prefixes(["module.a", "b"]) == {"module.a": "module.a", "b": "b"}
    assert strip_prefixes([]) == {}


def test_layouts():
    assert layout_of(["pretrained.pos_embed", "depth_head.projects.0.bias"]) == "depth-anything"
    assert layout_of(["backbone.blocks.0.0.norm1.bias", "depth_head.projects.0.bias"]) == "distill-any-depth"
    assert layout_of(["backbone.pretrained.pos_embed", "head.projects.0.bias"]) == "depth-anything-3"
    assert layout_of(["encoder.pos_embed", "head.reduce.0.weight"]) == "ccd"
    with pytest.raises(CheckpointError, match="not the weights of a known depth network"):
        layout_of(["conv1.weight", "fc.bias"])
    with pytest.raises(CheckpointError, match="authors' original file"):
        layout_of(["backbone.encoder.layer.0.norm1.weight", "head.conv1.weight"])


def test_encoder_names_of_any_layout():
    assert encoder_names(["pretrained.cls_token", "pretrained.mask_token", "depth_head.projects.0.bias"]) == {
        "pretrained.cls_token": "cls_token"
    }
    bare = ["cls_token", "mask_token", "patch_embed.proj.bias", "blocks.0.norm1.bias", "head.weight"]
    assert set(encoder_names(bare).values()) == {"cls_token", "patch_embed.proj.bias", "blocks.0.norm1.bias"}
    assert encoder_names(["conv_stem.weight", "classifier.bias"]) == {"conv_stem.weight": "conv_stem.weight"}
