"""Draws memory against added time from what recompute_bench printed.

  bench/recompute_plot.py RESULTS OUT_DIR     writes OUT_DIR/recompute-CASE.svg for each case

The line is the solver's curve, points are policies as the model of costs sees them: the same graph
and kernel times for both. Only the standard library is needed.
"""
import pathlib
import re
import sys

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 640, 400, 70, 20, 40, 50
HAND = re.compile(r"\s+for the bytes of (.+?)\s+([\d.]+) MiB: ([\d.]+) s by hand")
CURVE = re.compile(r"\s+curve\s+([\d.]+)\s+([\d.]+)\s+([\d.]+)$")
STEP = re.compile(r"\s+kernels and backward nodes at their fastest of \d+: ([\d.]+) s")
CASE = re.compile(r"(\w+): \d+ kernels, ")


def read(path):
    cases = {}
    case = None
    for line in path.read_text().splitlines():
        if match := CASE.match(line):
            case = cases.setdefault(match[1], {"hand": [], "curve": [], "bound": []})
        elif case is None:
            continue
        elif match := STEP.match(line):
            case["step"] = float(match[1])
        elif match := HAND.match(line):
            case["hand"].append((match[1], float(match[2]), float(match[3])))
        elif match := CURVE.match(line):
            case["curve"].append((float(match[1]), float(match[2])))
            case["bound"].append((float(match[1]), float(match[3])))
    return cases


def draw(name, case):
    step = case["step"]
    points = [(x, 100 * y / step) for _, x, y in case["hand"]]
    curve = [(x, 100 * y / step) for x, y in case["curve"]]
    bound = [(x, 100 * y / step) for x, y in case["bound"]]
    most_x = max(x for x, _ in points + curve) * 1.04
    least_x = min(x for x, _ in points + curve) * 0.9
    most_y = max(y for _, y in points + curve) * 1.08

    def at(point):
        x = LEFT + (point[0] - least_x) / (most_x - least_x) * (WIDTH - LEFT - RIGHT)
        y = HEIGHT - BOTTOM - point[1] / most_y * (HEIGHT - TOP - BOTTOM)
        return x, y

    out = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" '
           'font-family="sans-serif" font-size="12">',
           f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
           f'<text x="{LEFT}" y="22" font-size="14">{name}: peak memory and added time</text>']
    for i in range(6):
        x = least_x + (most_x - least_x) * i / 5
        y = most_y * i / 5
        px, _ = at((x, 0))
        _, py = at((least_x, y))
        out.append(f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{py:.1f}" y2="{py:.1f}" '
                   'stroke="#ddd"/>')
        out.append(f'<text x="{LEFT - 6}" y="{py + 4:.1f}" text-anchor="end">{y:.0f} %</text>')
        out.append(f'<text x="{px:.1f}" y="{HEIGHT - BOTTOM + 18}" '
                   f'text-anchor="middle">{x:.0f}</text>')
    out.append(f'<text x="{(LEFT + WIDTH - RIGHT) / 2}" y="{HEIGHT - 10}" text-anchor="middle">'
               'peak, MiB of all categories</text>')
    for line, style in ((bound, 'stroke="#999" stroke-dasharray="4 3"'),
                        (curve, 'stroke="#1f5fa8" stroke-width="2"')):
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in map(at, line))
        out.append(f'<polyline points="{path}" fill="none" {style}/>')
    for (label, _, _), point in zip(case["hand"], points):
        x, y = at(point)
        text = label.replace("&", "&amp;").replace("<", "&lt;")
        out.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" fill="#c0392b"/>')
        near_end = x > WIDTH - 160
        out.append(f'<text x="{x + (-8 if near_end else 8):.1f}" y="{y - 6:.1f}" '
                   f'text-anchor="{"end" if near_end else "start"}">{text}</text>')
    for i, (text, colour) in enumerate((("solver", "#1f5fa8"), ("its lower bound", "#999"),
                                        ("written by hand", "#c0392b"))):
        out.append(f'<text x="{WIDTH - RIGHT - 120}" y="{TOP + 16 * (i + 1)}" fill="{colour}">'
                   f'{text}</text>')
    out.append("</svg>\n")
    return "\n".join(out)


def main():
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    cases = read(pathlib.Path(sys.argv[1]))
    if not cases:
        sys.exit(f"{sys.argv[1]} has no results of recompute_bench")
    folder = pathlib.Path(sys.argv[2])
    folder.mkdir(parents=True, exist_ok=True)
    for name, case in cases.items():
        (folder / f"recompute-{name}.svg").write_text(draw(name, case))


if __name__ == "__main__":
    main()
