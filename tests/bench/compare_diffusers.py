#!/usr/bin/env python3
"""Runs networks with the shapes of DeepFloyd IF in diffusers (or transformers, or OpenVINO) and in this library in turn.

    python3 tests/bench/compare_diffusers.py --bench build/tests/bench/diffc-bench --models DIR [--rounds 3] [--json FILE]

DIR holds folders I-M, II-M, T5-XXL, ... as build/tests/tools/make_model writes them; those that are there are
compared. A step is one guided prediction: two samples with 77 tokens each. Needs PyTorch with diffusers and
transformers, and OpenVINO for --openvino, none of which the library itself ever does. The encoder takes one prompt of
77 tokens, or one of 15 and the empty one, padded, which transformers gets as one batch. Of T5-XXL four layers of 24
run there and count six times, as the whole takes 19 GB. In every round each side runs once per row; the ratio of a
round compares neighbours in time.
"""
import argparse
import os

from turns import best_seconds, our_rows, save, set_allocator, spread

set_allocator()

import torch  # noqa: E402

ROWS = {"if_i_m_step_cfg": "I-M", "if_i_l_step_cfg": "I-L", "if_ii_m_step_cfg": "II-M", "t5_xxl_77": "T5-XXL",
        "t5_xxl_prompt_and_empty": "T5-XXL"}
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}
TOKENS = 77
USED = {"t5_xxl_77": [TOKENS], "t5_xxl_prompt_and_empty": [15, 1]}  # tokens of each prompt


class Steps:
    """A UNet of diffusers; both passes of the guidance are one batch."""

    def __init__(self, folder, dtype, name):
        from diffusers import UNet2DConditionModel
        self.scale = 1
        self.model = UNet2DConditionModel.from_pretrained(folder, torch_dtype=dtype).eval()
        config = self.model.config
        self.inputs = [torch.randn(2, config.in_channels, config.sample_size, config.sample_size, dtype=dtype),
                       torch.tensor(500), torch.randn(2, TOKENS, config.encoder_hid_dim, dtype=dtype)]
        if config.class_embed_type:
            self.inputs.append(torch.tensor([250, 250]))

    def run(self):
        with torch.no_grad():
            self.model(*self.inputs)


class OpenVinoSteps(Steps):
    def __init__(self, folder, dtype, name):
        import openvino
        super().__init__(folder, torch.float32, name)
        converted = openvino.convert_model(self.model, example_input=tuple(self.inputs))
        precision = {torch.float32: "f32", torch.bfloat16: "bf16"}[dtype]
        self.compiled = openvino.Core().compile_model(converted, "CPU", {"INFERENCE_PRECISION_HINT": precision})
        self.model, self.inputs = None, [value.numpy() for value in self.inputs]

    def run(self):
        self.compiled(self.inputs)


class Encoder:
    LAYERS = 4

    def __init__(self, folder, dtype, name):
        from transformers import T5Config, T5EncoderModel
        config = T5Config.from_pretrained(folder)
        self.scale = config.num_layers / self.LAYERS
        config.num_layers, before = self.LAYERS, torch.get_default_dtype()
        torch.set_default_dtype(dtype)
        self.model = T5EncoderModel(config).eval()
        torch.set_default_dtype(before)
        self.mask = torch.tensor([[int(i < used) for i in range(TOKENS)] for used in USED[name]])
        self.ids = torch.arange(3, 3 + TOKENS) * self.mask

    def run(self):
        with torch.no_grad():
            self.model(self.ids, self.mask)


def our_seconds(arguments, name, precision):
    return our_rows(arguments.bench, name, "--models", arguments.models, "--isa", arguments.isa, "--numerics",
                    arguments.numerics, "--precision", precision, "--seconds", arguments.seconds, "--threads",
                    torch.get_num_threads())[0]["seconds"]


def compare(name, kind, precision, dtype, arguments):
    peer = kind(os.path.join(arguments.models, ROWS[name]), DTYPES[dtype], name)
    theirs = {"Steps": "diffusers", "OpenVinoSteps": "OpenVINO", "Encoder": "transformers"}[kind.__name__] + " " + dtype
    pairs = [(best_seconds(peer.run, arguments.seconds) * peer.scale, our_seconds(arguments, name, precision))
             for _ in range(arguments.rounds)]
    text, fields = spread([their / our for their, our in pairs])
    print(f"{name}, {arguments.numerics}, {precision} / {theirs}: {text}; "
          f"best {min(p[1] for p in pairs):.3f} and {min(p[0] for p in pairs):.3f} s", flush=True)
    return {"row": name, "numerics": arguments.numerics, "precision": precision, "peer": theirs,
            **fields, "seconds": pairs}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bench", required=True, help="path of diffc-bench")
    parser.add_argument("--models", required=True, help="folder of the models' folders")
    parser.add_argument("--rows", default=",".join(ROWS), help="which of them")
    parser.add_argument("--pairs", default="fp32/fp32,bf16/bf16", help="precision of this library and type of the peer")
    parser.add_argument("--numerics", default="default", help="of this library")
    parser.add_argument("--isa", default="avx512" if torch.backends.cpu.get_cpu_capability() == "AVX512" else "avx2")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=5, help="for one side in one round")
    parser.add_argument("--openvino", action="store_true", help="also UNets in OpenVINO")
    parser.add_argument("--json", help="file for the ratios")
    arguments = parser.parse_args()
    print(f"PyTorch {torch.__version__}, {torch.get_num_threads()} threads")
    results = []
    for name in arguments.rows.split(","):
        if not os.path.exists(os.path.join(arguments.models, ROWS[name], "config.json")):
            continue
        kinds = [Encoder] if name in USED else [Steps] + [OpenVinoSteps] * arguments.openvino
        for pair in arguments.pairs.split(","):
            results += [compare(name, kind, *pair.split("/"), arguments) for kind in kinds]
    save(arguments.json, results)


if __name__ == "__main__":
    main()
