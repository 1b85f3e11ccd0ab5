"""Numbers with their units: what an answer leaves out is put back from the passage it stands in."""

from __future__ import annotations

import regex

from luthier.scripts import narrow

NUMBER = r"[-\u2212]?\d+(?:[.,:/]\d+)*"
_MONEY = r"[$€£¥₹]|US\$|(?:USD|EUR|GBP|CHF|JPY|INR)\b"
# Units by the name under which they are compared; the first is the shortest.
_NAMES = {
    "mm": "millimetres? millimeters?",
    "cm": "centimetres? centimeters?",
    "m": "metres? meters?",
    "km": "kilometres? kilometers?",
    "inch": "inches",
    "ft": "foot feet",
    "yd": "yards?",
    "mi": "miles?",
    "mg": "milligrams? milligrammes?",
    "g": "grams? grammes?",
    "kg": "kilograms? kilogrammes? kilos?",
    "t": "tonnes? tons?",
    "lb": "lbs pounds?",
    "oz": "ounces?",
    "ml": "millilitres? milliliters?",
    "l": "litres? liters? L",
    "gal": "gallons?",
    "ms": "milliseconds?",
    "sec": "secs seconds?",
    "min": "mins minutes?",
    "h": "hr hrs hours?",
    "days": "day",
    "wk": "weeks?",
    "mo": "months?",
    "yr": "yrs years?",
    "decades": "decade",
    "centuries": "century",
    "%": "percent per\\s?cent",
    "pp": "percentage\\spoints?",
    "°C": "degrees\\sCelsius degrees\\scentigrade",
    "°F": "degrees\\sFahrenheit",
    "°": "degrees?",
    "kelvin": "kelvins",
    "W": "watts?",
    "kW": "kilowatts?",
    "MW": "megawatts?",
    "kWh": "kilowatt-hours? kilowatt\\shours?",
    "V": "volts?",
    "amp": "amps amperes?",
    "Hz": "hertz",
    "MHz": "megahertz",
    "GHz": "gigahertz",
    "bytes": "byte",
    "KB": "kB KiB kilobytes?",
    "MB": "MiB megabytes?",
    "GB": "GiB gigabytes?",
    "TB": "TiB terabytes?",
    "bits": "bit",
    "px": "pixels?",
    "ha": "hectares?",
    "acres": "acre",
    "€": "euros? EUR",
    "$": "dollars? USD US\\$",
    "£": "GBP pounds\\ssterling",
    "¥": "yen JPY",
    "₹": "rupees? INR",
    "cents": "cent",
    "CHF": "francs?",
    "people": "persons? inhabitants? residents? employees?",
}
_ONE = {
    unit: regex.compile("|".join([regex.escape(unit), *spellings.split(" ")]))
    for unit, spellings in _NAMES.items()
}
_ANY = "|".join(
    sorted((f"{regex.escape(u)}|{'|'.join(s.split(' '))}" for u, s in _NAMES.items()), key=len)[
        ::-1
    ]
)
_SIZE = (
    r"(?:(?:hundred|thousand|million|billion|trillion|dozen|square|cubic|working|business|calendar"
    r"|nautical|light|full|more)[\s-]+)*"
)
_AFTER = regex.compile(
    rf"(?:[\s\u00a0-]?(?P<size>{_SIZE}))(?P<unit>{_ANY})(?![\p{{L}}\p{{N}}])"
    rf"(?:\s?(?:/|per\s)\s?(?:{_ANY})(?![\p{{L}}\p{{N}}]))?"
)
_SIZE_ALONE = regex.compile(r"\s(?:hundred|thousand|million|billion|trillion)(?!\p{L})")
_BEFORE = regex.compile(rf"(?:{_MONEY})\s?$")
_BARE = regex.compile(rf"(?:about|around|over|under|nearly|almost|up to)?\s*({NUMBER})\.?")
_THOUSANDS = regex.compile(r"-?\d{1,3}(?:,\d{3})+(?:\.\d+)?")
_SMALL = regex.findall(
    r"\w+",
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen "
    "sixteen seventeen eighteen nineteen",
)
_TENS = ["", "", "twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"]


def with_unit(answer: str, passage: str, start: int, end: int) -> str:
    """The answer with the unit that stands beside it at passage[start:end], where it is a number
    alone; any other answer as it is.

    "300" of "lasts 300 kilometres on one charge" is "300 kilometres", "2,499" of "€2,499" is
    "€2,499".
    """
    if not _BARE.fullmatch(answer.strip()) or not passage[start:end].strip(" ."):
        return answer
    bare = answer.strip().rstrip(".")
    money = _BEFORE.search(passage[max(0, start - 5) : start])
    if money:
        size = _SIZE_ALONE.match(passage, end)
        return f"{money.group()}{bare}{size.group() if size else ''}"
    found = _AFTER.match(passage, end) or _SIZE_ALONE.match(passage, end)
    return f"{bare}{found.group()}" if found else answer


def units_of(text: str) -> dict[str, set[str]]:
    """The numbers of a text, each with the units that stand beside it, under one name each."""
    found: dict[str, set[str]] = {}
    for number in regex.finditer(
        rf"(?<![\p{{Latin}}\p{{Greek}}\p{{Cyrillic}}\p{{N}}_])(?<!\d[.,:/]){NUMBER}", text
    ):
        units = found.setdefault(plain_number(number.group()), set())
        after = _AFTER.match(text, number.end())
        if after:
            units.add(unit_name(after["unit"]))
        before = _BEFORE.search(text[max(0, number.start() - 5) : number.start()])
        if before:
            units.add(unit_name(before.group().strip()))
    return found


def plain_number(text: str) -> str:
    """A number without separators of thousands, its minus sign a hyphen."""
    text = text.replace("\u2212", "-")
    return text.replace(",", "") if _THOUSANDS.fullmatch(text) else text


def unit_name(spelling: str) -> str:
    """The name under which a unit is compared; a text that is none as it is."""
    plain = narrow(spelling)
    return next((unit for unit, names in _ONE.items() if names.fullmatch(plain)), plain)


def contradicts(answer: str, passage: str) -> bool:
    """Whether the answer has a number that the passage does not have, or has with other units."""
    known = units_of(passage)
    for number, units in units_of(answer).items():
        if number not in known:
            if not in_words(number, passage):
                return True
        elif units and known[number] and not units & known[number]:
            return True
    return False


def in_words(number: str, passage: str) -> bool:
    """Whether a passage writes a whole number below a hundred as a word."""
    if not number.isdigit() or len(number) > 2:
        return False
    value = int(number)
    tens, ones = divmod(value, 10)
    word = _SMALL[value] if value < 20 else _TENS[tens] + (f"[- ]{_SMALL[ones]}" if ones else "")
    return regex.search(rf"(?<!\p{{L}}){word}(?!\p{{L}})", passage, regex.IGNORECASE) is not None
