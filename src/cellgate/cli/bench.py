"""`cellgate bench`: time the layer beside its peers, on the grid or on the user's own shape or model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from cellgate.cli.console import paper
from cellgate.errors import InputError

FAULT = 1

_NAME = "bench.json"


def command(
    quick: Annotated[bool, typer.Option("--quick", help="Each kind of work once: under two minutes.")] = False,
    config: Annotated[
        list[str] | None,
        typer.Option(help="Your own shape: T,B,I,H[,L[,D[,P]]] or 'T100 B32 I64 H128 L2 float64 ragged'. Repeatable."),
    ] = None,
    mine: Annotated[
        Path | None,
        typer.Option(
            help="Your own model: a state_dict (.pt, .safetensors). Every LSTM in it is timed with its weights."
        ),
    ] = None,
    steps: Annotated[int, typer.Option(help="With --mine: T, steps of a sequence.", min=1)] = 100,
    batch: Annotated[int, typer.Option(help="With --mine: B, sequences in a batch.", min=1)] = 32,
    mode: Annotated[
        list[str] | None, typer.Option(help="Only this work: inference, training or stream. Repeatable.")
    ] = None,
    threads: Annotated[
        list[int] | None,
        typer.Option(help="Number of threads. Repeatable. Default: all, and 1 too for the grid.", min=1),
    ] = None,
    busy: Annotated[bool, typer.Option("--busy", help="Also beside two busy copies of itself.")] = False,
    memory: Annotated[bool, typer.Option("--memory", help="Also the memory that training takes.")] = False,
    phases: Annotated[bool, typer.Option("--phases", help="Also where cellgate's time goes.")] = False,
    out: Annotated[Path | None, typer.Option(help=f"Folder for {_NAME}, written after every cell.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help=f"Continue the {_NAME} that is in --out.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the document instead of the table.")] = False,
) -> int:
    """Time the layer beside torch.nn.LSTM, onnxruntime and JAX: checked first, then in turns.

    Without options it runs the whole grid, with 1 and all threads, quiet and busy, and the memory of training: about
    twenty minutes on two cores. No time is printed for a layer whose numbers are wrong.
    """
    if resume and out is None:
        raise InputError("--resume: expected --out, the folder of the run to continue, got none")
    from cellgate.bench import cells_of, load, new_document, save
    from cellgate.bench.machine import describe
    from cellgate.bench.memory import MODES as MEMORY_MODES
    from cellgate.bench.results import dumps
    from cellgate.bench.session import QUICK_PLAN, THOROUGH, run
    from cellgate.bench.table import line

    whole = not (quick or config or mine)
    rows = _rows(quick, config or [], mine, steps, batch, mode or [])
    cells = cells_of(rows, threads or _threads(both=whole), ("quiet", "busy") if busy or whole else ("quiet",))
    document = new_document(describe())
    path = out / _NAME if out else None
    if path is not None and path.exists():
        if not resume:
            raise InputError(
                f"{path}: expected a folder without one, got an earlier run: add --resume, or name another"
            )
        document = load(path)

    screen = Console(stderr=True)
    with Progress(
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(),
        console=screen, transient=True, disable=not screen.is_terminal,
    ) as progress:  # fmt: skip
        names = list(MEMORY_MODES) if memory or whole else []
        task = progress.add_task("starting", total=len(cells) + len(names))

        def tell(step: str, record: dict[str, Any] | None) -> None:
            progress.update(task, description=step, completed=len(document["cells"]) + len(document["memory"]))
            if record is not None and not screen.is_terminal:
                screen.print(line(record), highlight=False, soft_wrap=True)

        run(
            cells,
            document,
            plan=QUICK_PLAN if quick else THOROUGH,
            memory=names,
            tell=tell,
            save=lambda whole: save(whole, path) if path else None,
        )

    if as_json:
        print(dumps(document), end="")
    else:
        _show(document, _paper(), phases)
        if path is not None:
            print(f"written: {path}")
    return FAULT if any("red" in record for record in document["cells"]) else 0


def _threads(both: bool) -> list[int]:
    import torch

    most = torch.get_num_threads()
    return [most, 1] if both and most > 1 else [most]


def _rows(quick: bool, configs: list[str], mine: Path | None, steps: int, batch: int, modes: list[str]) -> list[Any]:
    """The rows that the options ask for, in the modes they ask for."""
    from dataclasses import replace

    from cellgate.bench import GRID, QUICK, Row, parse_shape
    from cellgate.bench.grid import MODES

    for name in modes:
        if name not in MODES:
            raise InputError(f"--mode: expected one of {', '.join(MODES)}, got {name!r}")
    if not configs and mine is None:
        rows = list(QUICK if quick else GRID)
        chosen = [replace(row, modes=tuple(m for m in row.modes if m in modes)) for row in rows] if modes else rows
        return [row for row in chosen if row.modes]
    rows = []
    for text in configs:
        shape = parse_shape(text)
        rows.append(Row(shape, "own shape", tuple(modes) or _modes_for(shape), loop=shape.T <= 200))
    if mine is not None:
        from cellgate.bench.mine import find_lstms, shape_of

        for prefix, weights in find_lstms(mine).items():
            shape = shape_of(weights, steps, batch)
            rows.append(
                Row(shape, "own model", tuple(modes) or _modes_for(shape), weights=str(mine.resolve()), prefix=prefix)
            )
    for row in rows:
        if "stream" in row.modes and _modes_for(row.shape)[-1] != "stream":
            raise InputError(f"--mode stream: expected one direction, no lengths and no resets, got {row.shape}")
    return rows


def _modes_for(shape: Any) -> tuple[str, ...]:
    streams = shape.D == 1 and not shape.ragged and not shape.reset
    return ("inference", "training", "stream") if streams else ("inference", "training")


def _paper() -> Console:
    """Standard output; wide enough for every column where it is a file or a pipe."""
    console = paper()
    return console if console.is_terminal else paper(width=160)


def _show(document: dict[str, Any], console: Any, phases: bool) -> None:
    from cellgate.bench.table import line, phases_table, summary_lines, table

    machine, versions = document["machine"], document["versions"]
    parts = [f"{name} {version}" for name, version in versions.items() if version]
    console.print(f"{machine['cpu']}, {machine['cores']} cores; {', '.join(parts)}", highlight=False)
    for found in document["limits"]:
        reads = ", ".join(f"{level} {read['rate'] / 1e9:.0f}" for level, read in found["read"].items())
        console.print(
            f"limits with {found['threads']} threads ({found['source']}): {found['fma_f32'] / 1e9:.0f} GF/s float32, "
            f"{found['fma_f64'] / 1e9:.0f} float64; reading {reads} GB/s",
            highlight=False,
        )
    console.print()
    if document["cells"]:
        console.print(table(document["cells"], console.width))
        console.print(
            "Medians; 2× is twice as fast as the peer. FMA peak: share of the multiply-adds this machine can do; "
            "limit: share of the least time that arithmetic, reading the weights and activations take.",
            style="dim",
        )
    for entry in document["memory"]:
        console.print(line(entry), highlight=False)
    if phases:
        console.print(phases_table(document["cells"]))
        console.print(
            "What cellgate's threads are at, of their time together. dx, dW: the gradients of input and weights; "
            "packing: of the weights; waiting: for one another; outside: Python, autograd, memory, waking threads.",
            style="dim",
        )
    for text in summary_lines(document):
        console.print(text, highlight=False)
