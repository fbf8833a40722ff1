"""What a drawn figure shows: its pixels, its caption, and whether all of it is there."""

import io

import numpy as np
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from PIL import Image


def pixels(figure: Figure) -> np.ndarray:
    """Red, green and blue (H, W, 3); drawing the figure proves that nothing warns."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return np.asarray(Image.open(buffer).convert("RGB"))


def caption(figure: Figure) -> str:
    """Everything written outside the axes, in one line."""
    return " ".join(text.get_text() for text in figure.texts)


def coloured(drawn: np.ndarray, colour: str) -> int:
    """How many pixels have that colour."""
    wanted = np.rint(np.array(to_rgb(colour)) * 255)
    return int(np.sum(np.all(np.abs(drawn - wanted) <= 2, axis=-1)))


def is_whole(figure: Figure) -> bool:
    """Nothing reaches the edge of the page, where it would be cut off."""
    drawn, page = pixels(figure), figure.bbox
    edges = (drawn[0], drawn[-1], drawn[:, 0], drawn[:, -1])
    boxes = [part.get_window_extent() for part in (*figure.texts, *figure.legends)]
    inside = all(
        page.x0 <= box.x0 and page.y0 <= box.y0 and box.x1 <= page.x1 and box.y1 <= page.y1
        for box in boxes
    )
    return inside and all(np.all(edge == 255) for edge in edges)


def collisions(figure: Figure) -> list[tuple[str, str]]:
    """Pairs of texts outside the axes that lie upon each other."""
    boxes = [(text.get_text(), text.get_window_extent()) for text in figure.texts]
    return [
        (a, b)
        for i, (a, first) in enumerate(boxes)
        for b, second in boxes[i + 1 :]
        if min(first.x1, second.x1) - max(first.x0, second.x0) > 1
        if min(first.y1, second.y1) - max(first.y0, second.y0) > 1
    ]
