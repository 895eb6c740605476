#!/usr/bin/env python3
"""Records how ml_dtypes and NumPy cast, for tests/tensor/format_cast_test.cc.

  "$(scripts/reference_env | tail -1)" tests/reference/record_casts.py

writes tests/fixtures/reference/casts.safetensors:
  values            float32 to cast: any bits, every order of magnitude of the narrow formats,
                    ties and their neighbours; no NaN, whose payload differs between libraries
  <format>.codes    the codes of `values`
  <format>.decoded  float32 of every code (formats of at most 8 bits)
  <format>.brain    codes of all 2^16 bfloat16 values (E4M3 and E5M2)
The same versions give the same file."""

import argparse
import pathlib

import ml_dtypes
import numpy as np
from safetensors.numpy import save_file

FORMATS = {
    "bf16": ml_dtypes.bfloat16,
    "f16": np.float16,
    "e4m3": ml_dtypes.float8_e4m3fn,
    "e5m2": ml_dtypes.float8_e5m2,
    "e2m1": ml_dtypes.float4_e2m1fn,
    "e8m0": ml_dtypes.float8_e8m0fnu,
}
COUNT = 2000


def inputs():
    random = np.random.default_rng(7)
    bits = random.integers(0, 1 << 32, COUNT // 4, dtype=np.uint32).view(np.float32)
    # Every exponent that the narrow formats have, and some beyond.
    spread = np.ldexp(random.uniform(-2, 2, COUNT // 4), random.integers(-28, 18, COUNT // 4))
    # Few mantissa bits: exact values and ties; their neighbours.
    ties = np.ldexp(random.integers(-64, 64, COUNT // 4) / 16, random.integers(-20, 18, COUNT // 4))
    near = np.nextafter(ties.astype(np.float32), np.float32(np.inf) * random.choice([-1, 1]))
    edges = [448, 464, 465, 57344, 61440, 61439, 65504, 65520, 65519, 6, 5, 7, np.inf, 0.0]
    parts = [bits, spread, ties, near, edges, np.negative(edges)]
    values = np.concatenate([np.asarray(part, dtype=np.float32) for part in parts])
    return values[~np.isnan(values)]


def codes(values, dtype):
    with np.errstate(all="ignore"):
        cast = values.astype(dtype)
    return cast.view(np.uint8 if cast.itemsize == 1 else np.uint16)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    folder = pathlib.Path(__file__).parents[1] / "fixtures" / "reference"
    parser.add_argument("--out", type=pathlib.Path, default=folder / "casts.safetensors")
    args = parser.parse_args()
    values = inputs()
    tensors = {"values": values}
    brain = (np.arange(1 << 16, dtype=np.uint32) << 16).view(np.float32)
    for name, dtype in FORMATS.items():
        cast = codes(values, dtype)
        tensors[f"{name}.codes"] = cast if cast.itemsize == 1 else cast.astype(np.int32)
        if cast.itemsize == 1:
            all_codes = np.arange(16 if name == "e2m1" else 256, dtype=np.uint8)
            tensors[f"{name}.decoded"] = all_codes.view(dtype).astype(np.float32)
    for name in ("e4m3", "e5m2"):
        tensors[f"{name}.brain"] = codes(brain, FORMATS[name])
    versions = {"ml_dtypes": ml_dtypes.__version__, "numpy": np.__version__}
    save_file(tensors, args.out, metadata=versions)
    print(f"{args.out}: {args.out.stat().st_size} bytes, {len(values)} values")


if __name__ == "__main__":
    main()
