"""The table of `search`: for people on the terminal as it comes, and as Markdown.

A group's rivals are in the order of their bytes, so the best one comes first.
"""

import os

COLUMNS = ("model", "who", "options", "bytes", "brotli", "accuracy %", "error %", "seconds", "lat.")
FORM = "{:<7} {:<20} {:<31} {:>10} {:>10} {:>15} {:>7} {:>7} {:>5}"
HEADINGS = {
    "1 %": "at most 1 % of test accuracy lost",
    "0.2 %": "at most 0.2 % of test accuracy lost",
    "error": "no data; relative output error at most 1 %",
}
NOTES = """\
Accuracy (before → after) on the whole official test set in ONNX Runtime; error: RMS of the outputs' difference over their standard
deviation there; brotli: bytes of the file after brotli, quality 11 (9 above 32 MB); lat.: latency over the original's, batch 1, one
thread, median.
adntn / best rival: bytes over those of the best rival, and the same after brotli.
Every rival is given the setting that makes its smallest file within the tolerance on the test set itself (shrink-ray floats: the
smallest after brotli), which favours it: adntn never sees the test set. The weighted SVD has 5,000 samples of the whole training set,
whatever adntn has. A rival's seconds are for making that one file; those of the search for its setting are not counted.
! outside the tolerance on the test set: no equal quality, no ratio."""


def shortened(text, width):
    return text if len(text) <= width else text[: width - 1] + "…"


def rows(group):
    """The cells of every line of a group."""
    before = group.before
    was = 100 * before["right"] / before["count"]

    def line(who, options, measured):
        mark = "" if group.target.holds(measured, before) else "!"
        accuracy = f"{was:.2f} → {100 * measured['right'] / measured['count']:.2f}{mark}"
        numbers = [f"{measured['bytes']:,}", f"{measured['brotli']:,}", accuracy, f"{100 * measured['error']:.2f}"]
        return [group.subject.name, who, options, *numbers, f"{measured['seconds']:.1f}", f"{measured['latency']:.2f}"]

    yield [group.subject.name, "original", "", f"{before['bytes']:,}", f"{before['brotli']:,}", f"{was:.2f}", "0.00", "", "1.00"]
    for ours in group.ours:
        if ours.measured is None:
            yield [group.subject.name, "adntn", ours.options, "failed", *[""] * 5]
        else:
            yield line("adntn", ours.options, ours.measured)
    for rival in sorted(group.rivals, key=lambda rival: rival.measured["bytes"]):
        yield line(rival.who, rival.options, rival.measured)
    for ours in group.ours:
        if ours.measured is None or not group.rivals:
            continue
        ratios = [group.ratio(ours, key) for key in ("bytes", "brotli")]
        said = ["!" if ratio is None else f"{ratio:.2f}x" for ratio in ratios]
        yield [group.subject.name, "adntn / best rival", ours.options, *said, *[""] * 4]


class Paper:
    """Prints the groups as they come and keeps the Markdown file up to date."""

    def __init__(self, path):
        self.path, self.parts = path, []

    def add(self, group):
        title = f"{group.subject.model}: {HEADINGS[group.target.name]}"
        lines = list(rows(group))
        print(f"\n{title}\n" + FORM.format(*COLUMNS))
        for cells in lines:
            widths = (7, 20, 31)
            print(FORM.format(*(shortened(cell, width) for cell, width in zip(cells, widths)), *cells[3:]), flush=True)
        table = ["| " + " | ".join(COLUMNS) + " |", "|---|---|---|" + "---:|" * (len(COLUMNS) - 3)]
        table += ["| " + " | ".join(cells) + " |" for cells in lines]
        self.parts.append(f"### {title}\n\n" + "\n".join(table) + "\n")
        self.write()

    def end(self, missed, count):
        lines = [NOTES, f"{os.cpu_count()} cores." + f" {count - len(missed)} of {count} bars met." * bool(count)]
        lines += [f"missed: {what}" for what in missed]
        print("\n" + "\n".join(lines) + "\n")
        self.parts.append("\n".join(lines[:2]) + "\n" + "".join(f"- {line}\n" for line in lines[2:]))
        self.write()

    def write(self):
        self.path.write_text("\n".join(self.parts))
