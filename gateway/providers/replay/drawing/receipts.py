"""Till receipts and invoices."""

from __future__ import annotations

import numpy as np
from PIL import Image

from gateway.providers.replay.drawing.canvas import FAINT, INK, WIDTH, Canvas, Colour, Sketch, pick

SHOPS = ("CORNER MARKET", "GREEN GROCER", "BLUE DOOR CAFE", "HARBOUR DELI", "STATION KIOSK", "OLD MILL BAKERY")
ITEMS = (
    ("Coffee", 320),
    ("Tea", 260),
    ("Croissant", 275),
    ("Sandwich", 645),
    ("Apple juice", 350),
    ("Muffin", 295),
    ("Salad bowl", 890),
    ("Soup", 540),
    ("Bread", 410),
    ("Cheese", 725),
    ("Water", 180),
    ("Cookies", 385),
)
PAPER: Colour = (252, 250, 244)
TABLE: tuple[Colour, ...] = ((150, 116, 84), (92, 100, 112), (176, 168, 154), (66, 84, 92))
TAX_PERCENT = 8


def receipts(generator: np.random.Generator, level: int) -> Sketch:
    """Draw a receipt. Level 0 asks for a printed total, 1 for an item's blotted-out amount, 2 for the change."""
    count = (3, 5, 6)[level]
    chosen = [ITEMS[index] for index in generator.permutation(len(ITEMS))[:count]]
    quantities = [int(value) for value in generator.integers(1, 5, count)]
    amounts = [quantity * price for quantity, (_, price) in zip(quantities, chosen, strict=True)]
    subtotal = sum(amounts)
    tax = round(subtotal * TAX_PERCENT / 100)
    total = subtotal + tax
    paid = 1_000 * (total // 1_000 + 1)
    hidden = int(generator.integers(count)) if level == 1 else None
    canvas = Canvas(background=TABLE[int(generator.integers(len(TABLE)))])
    left, right = _paper(canvas, generator, 196 + 19 * (count + (level == 2)))
    row = _head(canvas, generator, left, right)
    for number, (name, price) in enumerate(chosen):
        amount = "*.**" if number == hidden else _money(amounts[number])
        canvas.text((left, row), f"{quantities[number]} x {name}", 12, anchor="lm")
        canvas.text((right - 62, row), f"@{_money(price)}", 10, FAINT, anchor="rm")
        canvas.text((right, row), amount, 12, anchor="rm")
        row += 19
    canvas.dashes((left, row), (right, row))
    closing = [("Subtotal", subtotal), (f"Tax {TAX_PERCENT}%", tax), ("TOTAL", total)]
    if level == 2:
        closing.append(("CASH", paid))
    for name, value in closing:
        row += 19
        canvas.text((left, row), name, 14 if name == "TOTAL" else 12, anchor="lm")
        canvas.text((right, row), _money(value), 14 if name == "TOTAL" else 12, anchor="rm")
    canvas.text(((left + right) / 2, row + 24), "* THANK YOU *", 11, FAINT)
    facts = {"items": chosen, "quantities": quantities, "tax": tax, "total": total, "paid": paid, "hidden": hidden}
    question, answer = "What is the total on the receipt?", total
    if hidden is not None:
        question, answer = f"The amount for {chosen[hidden][0]} is blotted out. How much is it?", amounts[hidden]
    elif level == 2:
        question, answer = "How much change is due from the cash given?", paid - total
    image = canvas.finish()
    if level > 0:
        image = image.rotate(float(generator.uniform(-2.5, 2.5)), Image.Resampling.BICUBIC, fillcolor=canvas.background)
    return Sketch(image, f"{question} Answer as a decimal number, such as 4.50.", _money(answer), facts)


def _paper(canvas: Canvas, generator: np.random.Generator, length: float) -> tuple[float, float]:
    """Draw a strip of paper with its shadow. Returns the left and right edge of the printed area."""
    width = float(generator.integers(250, 300))
    left = (WIDTH - width) / 2 + float(generator.integers(-60, 60))
    red, green, blue = canvas.background
    shadow: Colour = (red * 3 // 4, green * 3 // 4, blue * 3 // 4)
    canvas.box((left + 7, 16), (left + width + 7, length + 7), fill=shadow)
    canvas.box((left, 10), (left + width, length), fill=PAPER)
    for number in range(int(width // 8)):
        x = left + number * 8
        canvas.shape([(x, 10), (x + 4, 15), (x + 8, 10)], fill=canvas.background)
    return left + 20, left + width - 20


def _head(canvas: Canvas, generator: np.random.Generator, left: float, right: float) -> float:
    middle = (left + right) / 2
    canvas.text((middle, 36), pick(generator, SHOPS, 1)[0], 17)
    day, month = int(generator.integers(1, 29)), int(generator.integers(1, 13))
    hour, minute = int(generator.integers(8, 21)), int(generator.integers(0, 60))
    canvas.text(
        (middle, 56), f"{day:02}.{month:02}.  {hour:02}:{minute:02}   No {generator.integers(1000, 9999)}", 10, FAINT
    )
    canvas.line([(left, 70), (right, 70)], INK)
    return 86.0


def _money(cents: int) -> str:
    return f"{cents // 100}.{cents % 100:02}"
