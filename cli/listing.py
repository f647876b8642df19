"""Lists that are never cut: a row a line where that fits, else a few lines for each row."""

from collections.abc import Sequence

from rich.console import Console
from rich.padding import Padding
from rich.text import Text

from cli.output import FILE_WIDTH

Cell = str | Text


def listing(
    console: Console, headers: Sequence[str], rows: Sequence[Sequence[Cell]], *, numbers: Sequence[str] = ()
) -> None:
    """Print rows. The first cell is what a person copies, and stands on a line of its own where the rows are too wide.

    Args:
        numbers: headers of columns that are aligned to the right.
    """
    table = [[Text(header, "bold") for header in headers], *([_text(cell) for cell in row] for row in rows)]
    widths = [max(cell.cell_len for cell in column) for column in zip(*table, strict=True)]
    # A file has no width.
    is_file = not console.is_terminal and console.width == FILE_WIDTH
    if is_file or sum(widths) + 2 * (len(widths) - 1) <= console.width:
        for row in table:
            for header, cell, width in zip(headers, row, widths, strict=True):
                cell.align("right" if header in numbers else "left", width)
            line = Text("  ").join(row)
            line.rstrip()
            console.print(line, soft_wrap=True)
        return
    for first, *others in table[1:]:
        console.print(first, soft_wrap=True)
        named = [
            Text.assemble((f"{header} ", "dim"), cell) for header, cell in zip(headers[1:], others, strict=True) if cell
        ]
        console.print(Padding(Text(" · ", "dim").join(named), (0, 0, 0, 2), expand=False))


def _text(cell: Cell) -> Text:
    return cell if isinstance(cell, Text) else Text(cell)
