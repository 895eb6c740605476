#!/usr/bin/env python3
"""How a GPU's own FP8 products lie beside the sums that ops/block_gemm.h emulates. Needs torch and
a GPU with FP8 (Ada, Hopper or later); prints a table, checks nothing.

Operands are normal numbers in E4M3 with scales of 1 x 128 (a) and 128 x 128 (b), as in recipe
fp8-block. Errors are relative to sum(|a| |b|) of the element, in units of 2^-24, against the exact
product of the rounded operands (float64):
  emulated    blocks of 128 summed in F32, scaled, added in F32
  gpu, 128    blocks of 128 by the tensor cores, scaled and added in F32
  gpu, whole  all of k by the tensor cores, with one scale: no promotion (fast accumulation on, off)
"""
import torch

BLOCK = 128


def quantise(x, rows, columns):
    """E4M3 codes and the scale of each [rows, columns] block."""
    m, k = x.shape
    blocks = x.reshape(m // rows, rows, k // columns, columns)
    scale = blocks.abs().amax(dim=(1, 3), keepdim=True) / 448
    codes = (blocks / scale).to(torch.float8_e4m3fn).reshape(m, k)
    return codes, scale[:, 0, :, 0]


def error(got, exact, size):
    return ((got.double() - exact).abs() / size).max().item() * 2**24


def product(a, b, fast):
    one = torch.ones((), device='cuda')
    return torch._scaled_mm(a, b.t(), scale_a=one, scale_b=one, out_dtype=torch.float32,
                            use_fast_accum=fast)


def row(m, n, k):
    torch.manual_seed(k)
    a, b = torch.randn(m, k, device='cuda'), torch.randn(n, k, device='cuda')
    a8, sa = quantise(a, 1, BLOCK)
    b8, sb = quantise(b, BLOCK, BLOCK)
    sb = sb.repeat_interleave(BLOCK, 0)
    wide_a = a8.double() * sa.double().repeat_interleave(BLOCK, 1)
    wide_b = b8.double() * sb.double().repeat_interleave(BLOCK, 1)
    exact, size = wide_a @ wide_b.t(), wide_a.abs() @ wide_b.abs().t()
    emulated = torch.zeros(m, n, device='cuda')
    promoted = torch.zeros(m, n, device='cuda')
    for i in range(k // BLOCK):
        part = slice(i * BLOCK, (i + 1) * BLOCK)
        scale = sa[:, i, None] * sb[None, :, i]
        emulated += (a8[:, part].float() @ b8[:, part].float().t()) * scale
        promoted += product(a8[:, part].contiguous(), b8[:, part].contiguous(), False) * scale
    codes = a8.double() @ b8.double().t()
    whole = [error(product(a8, b8, fast), codes, a8.double().abs() @ b8.double().abs().t())
             for fast in (True, False)]
    print(f'{m:>6}{n:>6}{k:>7}{error(emulated, exact, size):>12.2f}'
          f'{error(promoted, exact, size):>12.2f}{whole[0]:>14.2f}{whole[1]:>14.2f}')


def main():
    torch.backends.cuda.matmul.allow_tf32 = False
    print(torch.cuda.get_device_name(), 'torch', torch.__version__)
    print(f'{"m":>6}{"n":>6}{"k":>7}{"emulated":>12}{"gpu, 128":>12}{"whole, fast":>14}'
          f'{"whole, slow":>14}')
    for m, n, k in [(256, 256, 128), (256, 256, 1024), (512, 512, 4096), (512, 512, 16384)]:
        row(m, n, k)


if __name__ == '__main__':
    main()
