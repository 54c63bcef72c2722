"""Text in columns of a terminal: how wide it is, and how it is cut. Knows no events."""

from linnix_rec.report.words import CUT


def columns_of(text: str) -> int:
    """Give the columns that a text takes on a terminal."""
    if text.isascii():
        return len(text)
    from rich.cells import cell_len

    return cell_len(text)


def cut_to(text: str, width: int | None) -> str:
    """Cut a text to so many columns, with `…` at its end if it was cut; None leaves it whole."""
    if width is None or columns_of(text) <= width:
        return text
    if width < 1:
        return ""
    from rich.cells import set_cell_size

    return set_cell_size(text, width - 1).rstrip() + CUT
