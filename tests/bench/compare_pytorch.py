#!/usr/bin/env python3
"""Trains and samples the course's UNet (width 64 or 128, time and class) with PyTorch and with this library in turn.

    python3 tests/bench/compare_pytorch.py --bench build/tests/bench/diffc-bench [--rounds 5] [--json FILE]

Needs PyTorch (2.13 is what doc/results quotes), which the library itself never does. Every mode of PyTorch is tried
(float32 and bfloat16, contiguous and channels-last, with --compile also compiled) and the best of each type counts.
In every round each side runs once per row; the ratio of a round compares neighbours in time.
"""
import argparse

from turns import best_seconds, our_rows, save, set_allocator, spread

set_allocator()

import torch  # noqa: E402
import torch.nn as nn  # noqa: E402


def conv(i, o, stride=1):
    return nn.Sequential(nn.Conv2d(i, o, 3, stride, 1), nn.BatchNorm2d(o), nn.GELU())


def block(i, o):
    return nn.Sequential(conv(i, o), conv(o, o))


def down(i, o):
    return nn.Sequential(conv(i, o, 2), block(o, o))


def up(i, o):
    return nn.Sequential(nn.ConvTranspose2d(i, o, 4, 2, 1), nn.BatchNorm2d(o), nn.GELU(), block(o, o))


def fully_connected(i, o):
    return nn.Sequential(nn.Linear(i, o), nn.GELU(), nn.Linear(o, o))


class UNet(nn.Module):
    def __init__(self, d):
        super().__init__()
        self.first, self.down1, self.down2 = block(1, d), down(d, d), down(d, 2 * d)
        self.flatten = nn.Sequential(nn.AvgPool2d(7), nn.GELU())
        self.unflatten = nn.Sequential(nn.ConvTranspose2d(2 * d, 2 * d, 7, 7), nn.BatchNorm2d(2 * d), nn.GELU())
        self.up1, self.up2 = up(4 * d, d), up(2 * d, d)
        self.last, self.out = block(2 * d, d), nn.Conv2d(d, 1, 3, 1, 1)
        self.t1, self.t2 = fully_connected(1, 2 * d), fully_connected(1, d)
        self.c1, self.c2 = fully_connected(10, 2 * d), fully_connected(10, d)

    def forward(self, x, t, c):
        x0 = self.first(x)
        d1 = self.down1(x0)
        d2 = self.down2(d1)
        f = self.c1(c)[..., None, None] * self.unflatten(self.flatten(d2)) + self.t1(t)[..., None, None]
        u1 = self.c2(c)[..., None, None] * self.up1(torch.cat([f, d2], 1)) + self.t2(t)[..., None, None]
        return self.out(self.last(torch.cat([self.up2(torch.cat([u1, d1], 1)), x0], 1)))


class Mode:
    """One way to run PyTorch: training steps of a batch, or guided predictions of digits."""

    def __init__(self, width, batch, trains, dtype, layout, compiled):
        self.name = f"{dtype} {layout}" + (" compiled" if compiled else "")
        self.dtype, self.trains, self.batch = dtype, trains, batch
        memory = torch.channels_last if layout == "channels-last" else torch.contiguous_format
        self.model = UNet(width).to(memory_format=memory).train(trains)
        rows = batch if trains else 2 * batch  # both passes of the guidance in one batch
        self.x = torch.randn(rows, 1, 28, 28).contiguous(memory_format=memory)
        self.t, self.c = torch.rand(rows, 1), torch.zeros(rows, 10)
        self.target = torch.randn(rows, 1, 28, 28)
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=1e-3)
        self.run = torch.compile(self.model) if compiled else self.model

    def step(self):
        with torch.autocast("cpu", torch.bfloat16, enabled=self.dtype == "bf16"):
            if not self.trains:
                with torch.no_grad():
                    self.run(self.x, self.t, self.c)
                return
            loss = nn.functional.mse_loss(self.run(self.x, self.t, self.c).float(), self.target)
        self.optimizer.zero_grad(set_to_none=False)
        loss.backward()
        self.optimizer.step()

    def rate(self, seconds):
        """Images per second; a sampled image takes 300 predictions."""
        return self.batch / best_seconds(self.step, seconds) / (1 if self.trains else 300)


def our_rates(bench, name, seconds):
    rows = our_rows(bench, name, "--seconds", seconds, "--threads", torch.get_num_threads(),
                    "--isa", "avx512" if torch.backends.cpu.get_cpu_capability() == "AVX512" else "avx2")
    return {(row["numerics"], row["dtype"]): row["images_per_second"] for row in rows}


def compare(row, arguments):
    name, width, batch, trains = row
    modes = [Mode(width, batch, trains, dtype, layout, compiled) for dtype in arguments.types.split(",")
             for layout in ("contiguous", "channels-last") for compiled in ((False, True) if arguments.compile else (False,))]
    best = {}
    for mode in modes:  # one look at each; the best of each type stays
        rate = mode.rate(arguments.seconds)
        print(f"  {name}: PyTorch {mode.name}: {rate:.4g} images/s", flush=True)
        if mode.dtype not in best or rate > best[mode.dtype][0]:
            best[mode.dtype] = (rate, mode)
    ratios = {}
    for _ in range(arguments.rounds):
        theirs = {dtype: mode.rate(arguments.seconds) for dtype, (_, mode) in best.items()}
        for ours, rate in our_rates(arguments.bench, name, arguments.seconds).items():
            for dtype in theirs:
                ratios.setdefault((ours, dtype), []).append((rate / theirs[dtype], rate, theirs[dtype]))
    results = []
    for ((numerics, precision), dtype), values in sorted(ratios.items()):
        text, fields = spread([value[0] for value in values])
        print(f"{name}: {numerics} {precision} / PyTorch {best[dtype][1].name}: {text}; best {max(v[1] for v in values):.4g} "
              f"and {max(v[2] for v in values):.4g} images/s", flush=True)
        results.append({"row": name, "numerics": numerics, "dtype": precision, "pytorch": best[dtype][1].name,
                        **fields})
    return results


def main():
    rows = [("mnist_train_d64_b128", 64, 128, True), ("mnist_train_d128_b256", 128, 256, True),
            ("mnist_sample_d64_cfg40", 64, 40, False), ("mnist_sample_d64_cfg1", 64, 1, False)]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bench", required=True, help="path of diffc-bench")
    parser.add_argument("--rows", default=",".join(row[0] for row in rows), help="which of its rows")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=3, help="for one side in one round")
    parser.add_argument("--types", default="fp32,bf16", help="of PyTorch; bf16 is very slow without AVX-512")
    parser.add_argument("--compile", action="store_true", help="also torch.compile (needs a C++ compiler)")
    parser.add_argument("--json", help="file for the ratios")
    arguments = parser.parse_args()
    print(f"PyTorch {torch.__version__}, {torch.get_num_threads()} threads")
    results = []
    for row in rows:
        if row[0] in arguments.rows.split(","):
            results += compare(row, arguments)
    save(arguments.json, results)


if __name__ == "__main__":
    main()
