#!/usr/bin/env python3
"""Reads every dataset of a checkpoint's model.h5 with h5py, as a user would, and writes its bits.

usage: read_model_h5.py MODEL_H5 OUTPUT_FOLDER

OUTPUT_FOLDER/<name, slashes as +>.bin holds the elements in row-major order, little-endian, as
stored.
The values that a plain `dataset[()]` gives must be those bits; the script fails if they are not.
"""
import os
import sys

import h5py
import numpy as np


def raw_bits(dataset):
    """The elements without conversion: the memory type is the file's type."""
    bits = np.empty(dataset.shape, dtype=f"<u{dataset.dtype.itemsize}")
    size = dataset.id.get_type().get_size()
    if size != dataset.dtype.itemsize:  # bfloat16 is shown by h5py as a wider float
        bits = np.empty(dataset.shape, dtype=f"<u{size}")
    if bits.size:
        dataset.id.read(h5py.h5s.ALL, h5py.h5s.ALL, bits, mtype=dataset.id.get_type())
    return bits


def check_values(name, values, bits):
    """`values` is what a user sees, `bits` what is stored."""
    if bits.dtype.itemsize == values.dtype.itemsize:
        expected = bits.view(values.dtype)
    else:
        expected = (bits.astype("<u4") << 16).view("<f4").astype(values.dtype)
    same = (values == expected) | ((values != values) & (expected != expected))
    if not np.all(same):
        raise SystemExit(f"{name}: h5py shows other values than are stored")


def main():
    if len(sys.argv) != 3:
        raise SystemExit(__doc__)
    count = 0
    with h5py.File(sys.argv[1], "r") as file:

        def visit(name, item):
            nonlocal count
            if not isinstance(item, h5py.Dataset):
                return
            bits = raw_bits(item)
            check_values(name, np.asarray(item[()]), bits)
            bits.tofile(os.path.join(sys.argv[2], name.replace("/", "+") + ".bin"))
            print(name, item.shape, item.dtype)
            count += 1

        file.visititems(visit)
    print(f"h5py {h5py.__version__}, HDF5 {h5py.version.hdf5_version}: {count} datasets")


if __name__ == "__main__":
    main()
