"""lstm-edge run: a model over a file of frames."""

from __future__ import annotations

from contextlib import ExitStack, closing
from typing import Any

import click

import lstm_edge

from ..errors import FormatError, ShapeError
from ..files.table_files import SUFFIXES as TABLES
from ..metadata import sample_rate, sounds
from .io import check_count, err_console, named_form, note, number_rows, suffix_of
from .lines import Clock
from .loop import Run, axes_of_frames, can_chunk
from .meanings import meanings_of
from .options import isa_option, memory_option, model_argument
from .parsing import Command
from .pipes import STDIN, Pipe, end_as_stopped, ended_by_signals
from .plot import Picture
from .sinks import PICTURES, PIPED, Sink, check_output, replacing
from .sound import SoundOptions, settle_rates, sound_options
from .sources import Source, open_sources, sounds_of
from .tables import Reading, arrays_of_table, table_options
from .windows import whole_table_note, windows_for


@click.command("run", cls=Command)
@model_argument
@click.argument(
    "inputs", metavar="INPUT...", nargs=-1, required=True, type=click.Path(exists=True, dir_okay=False, allow_dash=True)
)
@click.option(
    "-o", "--output", default="-", metavar="FILE", help=".npy, .npz, .csv, .jsonl or .wav; - for stdout (default)."
)
@click.option("--select", metavar="NAME", help="Write this output only.")
@click.option(
    "--format",
    "form",
    type=click.Choice(PIPED),
    help="How answers are written to stdout and pipes (csv; wav where they are sound).",
)
@click.option("--times", is_flag=True, help="Begin lines with the time of the frame, in seconds; the row of a table.")
@click.option("--raw-answers", is_flag=True, help="The numbers, where the file says what they mean (labels, events).")
@sound_options
@table_options("the one to run over")
@click.option("--plot", metavar="FILE.png", help="Draw the answers over time under the input: .png, .svg or .pdf.")
@isa_option
@memory_option
@click.option("--quiet", is_flag=True, help="No progress and no notes on stderr.")
def command(
    model_path: str, inputs: tuple[str, ...], output: str, select: str | None, form: str | None, times: bool,
    raw_answers: bool, raw: str | None, rate: int | None, channels: int | None, channel: int | None, resample: bool, kind: str | None,
    reading: Reading, plot: str | None, isa: str | None, max_memory: int | None, quiet: bool,
) -> None:  # fmt: skip
    """Run MODEL.lstm over INPUT: one .npy, table (.csv, .tsv, .parquet, .jsonl) or .wav per model input, or one .npz or .jsonl with all by name; - is standard input,
    answered line by line while it comes.

    A row of a table is a frame. Sound is cut into frames of the model's width, the last one filled up
    with zeros. Of a model that `lstm-edge train` made to forecast, one table with its columns is read as
    `lstm-edge forecast` reads it: columns by their names, empty cells and missing rows are gaps. Answers of other files are
    written frame by frame, so that a long one needs little memory.

    Example: arecord -t raw -f S16_LE -r 16000 | lstm-edge run vad.lstm - --raw s16le --rate 16000 --times
    """
    sound = SoundOptions(raw, rate, channels, channel, resample, kind)
    sound.check(inputs)
    reading.check(inputs, [STDIN] if raw is None and kind not in ("wav", "npy") else [])
    model = lstm_edge.load(model_path, isa=isa, max_memory=max_memory)
    wanted = _selected(model, select)
    meant = None if raw_answers else meanings_of(model, wanted, output, form, times)
    wanted = wanted if meant is None else [meant.output]
    chunked = can_chunk(model)
    windows = None if reading.window is None else windows_for(model, reading.window)
    table = None if windows is not None else arrays_of_table(model, inputs, reading)
    if table is None:
        check_count(model, inputs, [path for path in inputs if path == STDIN or sound.takes_raw(path)])
    stdin = Pipe(STDIN) if STDIN in inputs else None
    with ExitStack() as stack:
        sources: list[Source] = []
        if table is None and windows is None:
            sources = open_sources(model, inputs, axes_of_frames(model) if chunked else [], stdin, sound, reading.form)
            for source in sources:
                stack.enter_context(closing(source))
        common = settle_rates(sounds_of(sources), model, sound, quiet)
        if times and not common and sounds_of(sources):
            raise ShapeError("--times: expected sound whose rate is known, found none; --rate HZ says it")
        clock = Clock(model, next((s.seconds for s in sources if s.seconds), None), times)
        heard = not times and set(wanted) <= sounds(model.metadata)
        sink = Sink(output, clock, sample_rate(model.metadata) if heard else common, form, wanted, heard, meant)
        if meant is not None:
            meant.follow(clock, sounds_of(sources))
        picture = None if plot is None else Picture(clock.seconds)
        if plot is not None:
            if suffix_of(plot) not in PICTURES:
                raise FormatError(f"--plot: expected a file among {', '.join(PICTURES)}, found {plot!r}")
            check_output(plot, (model_path, *inputs))
        if not sink.in_place:
            check_output(output, (model_path, *inputs))
        if len(wanted) > 1 and sink.kind not in ("npz", "csv", "jsonl"):
            found = f"{len(wanted)} outputs ({', '.join(wanted)}) for {output!r}"
            raise ShapeError(
                f"--output: expected a .npz, .csv or .jsonl file, or one output by --select NAME; found {found}"
            )
        stack.enter_context(ended_by_signals(stdin))
        with sink:
            run = Run(model, inputs, sink, wanted, picture)
            if windows is not None:
                rows = stack.enter_context(
                    closing(number_rows(inputs[0], *named_form(model, windows.port, reading.form)))
                )
                run.in_windows(windows, rows)
            elif sources and chunked:
                run.in_chunks(sources, quiet or stdin is not None)
            else:
                run.whole([s.whole() for s in sources] if table is None else table)
            if windows is None and suffix_of(inputs[0]) in (*TABLES, ".jsonl"):
                hint = whole_table_note(model, clock.frames)
                if hint and not quiet:
                    note(f"{inputs[0]}: {hint}")
            if run.intake.told():
                err_console().print(f"{run.places}: {run.intake.told()}", markup=False, soft_wrap=True)
            for sound_in in () if quiet else sounds_of(sources):
                if sound_in.left_over:
                    note(f"{sound_in.place}: left out, as it is no whole sample: {sound_in.left_over} bytes at the end")
            if not run.answers:
                end_as_stopped(stdin)
                raise ShapeError(
                    f"{inputs[0]}: expected as many frames as the model's window or more, found fewer: no answer"
                )
        if picture is not None and plot is not None:
            with replacing(plot) as file:
                picture.draw(file, suffix_of(plot)[1:])
    end_as_stopped(stdin)


def _selected(model: Any, select: str | None) -> list[str]:
    """The names of the outputs to write."""
    names = [p.name for p in model.outputs]
    if select is not None and select not in names:
        raise ShapeError(f"--select: expected one of {', '.join(names)}, found {select!r}")
    return names if select is None else [select]
