"""What shrink_config.py and shrink.py know about the fields of transformers' configs, as data."""

import re

DEPTH, MAX_DEPTH = 2, 4
LIMITS = {
    "vocab": 512,
    "positions": 256,  # a square: some models take the root
    "experts": 4,
    "topk": 2,
    "stages": 2,
    "one": 1,
    "zero": 0,  # layers that share: with whom goes by depth
}

# What a field means, by its name: the first pattern found in it decides; no match: left alone.
KINDS: list[tuple[str, re.Pattern[str]]] = [
    (kind, re.compile(pattern))
    for kind, pattern in [
        ("keep", r"^(id2label|label2id|projector_patch_to_query_dict|detectron2_config_args)$"),
        ("keep", r"^keypoint_decoder_dim$|^atom_feature_dim$|^relation_bias"),
        ("keep", r"patch_(size|length)|image_size|kernel|stride|ratio|rate$|drop|mel|temperature"),
        ("token", r"(token_(id|index|ids)|(bos|eos|pad|start|end|newline|patch)_id)$"),
        ("vocab", r"vocab|^num_embeddings$|^num_embeds$|hash_buckets$"),
        ("topk", r"experts?_per_tok|^moe_(topk|k|top_k)$|^num_selected_experts$"),
        ("experts", r"(routed|local|moe_num|^num|n)_experts$|^zero_expert_num$"),
        ("one", r"^(n_group|topk_group|num_expert_groups?|first_k_dense_replace)$"),
        ("zero", r"kv_shared_layers$"),
        ("positions", r"position_embeddings$|^n_positions$|_positions$|^max_pos_emb$|^n_ctx$"),
        ("stages", r"^depths$|blocks_per_stage|stage_num_blocks|block_repeats|attn_blocks$"),
        ("stages", r"^block_sizes$|numb_of_layers$"),
        ("keep", r"(feature|select|accept_hidden|vision|conditional)_layer$|(max|min)_depth"),
        ("keep", r"max_window_layers|interval|insert_layer_id"),
        ("width", r"^hidden_size_per_layer"),
        ("depth", r"(^|_)(layers?|depth|blocks|hidden_groups|layers_per_stack)$"),
        ("depth", r"self_attends_per_block$"),
        ("keep", r"^(max|num)_(?!filters|pos_feats)|^n_(?!embd)|_heads|layer|expan"),
        ("width", r"hidden|embed|embd|^dim|dims?$|_dim_|d_model|d_ff|dff|d_kv|d_inner|d_head"),
        ("width", r"ffn|feed_?forward|intermediate|channel|width|rank$|proj|units|headdim"),
        ("width", r"upsample_groups|d_latent|num_filters|pos_feats|d_ssm|head_size|feature_size$"),
        ("width", r"pooler_output_size|coordinate_size|shape_size|emb_size$|output_size"),
    ]
]

# Lists of layer numbers, and single layer numbers.
LAYER_LISTS = re.compile(r"(indices|(?<!return_)idxs?|ind(ex)?es|layer_ids|hook_ids|layers?)$")
LAYER_NUMBERS = re.compile(r"(_layer|layer_id|layer_index|layer_end_index)$")
NOT_LAYERS = re.compile(r"proj|look_")

# Main widths, to choose a scale by.
HIDDEN = (
    "hidden_size",
    "d_model",
    "embed_dim",
    "n_embd",
    "hidden_dim",
    "emb_dim",
    "dim",
    "text_hidden_size",
)

# Numbers of heads that share the main width, and fields that give the width of a head.
HEADS = re.compile(r"^(num_|n_|encoder_|decoder_)?((attention|key_value|kv)_)?heads?$")
HEAD_WIDTHS = re.compile(r"head_dim|d_head|d_kv|dim_head|kv_channels|^attention_head_size")

# Widths that need not be divisible: nothing else has the same size.
FREE_WIDTHS = re.compile(r"intermediate|ffn_dim|mlp_dim|feed_?forward|rank$|tdnn_dim")

# Dicts of other things than fields.
OTHER_DICTS = ("id2label", "label2id", "projector_patch_to_query_dict", "detectron2_config_args")

RESNET = {"model_type": "resnet", "out_features": ["stage2", "stage3", "stage4"]}
LAST = {"model_type": "resnet", "out_features": ["stage4"]}
MOLMO2 = {"hidden_size": 1024, "head_dim": 64}
IMAGE_TOKEN = {"vocabulary_map": {"<image>": 8}}
ROPE = {"rope_type": "default", "rope_theta": 10000.0}

# Keywords for configs whose defaults do not make a model; ResNets of transformers' own for timm's.
DEFAULTS: dict[str, dict] = {
    "autoformer": {"prediction_length": 8},
    "aya_vision": {"vision_config": {"model_type": "siglip_vision_model"}},
    "chameleon": IMAGE_TOKEN,
    "conditional_detr": {"backbone_config": LAST},
    "dab-detr": {"backbone_config": LAST},
    "deformable_detr": {"backbone_config": RESNET},
    "detr": {"backbone_config": LAST},
    "dots1": {"n_routed_experts": 8, "n_shared_experts": 1, "num_experts_per_tok": 2},
    "emu3": IMAGE_TOKEN,
    "esm": {"vocab_size": 33},
    "gemma4_assistant": {
        "text_config": {
            "model_type": "gemma4_text",
            "hidden_size_per_layer_input": 0,
            "vocab_size_per_layer_input": 0,
        }
    },
    "granite4_vision": {"deepstack_layer_map": [[-1, 0]], "downsample_rate": "1/2"},
    "informer": {"prediction_length": 8},
    "molmo2": {
        "vision_config": MOLMO2,
        "adapter_config": {**MOLMO2, "text_hidden_size": 4096},
    },
    "molmo2_adapter": MOLMO2,
    "molmo2_vision": MOLMO2,
    "omdet-turbo": {"backbone_config": {"model_type": "swin", "out_indices": [2, 3, 4]}},
    "table-transformer": {"backbone_config": LAST},
    "time_series_transformer": {"prediction_length": 8},
    "zamba": {"hidden_size": 4096, "intermediate_size": 16384},
    "vitmatte": {"fusion_hidden_sizes": [256, 128, 64, 32]},
}

LINES = {"longratio": 7, "midratio": 5, "shortratio": 3}
PP_OCR = {"reduce_channel": [1, 1, 0], "return_channel": [1, 1, 0]}
for ratio, n in LINES.items():  # kernels, strides, paddings
    PP_OCR[f"vertical_long_to_small_conv_{ratio}"] = [[n, 1], 1, [n // 2, 0]]
    PP_OCR[f"horizontal_small_to_long_conv_{ratio}"] = [[1, n], 1, [0, n // 2]]
    PP_OCR[f"symmetric_conv_long_{ratio}"] = [n, 1, n // 2]

# Fields to set after shrinking, in configs of this type wherever they occur.
FIXES: dict[str, dict] = {
    "chameleon_vqgan": {"base_channels": 32},
    "cohere_compass_text": {
        "rope_parameters": {"full_attention": {**ROPE, "mrope_section": [2, 1, 1]}}
    },
    "DbrxAttentionConfig": {"rope_theta": 10000.0},
    "deepseek_ocr2_text": {
        "num_hidden_layers": 2,
        "mlp_layer_types": ["dense", "sparse"],
        "num_experts_per_tok": 2,
    },
    "diffusion_gemma_text": {"num_experts": 4, "top_k_experts": 2, "moe_intermediate_size": 32},
    "emu3_vqgan": {"base_channels": 32},
    "ernie4_5_vl_moe_text": {
        "head_dim": 16,
        "rope_parameters": {**ROPE, "mrope_section": [3, 3, 2]},
    },
    "hunyuan_v1_dense": {"head_dim": 4},
    "hunyuan_v1_moe": {"head_dim": 4},
    "hunyuan_vl_text": {"head_dim": 4},
    "jamba": {
        "num_hidden_layers": 4,
        "attn_layer_period": 4,
        "attn_layer_offset": 2,
    },
    "janus_vqgan": {"base_channels": 32},
    "lfm2_moe": {
        "num_hidden_layers": 2,
        "layer_types": ["conv", "full_attention"],
        "num_dense_layers": 1,
    },
    "ministral": {"head_dim": 4},
    "mllama_vision_model": {
        "num_hidden_layers": 6,
        "intermediate_layers_indices": [0, 1, 2, 3, 4],
    },
    "moonshine_streaming": {"num_key_value_heads": 8},
    "nemotron": {"num_key_value_heads": 8},
    "pix2struct_text_model": {"initializer_range": 0.02},
    "pp_ocrv5_server_det": {"intraclass_block_config": PP_OCR, "kernel_list": [3, 2, 2]},
    "pp_ocrv6_medium_det": {"intraclass_block_config": PP_OCR, "kernel_list": [3, 2, 2]},
    "Qwen3OmniMoeTalkerConfig": {"spatial_merge_size": 2},
    "qwen3_omni_moe_talker_text": {"shared_expert_intermediate_size": 32},
    "qwen4_exp_text": {
        "indexer_n_heads": 4,
        "indexer_kv_heads": 1,
        "indexer_head_dim": 8,
        "indexer_budget": 64,
        "indexer_compress_ratio": 4,
    },
    "t5gemma2_decoder": {"dropout_rate": 0.0},
    "t5gemma2_text": {"dropout_rate": 0.0},
    "tvp": {"visual_prompt_size": 16, "max_img_size": 64, "num_frames": 4},
    "vibevoice_acoustic_tokenizer": {"num_filters": 2},
    "vibevoice_acoustic_tokenizer_decoder": {"num_filters": 2},
    "vibevoice_acoustic_tokenizer_encoder": {"num_filters": 2},
    "zamba": {
        "num_hidden_layers": 4,
        "layers_block_type": ["linear_attention", "hybrid", "hybrid", "linear_attention"],
    },
}
