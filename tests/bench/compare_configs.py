#!/usr/bin/env python3
"""Compares networks of random configurations in diffusers and transformers with predict_noise and encode_prompt.

    python3 tests/bench/compare_configs.py --programs build/examples --tokenizer tests/data/tiny_spiece.model [--count 20]

Every number is a seed: a small UNet2DConditionModel of the DeepFloyd IF family and a small T5EncoderModel with random
settings and weights, saved by those libraries as F32, F16 or BF16, in one file or several, with or without a variant.
Sizes of pictures, batches, timesteps and prompts are random too. Prints the largest difference over the output's rms;
the exit code is 1 if one is above 1e-4, a model is refused, or token ids differ. Needs PyTorch, diffusers,
transformers and sentencepiece, none of which the library itself ever does.
"""
import argparse
import json
import os
import random
import subprocess
import sys
import tempfile

import numpy as np
import sentencepiece
import torch
from diffusers import UNet2DConditionModel
from transformers import T5Config, T5EncoderModel

DTYPES = [torch.float32, torch.float32, torch.float16, torch.bfloat16]
WORDS = ["the", "license", "an oil painting", "MAN", "</s>", "<pad>", "\u2581", "\u3000", "\u0130", "\u00df", "\ufb01", "\u2460", "e\u0301",
         "\ud55c\uad6d", "\U0001f600", "\u200b", "\u00a0", "\t", "\n", "123", "%$#", "\u212b", "\uff21", "\ufdfa", "\u0391\u03a3.", ""]


def unet_config(r):
    """Settings, and the width of the text states."""
    levels, groups = r.choice([1, 2, 2, 3, 3, 4]), r.choice([1, 2, 3, 4, 5, 8])
    unit = groups * r.choice([2, 3, 4])
    while unit < 12:
        unit *= 2
    channels = [unit * r.choice([1, 2, 3]) for _ in range(levels)]
    attends = [r.random() < 0.6 for _ in range(levels)]
    heads = [r.choice([d for d in range(2, unit + 1) if unit % d == 0]) for _ in range(levels)]
    pool = r.choice([1, 2, 3, 5, 8])
    norm = r.choice(["group_norm", "group_norm", None])
    cross = r.choice([32, 64, 96]) if norm else r.choice([20, 32, 50])
    hidden = pool * r.choice([4, 8, 10]) if r.random() < 0.75 else None
    config = {
        "sample_size": 2 ** (levels + 1), "in_channels": r.choice([1, 3, 4, 6]), "out_channels": r.choice([2, 3, 6]),
        "down_block_types": ["SimpleCrossAttnDownBlock2D" if a else "ResnetDownsampleBlock2D" for a in attends],
        "up_block_types": ["SimpleCrossAttnUpBlock2D" if a else "ResnetUpsampleBlock2D" for a in reversed(attends)],
        "mid_block_type": "UNetMidBlock2DSimpleCrossAttn", "block_out_channels": channels,
        "layers_per_block": r.choice([1, 2, 3, [r.choice([1, 2, 3]) for _ in range(levels)]]),
        "attention_head_dim": r.choice([heads[0], heads]), "norm_num_groups": groups, "norm_eps": r.choice([1e-5, 1e-6, 1e-3]),
        "cross_attention_dim": cross, "cross_attention_norm": norm, "encoder_hid_dim": hidden,
        "only_cross_attention": r.choice([False, True, [r.random() < 0.5 for _ in range(levels)]]),
        "mid_block_only_cross_attention": r.choice([None, None, True, False]),
        "act_fn": r.choice(["gelu", "silu", "swish", "relu"]), "resnet_time_scale_shift": r.choice(["scale_shift", "default"]),
        "resnet_skip_time_act": r.random() < 0.5, "time_embedding_act_fn": r.choice([None, "gelu", "silu"]),
        "time_embedding_dim": r.choice([None, 16, 50]), "resnet_out_scale_factor": r.choice([1.0, 1.4142271248762552]),
        "mid_block_scale_factor": r.choice([1, 1.4142271248762552, 2.0]), "flip_sin_to_cos": r.random() < 0.7,
        "freq_shift": r.choice([0, 0, 1]), "class_embed_type": r.choice([None, "timestep"]),
    }
    if r.random() < 0.75:
        config["addition_embed_type"] = "text"
        config["addition_embed_type_num_heads"] = pool if hidden else r.choice([1, 2])
    return config, hidden or cross


def save(model, folder, r):
    """As files of some dtype; returns what the values in them are, and options for the programs."""
    dtype, options, extra = r.choice(DTYPES), {}, []
    if r.random() < 0.3:
        options["max_shard_size"] = f"{r.choice([20, 50, 200])}KB"
    if r.random() < 0.3:
        options["variant"] = "fp16"
        extra = ["--variant", "fp16"]
    model.to(dtype).save_pretrained(folder, **options)
    return model.float(), extra, f"{str(dtype)[6:]} {options}"


def run(command):
    done = subprocess.run(command, capture_output=True, text=True)
    return done.stdout, done.stderr.strip() if done.returncode else ""


def difference(found, wanted):
    if found.shape != wanted.shape or found.dtype != np.float32:
        return float("inf")
    return float(np.abs(found - wanted).max() / np.sqrt((wanted ** 2).mean()))


def compare_unet(programs, folder, r):
    config, width = unet_config(r)
    model = UNet2DConditionModel(**config).eval()
    for parameter in model.parameters():
        if parameter.ndim == 1:
            parameter.data += 0.2 * torch.randn_like(parameter)
    model, extra, how = save(model, f"{folder}/unet", r)
    step = 2 ** (len(config["block_out_channels"]) - 1)
    batch, size = r.choice([1, 2, 3]), [step * r.choice([2, 3, 5, 8]) for _ in range(2)]
    x = torch.randn(batch, config["in_channels"], *size)
    text = torch.randn(r.choice([1, batch]), r.choice([2, 5, 77, 130]), width)
    t, labels = r.choice([0, 1, 500, 990, 123.5]), torch.tensor([r.randrange(1000) for _ in range(batch)])
    with torch.no_grad():
        wanted = model(x, t, text.expand(batch, -1, -1), class_labels=labels if config["class_embed_type"] else None).sample
    np.save(f"{folder}/x.npy", x.numpy())
    np.save(f"{folder}/e.npy", text.numpy())
    np.save(f"{folder}/c.npy", labels.numpy())
    command = [f"{programs}/predict_noise", "--model", f"{folder}/unet", "--sample", f"{folder}/x.npy", "--timestep", str(t),
               "--text", f"{folder}/e.npy", "--out", f"{folder}/y.npy"] + extra
    if config["class_embed_type"]:
        command += ["--class-labels", f"{folder}/c.npy"]
    _, error = run(command)
    return (error or difference(np.load(f"{folder}/y.npy"), wanted.numpy())), f"unet {list(x.shape)} {how}", config


def compare_t5(programs, folder, r, tokenizer):
    sp = sentencepiece.SentencePieceProcessor(model_file=tokenizer)
    buckets = r.choice([4, 8, 20, 32, 33, 64])
    config = {
        "d_model": r.choice([16, 24, 100]), "d_kv": r.choice([4, 16, 20]), "d_ff": r.choice([16, 50, 128]),
        "num_layers": r.choice([1, 2, 4]), "num_heads": r.choice([1, 2, 3, 8]), "vocab_size": sp.get_piece_size() + 100,
        "relative_attention_num_buckets": buckets, "relative_attention_max_distance": r.choice([buckets // 4 + 1, 64, 128]),
        "feed_forward_proj": r.choice(["gated-gelu", "gated-silu", "gated-relu", "relu", "gelu", "gelu_new", "silu"]),
        "layer_norm_epsilon": r.choice([1e-6, 1e-5]), "tie_word_embeddings": r.random() < 0.5,
    }
    model = T5EncoderModel(T5Config(**config)).eval()
    for name, parameter in model.named_parameters():
        wide = "relative" in name or "shared" in name
        noise = torch.randn_like(parameter)
        parameter.data = 1 + 0.2 * noise if parameter.ndim == 1 else noise * (1 if wide else parameter.shape[1] ** -0.5)
    model, extra, how = save(model, f"{folder}/text_encoder", r)
    os.makedirs(f"{folder}/tokenizer", exist_ok=True)
    with open(tokenizer, "rb") as source, open(f"{folder}/tokenizer/spiece.model", "wb") as target:
        target.write(source.read())
    texts = ["".join(r.choice(WORDS) + r.choice(["", " ", "  "]) for _ in range(r.choice([0, 1, 5, 200]))) for _ in range(3)]
    with open(f"{folder}/prompts.json", "w", encoding="utf-8") as file:
        json.dump(texts, file)
    output, error = run([f"{programs}/encode_prompt", "--model", folder, "--prompts", f"{folder}/prompts.json", "--ids", "--quiet",
                         "--out", f"{folder}/y.npy"] + extra)
    ids = [sp.encode(text.lower().strip())[:76] + [1] for text in texts]
    if not error and json.loads(output) != ids:
        error = f"other ids of {texts}"
    if error:
        return error, f"t5 {how}", config
    padded = torch.tensor([row + [0] * (77 - len(row)) for row in ids])
    mask = torch.tensor([[1] * len(row) + [0] * (77 - len(row)) for row in ids])
    with torch.no_grad():
        wanted = model(input_ids=padded, attention_mask=mask).last_hidden_state
    return difference(np.load(f"{folder}/y.npy"), wanted.numpy()), f"t5 {how}", config


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--programs", required=True)
    parser.add_argument("--tokenizer", required=True)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--count", type=int, default=20)
    args = parser.parse_args()
    torch.set_num_threads(1)
    worst, bad = 0, 0
    for seed in range(args.first, args.first + args.count):
        for kind in (compare_unet, compare_t5):
            r = random.Random(seed)
            torch.manual_seed(seed)
            with tempfile.TemporaryDirectory() as folder:
                more = [args.tokenizer] if kind is compare_t5 else []
                found, what, config = kind(args.programs, folder, r, *more)
            good = isinstance(found, float) and found <= 1e-4
            worst, bad = max(worst, found if good else 0), bad + (not good)
            print(f"{seed}: {what}: {found if isinstance(found, str) else format(found, '.1e')}", flush=True)
            if not good:
                print(json.dumps(config))
    print(f"{2 * args.count} models, {bad} of them wrong, largest difference of the others {worst:.1e}")
    sys.exit(bad > 0)


if __name__ == "__main__":
    main()
