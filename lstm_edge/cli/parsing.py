"""How a command reads its line: all that is wrong with it is said at once."""

from __future__ import annotations

from collections.abc import Iterator

import click

from ..errors import LstmEdgeError


class Command(click.Command):
    """A command that names every wrong word of its line, not only the first."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        given = list(args)
        try:
            return super().parse_args(ctx, args)
        except click.NoSuchOption:
            raise click.UsageError(" ".join(self._unknown(ctx, given)), ctx) from None
        except (click.UsageError, LstmEdgeError) as first:
            wrong = [told.rstrip(".") + "." for told in self._wrong(ctx, given)]
            if len(wrong) > 1:
                raise click.UsageError(" ".join(wrong), ctx) from first
            if isinstance(first, click.UsageError):
                first.ctx = first.ctx or ctx  # the parser does not say whose help is to be read
            raise

    def _unknown(self, ctx: click.Context, args: list[str]) -> Iterator[str]:
        """What the parser says of each option that there is not. Its value may stand apart, so that nothing else is looked at."""
        while True:
            try:
                self.make_parser(ctx).parse_args(args=list(args))
                return
            except click.NoSuchOption as exc:
                yield exc.format_message().rstrip(".?") + ("?" if exc.possibilities else ".")
                rest = [word for word in args if word.partition("=")[0] != exc.option_name]
                if len(rest) == len(args):
                    return
                args = rest
            except click.UsageError:
                return

    def _wrong(self, ctx: click.Context, args: list[str]) -> Iterator[str]:
        """What is wrong with each value. Callbacks are not called: they have effects."""
        try:
            options, rest, _ = self.make_parser(ctx).parse_args(args=list(args))
        except click.UsageError:
            return
        for param in self.get_params(ctx):
            value = options.get(param.name or "")
            try:
                if isinstance(value, (str, list, tuple)) and value:
                    param.type_cast_value(ctx, value)
                elif param.required:
                    raise click.MissingParameter(ctx=ctx, param=param)
            except click.UsageError as exc:
                yield exc.format_message()
            except LstmEdgeError as exc:
                yield exc.message
        if rest:
            yield f"Got unexpected extra argument{'s' * (len(rest) > 1)} ({' '.join(rest)})"
