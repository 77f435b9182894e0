"""`cellgate walkthrough`: the worked example in the terminal, computed and checked before the reader's eyes."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.cells import cell_len
from rich.console import Console
from rich.markup import escape
from rich.padding import Padding
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from cellgate.cli.console import paper, say

if TYPE_CHECKING:
    from torch import Tensor

    from cellgate.trace.walkthrough import Check, ParameterLine, Pass, Section, UnitStep, Walkthrough

# Beyond these one layer takes gigabytes, and nothing is learnt from it.
LARGEST_HIDDEN, LARGEST_INPUT = 4096, 65536
SHOWN_STEPS = 6
# For a terminal that cannot print them.
_ASCII = str.maketrans(
    {"✓": "ok", "✗": "WRONG", "σ": "sigmoid", "·": "*", "…": "...", "→": "->", "←": "<-", "␣": "(space)"}
)
_SPACES_AT_END = re.compile(r"[ ]+((?:\x1b\[[0-9;]*m)*)$")

FORMULAS = {
    "i": "i = σ(W_ii x + b_ii + W_hi h + b_hi)",
    "f": "f = σ(W_if x + b_if + W_hf h + b_hf)",
    "g": "g = tanh(W_ig x + b_ig + W_hg h + b_hg)",
    "o": "o = σ(W_io x + b_io + W_ho h + b_ho)",
    "c": "c(t) = f · c(t-1) + i · g",
    "h": "h(t) = o · tanh(c(t))",
}
ROLES = {
    "i": "input gate: how much of the candidate enters",
    "f": "forget gate: how much of the old cell stays",
    "g": "cell candidate: what could enter",
    "o": "output gate: how much of the cell shows",
    "c": "memory cell",
    "h": "hidden state: what the layer outputs",
}


def command(
    text: Annotated[str, typer.Option(help="Each character is one step.")] = "早上好",
    input_size: Annotated[
        int, typer.Option(min=1, max=LARGEST_INPUT, help="Numbers in the vector of a character.")
    ] = 20,
    hidden_size: Annotated[int, typer.Option(min=1, max=LARGEST_HIDDEN, help="Units of a layer.")] = 100,
    seed: Annotated[int, typer.Option(min=0, max=2**63 - 1, help="Of the random vectors and weights.")] = 0,
    html: Annotated[Path | None, typer.Option(help="An interactive page to write, one HTML file.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Write over the page.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print every number as one JSON object.")] = False,
) -> int:
    """Compute an LSTM step by step: one layer, two layers, both directions, a prediction.

    Every number shown is computed as you look, and every claim is checked. Exits with 1 if one does not hold.
    """
    from cellgate.cli.files import require_new
    from cellgate.data.files import write_atomic
    from cellgate.trace.walkthrough import visible, walk

    if html is not None:
        require_new(html, "--html", force)
    example = walk(text, input_size, hidden_size, seed)
    if html is not None:
        from cellgate.report.walkthrough_page import walkthrough_page

        page = walkthrough_page(example.as_dict(), [visible(character) for character in example.characters])
        write_atomic(html, page.encode())
    if as_json:
        print(json.dumps(example.as_dict(), allow_nan=False))
    elif html is not None:
        say(f"wrote {html} ({html.stat().st_size / 1e6:.1f} MB): open it in a browser")
    else:
        show(example, paper(highlight=False))
    return 0 if example.holds else 1


def show(example: Walkthrough, console: Console) -> None:
    """Print a walkthrough for a person, as wide as the console is, at least 40 columns.

    Args:
        example: What to show.
        console: Where.
    """
    console.width = max(console.width, 40)
    _show_input(example, console)
    for number, section in enumerate(example.sections, 1):
        _heading(f"{number}. {section.title}", console)
        _show_section(example, section, console)
    _heading(f"{len(example.sections) + 1}. What each parameter does to the shapes", console)
    for line in example.parameter_lines:
        _show_parameter(line, console)
    console.print()
    _show_verdict(example, console)


def _print(what: Table | str, console: Console, indent: int = 2) -> None:
    """Print indented, with no spaces behind the text for a pipe or a copy to carry along."""
    with console.capture() as capture:
        console.print(Padding(what, (0, 0, 0, indent), expand=False))
    text = "\n".join(_SPACES_AT_END.sub(r"\1", line) for line in capture.get().splitlines())
    console.print(Text.from_ansi(text.translate(_ASCII) if console.options.ascii_only else text), soft_wrap=True)


def _heading(title: str, console: Console) -> None:
    console.print()
    console.print(Rule(f"[bold]{escape(title)}[/bold]", align="left", style="dim"))


def _show_input(example: Walkthrough, console: Console) -> None:
    names = _names(example)
    steps = len(names)
    title = [names[t] for t in _some(steps)]
    if len(title) < steps:
        title.insert(-1, "…")
    _print(f"[bold]An LSTM, step by step:[/bold] {escape(' '.join(title))}", console, 0)
    console.print()
    _print(
        f"{steps} {'character is 1 step' if steps == 1 else f'characters are {steps} steps'}. Each is a vector of "
        f"{example.input_size} (input_size), random here, as an untrained embedding is.",
        console,
        0,
    )
    table = _grid()
    for t in _steps_shown(table, steps):
        table.add_row(f"x(t{t + 1})", escape(names[t]), _numbers(example.vectors[t], console, 24))
    console.print()
    _print(table, console)
    console.print()
    _print(
        "[dim]T steps, B sequences at once (1 here), I input_size, H hidden_size, L layers, O outputs[/dim]", console, 0
    )


def _show_section(example: Walkthrough, section: Section, console: Console) -> None:
    _print(f"[cyan]{escape(section.code)}[/cyan]", console, 0)
    console.print()
    _print(escape(section.story), console, 0)
    console.print()
    letters = {"input": "(T, B, I)", "output": "(T, B, H)", "h_n": "(L, B, H)", "c_n": "(L, B, H)"}
    if section.key == "both-directions":
        letters |= {"output": "(T, B, 2H)", "h_n": "(2L, B, H)", "c_n": "(2L, B, H)"}
    if section.key == "prediction":
        letters |= {"prediction": "(B, O)"}
    table = _grid(fixed=2)
    for name, shape in section.shapes.items():
        table.add_row(name, str(shape), f"[dim]{letters[name]}[/dim]")
    for name, shape in section.parameters.items():
        table.add_row(name, str(shape), f"[dim]{_kind(name)}[/dim]")
    _print(table, console)
    console.print()

    if section.key == "one-layer":
        _show_steps(example, section.passes[0], console)
        _show_unit(example, section.passes[0], console)
    elif section.key == "two-layers":
        _show_layers(example, section.passes, console)
    elif section.key == "both-directions":
        _show_directions(example, section.passes, console)
    elif section.key == "prediction":
        classes = list(dict.fromkeys(_names(example)))
        scores = [f"{escape(classes[k])} {section.prediction[k]:+.4f}" for k in _some(len(classes))]
        _print("scores for the character that comes next:", console)
        _print("   ".join(scores), console)
        console.print()
    for check in section.checks:
        _show_check(check, console)


def _kind(parameter: str) -> str:
    """Say in a few words what a parameter is."""
    for start, kind in (
        ("weight_ih", "W_ii, W_if, W_ig, W_io, one below the other"),
        ("weight_hh", "W_hi, W_hf, W_hg, W_ho"),
        ("bias_ih", "b_ii, b_if, b_ig, b_io"),
        ("bias_hh", "b_hi, b_hf, b_hg, b_ho"),
        ("readout.weight", "W of the readout, behind the LSTM"),
        ("readout.bias", "b of the readout"),
    ):
        if parameter.removeprefix("lstm.").startswith(start):
            return kind + (", backward" if parameter.endswith("_reverse") else "")
    return ""


def _show_steps(example: Walkthrough, read: Pass, console: Console) -> None:
    names, steps = _names(example), len(read.order)
    table = _grid()
    for t in _steps_shown(table, steps):
        before, now = (f"(t{t})" if t else "(0)"), f"(t{t + 1})"
        zeros = f"zeros, ({example.hidden_size},)"
        table.add_row(f"[bold]t{t + 1}[/bold]", escape(names[t]), "reads", f"x{now}", _numbers(read.x[t], console, 30))
        table.add_row("", "", "with", f"h{before}", _numbers(read.h[t - 1], console, 30) if t else zeros)
        table.add_row("", "", "", f"c{before}", _numbers(read.c[t - 1], console, 30) if t else zeros)
        table.add_row("", "", "gives", f"h{now}", _numbers(read.h[t], console, 30))
        table.add_row("", "", "", f"c{now}", _numbers(read.c[t], console, 30))
    _print(table, console)
    console.print()


def _show_unit(example: Walkthrough, read: Pass, console: Console) -> None:
    """Print the equations beside the numbers of unit 0, then one step with all its sums."""
    names = _names(example)
    widest = max(cell_len(formula) for formula in FORMULAS.values())
    beside = console.width >= widest + 2 + 2 * 10
    columns = (console.width - (widest if beside else 5) - 4) // 11
    shown = read.unit[: max(columns, 1)]
    _print(f"The equations, and the numbers of unit 0 of the {example.hidden_size}:", console)
    console.print()
    if not beside:
        for formula in FORMULAS.values():
            _print(formula, console)
        console.print()
    table = Table(box=None, padding=(0, 1), show_edge=False)
    table.add_column("", no_wrap=True)
    for step in shown:
        table.add_column(escape(f"t{step.step + 1} {names[step.step]}"), justify="right", no_wrap=True)
    for key, formula in FORMULAS.items():
        values = [_value(step, key) for step in shown]
        table.add_row(f"[bold]{formula}[/bold]" if beside else key, *(f"{value:+.5f}" for value in values))
    _print(table, console)
    console.print()
    _print("[dim]x is x(t), and h is h(t-1); σ is the sigmoid, 1 / (1 + exp(-a))[/dim]", console)
    for key, role in ROLES.items():
        _print(f"[dim]{key}  {role}[/dim]", console)

    step = shown[min(1, len(shown) - 1)]
    now, before = f"t{step.step + 1}", f"t{step.step}" if step.step else "0"
    console.print()
    _print(f"Unit 0 at {now} {escape(names[step.step])} with every sum written out:", console)
    console.print()
    for key, squash in (("i", "σ"), ("f", "σ"), ("g", "tanh"), ("o", "σ")):
        gate = getattr(step, key)
        terms = " ".join(f"{v:+.4f}" for v in (gate.from_input, gate.bias_ih, gate.from_state, gate.bias_hh))
        _print(f"{key} = {squash}({terms}) = {squash}({gate.total:+.4f}) = {gate.value:+.5f}", console)
    products = f"{step.f.value:.4f} · {step.c_prev:+.4f} + {step.i.value:.4f} · {step.g.value:+.4f}"
    _print(f"c({now}) = f · c({before}) + i · g = {products} = {step.c:+.5f}", console)
    _print(f"h({now}) = o · tanh(c) = {step.o.value:.4f} · tanh({step.c:+.4f}) = {step.h:+.5f}", console)
    console.print()


def _value(step: UnitStep, key: str) -> float:
    return getattr(step, key) if key in ("c", "h") else getattr(step, key).value


def _show_layers(example: Walkthrough, passes: Sequence[Pass], console: Console) -> None:
    lower, upper = passes
    names, steps = _names(example), len(lower.order)
    table = _grid()
    for t in _steps_shown(table, steps):
        now = f"(t{t + 1})"
        rows = (
            ("layer 1 reads", f"x{now}", lower.x[t]),
            ("layer 1 gives", f"h{now}", lower.h[t]),
            ("layer 2 reads", f"that h{now}", upper.x[t]),
            ("layer 2 gives", f"its h{now}", upper.h[t]),
        )
        for k, (who, what, vector) in enumerate(rows):
            lead = (f"[bold]t{t + 1}[/bold]", escape(names[t])) if k == 0 else ("", "")
            table.add_row(*lead, who, what, _numbers(vector, console, 40))
    _print(table, console)
    console.print()


def _show_directions(example: Walkthrough, passes: Sequence[Pass], console: Console) -> None:
    forward, backward = passes
    names, steps = _names(example), len(forward.order)
    table = _grid()
    for t in _steps_shown(table, steps):
        for read, arrow in ((forward, "→"), (backward, "←")):
            turn = read.order.index(t) + 1
            lead = (f"[bold]t{t + 1}[/bold]", escape(names[t])) if read is forward else ("", "")
            final = "  final" if turn == steps else ""
            numbers = _numbers(read.h[t], console, 48)
            table.add_row(*lead, f"{arrow} {read.name}", f"{_ordinal(turn)} read", f"{numbers}{final}")
        table.add_row("", "", f"output[{t}]", "both", f"({2 * forward.h.shape[1]},)")
    _print(table, console)
    console.print()


def _show_check(check: Check, console: Console) -> None:
    mark = "[green]✓[/green]" if check.holds else "[bold red]✗[/bold red]"
    table = Table.grid(padding=(0, 1))
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    table.add_row(mark, escape(check.claim))
    table.add_row("", f"[cyan]{escape(check.code)}[/cyan]")
    if check.compared == 1 and isinstance(check.left[0], int):
        said = f"{check.left[0]:,} and {check.right[0]:,}"
    else:
        more = " …" if check.compared > len(check.left) else ""
        left, right = (" ".join(f"{v:+.4f}" for v in side) + more for side in (check.left, check.right))
        counted = f"{check.compared:,} numbers" if check.compared > 1 else "one number"
        said = f"{left}  and  {right};  {counted}, largest difference {_difference(check.difference)}"
    table.add_row("", f"[dim]{said}[/dim]")
    _print(table, console)


def _difference(value: float) -> str:
    return "0" if value == 0 else f"{value:.1e}" if value < 1e-3 else f"{value:.4f}"


def _show_parameter(line: ParameterLine, console: Console) -> None:
    default = line.default if line.default == "required" else f"default {line.default}"
    _print(f"[bold]{line.name}[/bold] [dim]({default})[/dim]: {escape(line.meaning)}", console, 0)
    shapes = [f"{name} {line.shapes[name]}" for name in line.changed] or ["no shape changes"]
    if line.parameters != line.parameters_before:
        shapes.append(f"{line.parameters_before:,} → {line.parameters:,} numbers to learn")
    if line.note:
        shapes.append(line.note)
    _print(f"[cyan]{escape(line.code)}[/cyan]: {escape('; '.join(shapes))}", console, 4)


def _show_verdict(example: Walkthrough, console: Console) -> None:
    failed = [check.claim for check in example.checks if not check.holds]
    total = len(example.checks)
    if failed:
        _print(f"[bold red]✗ {len(failed)} of {total} checks do not hold:[/bold red]", console, 0)
        for claim in failed:
            _print(escape(claim), console)
        return
    _print(f"[green]✓[/green] All {total} checks hold. Every number above was computed just now.", console, 0)
    _print("Another text: [cyan]cellgate walkthrough --text hello --hidden-size 8[/cyan]", console)


def _names(example: Walkthrough) -> list[str]:
    from cellgate.trace.walkthrough import visible

    return [visible(character) for character in example.characters]


def _some(count: int) -> list[int]:
    """Return the indices to show of so many: all, or the first few and the last."""
    return list(range(count)) if count <= SHOWN_STEPS else [*range(SHOWN_STEPS - 2), count - 1]


def _steps_shown(table: Table, count: int) -> Iterator[int]:
    """Go through the steps to show, noting in the table where some are left out."""
    shown = _some(count)
    for t in shown:
        if t == count - 1 and len(shown) < count:
            table.add_row("[dim]…[/dim]", "", f"[dim]{count - len(shown):,} more[/dim]")
        yield t


def _grid(fixed: int = 4) -> Table:
    """Return a table without lines: so many columns that keep their width, and one that is folded where need be."""
    table = Table.grid(padding=(0, 2))
    for _ in range(fixed):
        table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    return table


def _numbers(vector: Tensor, console: Console, taken: int) -> str:
    """Return the first numbers of a vector, as many as fit beside what is taken, and its size."""
    size = len(vector)
    count = max(1, min(size, 4, (console.width - taken - len(f"… ({size},)")) // 8))
    values = (f"{value:+.4f}" for value in vector[:count].tolist())
    return f"{' '.join(values)}{' …' if count < size else ''} [dim]({size},)[/dim]"


def _ordinal(number: int) -> str:
    ending = "th" if number % 100 in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{ending}"
