#!/usr/bin/env python3
"""How much loss each precision recipe costs: the same short run of real text in every recipe.

    bench/precision_runs.py [--config configs/moe-tiny.yaml] [--steps 300] [--seeds 6]
                            [--out FILE]

Each recipe is trained at two learning rates:
  the config's own   Runs at it are chaotic: the same run in float32 from another seed ends percents
                     away. So its rows are means over seeds, paired with float32's run of the same
                     seed, with the standard error of the mean.
  1e-4               Calm, as late in a long run: updates are small beside the weights, which is
                     where 16-bit weights lose them. One seed.
The loss is that of the validation set after the last step, over all languages.

A recipe passes if at the low rate its loss is within the band of float32's, and at the config's own
rate its mean excess is at most the band plus one standard error. The last row must fail: bf16
weights without master, rounded to nearest. Exit status 0 if every row does what it must.
"""
import argparse
import json
import math
import pathlib
import platform
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent
LOW_RATE = 1e-4

# name, band in percent, whether it must pass, overrides
ROWS = [
    ('bf16', 0.5, True, ['--precision.recipe=bf16']),
    ('bf16-lean', 0.5, True, ['--precision.recipe=bf16-lean']),
    ('fp16', 0.5, True, ['--precision.recipe=fp16']),
    ('fp8-block', 1.0, True, ['--precision.recipe=fp8-block']),
    ('mxfp8', 1.0, True, ['--precision.recipe=mxfp8']),
    ('fp32, 8-bit moments', 0.5, True, ['--precision.moments=int8']),
    ('bf16, 8-bit moments', 0.5, True, ['--precision.recipe=bf16', '--precision.moments=int8']),
    ('bf16 weights, nearest', 0.5, False,
     ['--precision.parameters=bf16', '--precision.master=false',
      '--precision.stochastic_rounding=false', '--precision.force=true']),
]


def validation_loss(run):
    loss = labels = 0
    for line in open(run / 'metrics.jsonl'):
        entry = json.loads(line)
        if entry.get('eval') == 'validation':
            loss += entry['loss'] * entry['labels']
            labels += entry['labels']
    return loss / labels


def train(arguments, overrides, seed, rate):
    with tempfile.TemporaryDirectory() as folder:
        run = pathlib.Path(folder) / 'run'
        command = [str(arguments.choir), 'train', arguments.config, f'--run.dir={run}',
                   f'--train.steps={arguments.steps}', f'--train.seed={seed}',
                   '--checkpoint.interval=0', '--checkpoint.at_end=false', *overrides]
        if rate:
            command.append(f'--optim.lr={rate}')
        result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
        if result.returncode != 0:
            sys.exit(f'precision_runs: {" ".join(command)}\n{result.stderr}')
        return validation_loss(run)


def excess(losses, references):
    """Mean of the relative differences in percent, and the standard error of that mean."""
    each = [100 * (a - b) / b for a, b in zip(losses, references)]
    mean = sum(each) / len(each)
    if len(each) == 1:
        return mean, math.nan
    variance = sum((e - mean) ** 2 for e in each) / (len(each) - 1)
    return mean, math.sqrt(variance / len(each))


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--config', default='configs/moe-tiny.yaml')
    parser.add_argument('--choir', default=ROOT / 'build/cpu/choir', type=pathlib.Path)
    parser.add_argument('--steps', default=300, type=int)
    parser.add_argument('--seeds', default=6, type=int)
    parser.add_argument('--rows', help='only rows whose name has this in it')
    parser.add_argument('--out', type=pathlib.Path, help='also write the table here')
    arguments = parser.parse_args()
    if arguments.seeds < 2:
        parser.error('--seeds must be at least 2: a standard error needs two runs')
    rows = [row for row in ROWS if not arguments.rows or arguments.rows in row[0]]

    lines = []

    def say(line):
        print(line, flush=True)
        lines.append(line)

    seeds = range(1, arguments.seeds + 1)
    reference = [train(arguments, [], seed, None) for seed in seeds]
    calm = train(arguments, [], 1, LOW_RATE)
    say(f'{arguments.config}, {arguments.steps} steps, {platform.machine()} CPU; validation loss '
        f'over all languages')
    say(f'fp32: {sum(reference) / len(reference):.4f} at the config\'s rate (mean of '
        f'{arguments.seeds} seeds, from {min(reference):.4f} to {max(reference):.4f}), {calm:.4f} '
        f'at {LOW_RATE:g}')
    say(f'{"recipe":<24}{"excess %":>10}{"+- s.e.":>9}{"at 1e-4, %":>12}{"band %":>8}  verdict')
    wrong = 0
    for name, band, must_pass, overrides in rows:
        mean, error = excess([train(arguments, overrides, seed, None) for seed in seeds], reference)
        low, _ = excess([train(arguments, overrides, 1, LOW_RATE)], [calm])
        passes = abs(low) <= band and mean <= band + error
        expected = passes == must_pass
        wrong += not expected
        verdict = ('within' if passes else 'outside') + (', as it must' if expected else ': WRONG')
        say(f'{name:<24}{mean:>10.3f}{error:>9.3f}{low:>12.4f}{band:>8.1f}  {verdict}')
    if arguments.out:
        arguments.out.write_text('\n'.join(lines) + '\n')
    return 1 if wrong else 0


if __name__ == '__main__':
    sys.exit(main())
