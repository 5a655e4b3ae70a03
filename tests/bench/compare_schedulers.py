#!/usr/bin/env python3
"""Compares pictures of IFPipeline and IFSuperResolutionPipeline with those of text_to_image, by scheduler_config.json.

    python3 tests/bench/compare_schedulers.py --programs build/examples [--only WORD]

Two small networks with random weights and six output channels; for each scheduler below a folder as diffusers saves it,
a picture of each stage with and without guidance, from the same draws. Prints the largest difference over the rms; the
exit code is 1 if one is above 1e-4 or a folder is refused. Needs PyTorch and diffusers, which the library itself never
does. Left out is where diffusers does something else (doc/if-models.md): noise after the last step, Euler in stage II.
"""
import argparse
import json
import os
import subprocess
import sys
import tempfile

import numpy as np
import torch
from diffusers import (DDIMScheduler, DDPMScheduler, DPMSolverMultistepScheduler, EulerDiscreteScheduler, IFPipeline,
                       IFSuperResolutionPipeline, UNet2DConditionModel)
from safetensors.torch import save_file

SIDE, STEPS, SEED, WIDTH = 16, 8, 5, 24
NETWORK = {
    "sample_size": SIDE, "in_channels": 3, "out_channels": 6, "layers_per_block": 1, "block_out_channels": [32, 64],
    "down_block_types": ["ResnetDownsampleBlock2D", "SimpleCrossAttnDownBlock2D"],
    "up_block_types": ["SimpleCrossAttnUpBlock2D", "ResnetUpsampleBlock2D"],
    "mid_block_type": "UNetMidBlock2DSimpleCrossAttn", "cross_attention_dim": 32, "encoder_hid_dim": WIDTH,
    "encoder_hid_dim_type": "text_proj", "attention_head_dim": 8, "addition_embed_type": "text",
    "addition_embed_type_num_heads": 2, "cross_attention_norm": "group_norm", "resnet_time_scale_shift": "scale_shift",
    "act_fn": "gelu", "dropout": 0.3, "upcast_attention": True,
}
BETAS = [0.0001 + 0.012 * (t / 1000) ** 1.3 for t in range(1000)]
COSINE = {"beta_schedule": "squaredcos_cap_v2", "thresholding": True, "dynamic_thresholding_ratio": 0.95, "sample_max_value": 1.5}
PARTS = {"safety_checker": None, "feature_extractor": None, "watermarker": None, "requires_safety_checker": False,
         "tokenizer": None, "text_encoder": None}


def schedulers():
    for variance in ["learned_range", "fixed_small", "fixed_small_log", "fixed_large"]:
        yield DDPMScheduler(**COSINE, variance_type=variance)
        yield DDPMScheduler(trained_betas=BETAS, variance_type=variance)
        yield DDPMScheduler(trained_betas=BETAS, variance_type=variance, steps_offset=1, timestep_spacing="linspace")
    for variance in ["fixed_small", "fixed_small_log"]:
        yield DDPMScheduler(**COSINE, variance_type=variance, steps_offset=1)
        yield DDPMScheduler(trained_betas=BETAS, variance_type=variance, steps_offset=1, timestep_spacing="trailing")
    yield DDPMScheduler(num_train_timesteps=40, trained_betas=[0.04] * 20 + [0.09] * 20, beta_schedule="sigmoid", steps_offset=3)
    yield DDIMScheduler(trained_betas=BETAS, steps_offset=1)
    for spacing in ["leading", "linspace", "trailing"]:
        more = {"trained_betas": BETAS, "timestep_spacing": spacing, "steps_offset": 1}
        yield DPMSolverMultistepScheduler(thresholding=True, **more)
        yield DPMSolverMultistepScheduler(thresholding=True, algorithm_type="sde-dpmsolver++", **more)
        yield EulerDiscreteScheduler(**more)


def network(seed, folder, **more):
    torch.manual_seed(seed)
    model = UNet2DConditionModel(**{**NETWORK, **more}).eval()
    model.conv_out.weight.data *= 0.1
    model.save_pretrained(f"{folder}/unet")
    return model


def their_picture(pipe, guidance, embeds, **more):
    last = {}
    pipe.set_progress_bar_config(disable=True)
    pipe(prompt_embeds=embeds[0], negative_prompt_embeds=embeds[1], num_inference_steps=STEPS, guidance_scale=guidance,
         generator=torch.Generator().manual_seed(SEED), output_type="pt", callback=lambda i, t, x: last.update(x=x.clone()), **more)
    return last["x"].numpy()[0]


def our_pictures(programs, folder, guidance):
    done = subprocess.run([f"{programs}/text_to_image", "--model", f"{folder}/one", "--model2", f"{folder}/two", "--prompt", "cat",
                           "--embeddings", f"{folder}/texts.safetensors", "--steps", str(STEPS), "--guidance", str(guidance), "--guidance2",
                           str(guidance), "--rng", "torch", "--seed", str(SEED), "--numerics", "exact", "--save-npy", "--quiet",
                           "--out", f"{folder}/out"], capture_output=True, text=True)
    if done.returncode:
        return done.stderr.strip()
    with open(f"{folder}/out/metrics.json", encoding="utf-8") as file:
        return [np.load(f"{folder}/out/{image['npy']}") for image in json.load(file)["images"]]


def compare(programs, folder, scheduler, models, embeds, guidance):
    scheduler.save_pretrained(f"{folder}/one/scheduler")
    scheduler.save_pretrained(f"{folder}/two/scheduler")
    if "variance_type" not in scheduler.config:  # the pipelines ask for it
        scheduler.register_to_config(variance_type=None)
    ours = our_pictures(programs, folder, guidance)
    if isinstance(ours, str):
        return ours
    one, two = IFPipeline(unet=models[0], scheduler=scheduler, **PARTS), IFSuperResolutionPipeline(
        unet=models[1], scheduler=scheduler, image_noising_scheduler=DDPMScheduler(beta_schedule="squaredcos_cap_v2"), **PARTS)
    theirs = [their_picture(one, guidance, embeds, height=SIDE, width=SIDE),
              their_picture(two, guidance, embeds, height=2 * SIDE, width=2 * SIDE, image=torch.tensor(ours[0])[None])]
    if isinstance(scheduler, EulerDiscreteScheduler):
        theirs.pop()
    return max(float(np.abs(a - b).max() / np.sqrt((b ** 2).mean())) for a, b in zip(ours, theirs))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--programs", required=True)
    parser.add_argument("--only", default="", help="schedulers in whose description this stands")
    args = parser.parse_args()
    torch.set_num_threads(1)
    bad, worst = 0, 0
    with tempfile.TemporaryDirectory() as folder:
        os.makedirs(f"{folder}/two")
        models = [network(1, f"{folder}/one"), network(2, f"{folder}/two", in_channels=6, sample_size=2 * SIDE, class_embed_type="timestep")]
        DDPMScheduler(beta_schedule="squaredcos_cap_v2").save_pretrained(f"{folder}/two/image_noising_scheduler")
        embeds = [torch.randn(1, 77, WIDTH) for _ in range(2)]
        save_file({"cat": embeds[0][0].contiguous(), "": embeds[1][0].contiguous()}, f"{folder}/texts.safetensors")
        for scheduler in schedulers():
            keys = ["algorithm_type", "variance_type", "timestep_spacing", "steps_offset"]
            what = [type(scheduler).__name__] + [str(scheduler.config[key]) for key in keys if key in scheduler.config]
            what = " ".join(what + ["trained_betas"] * (scheduler.config.trained_betas is not None))
            if args.only not in what:
                continue
            found = [compare(args.programs, folder, scheduler, models, embeds, guidance) for guidance in (4.0, 1)]
            good = all(isinstance(f, float) and f <= 1e-4 for f in found)
            bad, worst = bad + (not good), max([worst] + found) if good else worst
            print(f"{what}: {', '.join(f if isinstance(f, str) else format(f, '.1e') for f in found)}", flush=True)
    print(f"{bad} of them wrong, largest difference of the others {worst:.1e}")
    sys.exit(bad > 0)


if __name__ == "__main__":
    main()
