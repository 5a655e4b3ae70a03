#!/usr/bin/env python3
"""Turns PyTorch checkpoints (.bin, .pth, .pt, .ckpt) into safetensors that libdiffc reads.

usage: convert_checkpoint.py FILE [OUT.safetensors]
       convert_checkpoint.py FOLDER

A FILE is a dictionary of tensors, possibly within "state_dict" or "model", or a dictionary from prompts to text
states: [1, tokens, width] or [tokens, width] under the prompt's text, as the course gives them out. Those become
prompt embeddings for --embeddings: tensors prompt.0, prompt.1, ... with the texts as metadata.

In a FOLDER of diffusers or transformers (also of a whole pipeline) every *.bin becomes a safetensors file beside
it, under the name that those libraries would give it, and so does an index of shards. Nothing is removed.

Needs PyTorch, of your own choice. Files are loaded with weights_only=True, so that no code in them runs.
"""

import itertools
import json
import os
import struct
import sys

DTYPES = {"float32": "F32", "float16": "F16", "bfloat16": "BF16", "float64": "F64", "uint8": "U8", "int32": "I32",
          "int64": "I64"}


def fail(message):
    sys.exit("convert_checkpoint.py: " + message)


def load(path):
    try:
        import torch
    except ImportError:
        fail("needs PyTorch: https://pytorch.org")
    try:
        loaded = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # the message says what the file holds that is no tensor
        fail("%s: %s" % (path, str(error).splitlines()[0]))
    for key in ("state_dict", "model"):
        if isinstance(loaded, dict) and isinstance(loaded.get(key), dict):
            loaded = loaded[key]
    if not isinstance(loaded, dict):
        fail("%s: holds a %s, expected a dictionary of tensors" % (path, type(loaded).__name__))
    tensors = {name: value for name, value in loaded.items() if hasattr(value, "numpy") and isinstance(name, str)}
    for name in loaded:
        if name not in tensors:
            print("%s: \"%s\" is no tensor and left out" % (path, name))
    if not tensors:
        fail("%s: no tensors" % path)
    return tensors


def are_prompts(tensors):
    """Names of weights have no blanks and are not all alike in shape; prompts are sentences or empty."""
    texts = any(" " in name or not name for name in tensors)
    return texts and all(value.ndim == 2 or value.ndim == 3 and len(value) == 1 for value in tensors.values())


def raw_bytes(tensor):
    """Little-endian bytes in C order; bfloat16 has no NumPy type and goes through its bits."""
    import torch
    flat = tensor.detach().contiguous().cpu().reshape(-1)
    if flat.dtype == torch.bfloat16:
        flat = flat.view(torch.int16)
    array = flat.numpy()
    return array.astype(array.dtype.newbyteorder("<"), copy=False).tobytes()


def replace(path, parts):
    """The file has its name when all of it is written."""
    temporary = path + ".tmp"
    try:
        with open(temporary, "wb") as file:
            for part in parts:
                file.write(part)
        os.replace(temporary, path)
    except BaseException:
        if os.path.exists(temporary):
            os.remove(temporary)
        raise


def write(path, tensors, metadata):
    header, offset = {"__metadata__": metadata}, 0
    for name, tensor in tensors.items():
        dtype = str(tensor.dtype).replace("torch.", "")
        if dtype not in DTYPES:
            fail("%s: tensor \"%s\" is %s, known are %s" % (path, name, dtype, ", ".join(DTYPES)))
        size = tensor.numel() * tensor.element_size()
        header[name] = {"dtype": DTYPES[dtype], "shape": list(tensor.shape), "data_offsets": [offset, offset + size]}
        offset += size
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    replace(path, itertools.chain([struct.pack("<Q", len(text)) + text], map(raw_bytes, tensors.values())))
    print("%s: %d tensors" % (path, len(tensors)))


def convert_file(path, out=None):
    tensors = load(path)
    out = out or os.path.splitext(path)[0] + ".safetensors"
    metadata = {"format": "pt"}
    if are_prompts(tensors):
        prompts = list(tensors)
        tensors = {"prompt.%d" % i: tensors[prompt].reshape(tensors[prompt].shape[-2:])
                   for i, prompt in enumerate(prompts)}
        metadata = {"prompt.%d" % i: prompt for i, prompt in enumerate(prompts)}
    write(out, tensors, metadata)


def safe_name(name):
    """pytorch_model.fp16-00001-of-00002.bin becomes model.fp16-00001-of-00002.safetensors."""
    stem = name[:-len(".bin")]
    if stem.startswith("pytorch_model"):
        stem = stem[len("pytorch_"):]
    return stem + ".safetensors"


def convert_index(folder, name):
    path = os.path.join(folder, name)
    try:
        with open(path) as file:
            index = json.load(file)
        index["weight_map"] = {tensor: safe_name(shard) for tensor, shard in index["weight_map"].items()}
    except (ValueError, KeyError, TypeError, AttributeError):
        fail("%s: is no index of shards in JSON" % path)
    stem, rest = name.split(".bin.index", 1)
    if stem.startswith("pytorch_model"):
        stem = stem[len("pytorch_"):]
    out = os.path.join(folder, stem + ".safetensors.index" + rest)
    replace(out, [json.dumps(index, indent=2).encode()])
    print(out)


def convert_folder(folder):
    found = 0
    for directory, _, names in sorted(os.walk(folder)):
        for name in sorted(names):
            if name.endswith(".bin"):
                convert_file(os.path.join(directory, name), os.path.join(directory, safe_name(name)))
                found += 1
        for name in sorted(names):
            if ".bin.index" in name and name.endswith(".json"):
                convert_index(directory, name)
    if not found:
        fail("%s: no *.bin" % folder)


def main(arguments):
    if len(arguments) not in (1, 2) or arguments[0] in ("-h", "--help"):
        print(__doc__)
        return 0 if arguments and arguments[0] in ("-h", "--help") else 2
    if os.path.isdir(arguments[0]) and len(arguments) > 1:
        fail("%s: a folder is converted in place, no OUT" % arguments[0])
    try:
        if os.path.isdir(arguments[0]):
            convert_folder(arguments[0])
        else:
            convert_file(*arguments)
    except OSError as error:
        fail("%s: %s" % (error.filename or arguments[-1], error.strerror))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
