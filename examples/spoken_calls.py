"""Telephone calls, spoken by espeak-ng, for call-recordings.yaml.

`prepare.py:calls` yields them as rows. Each call is two sentences, spoken by one of a few voices
and kept as WAV, FLAC or MP3.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

from luthier.errors import TaskError
from luthier.ledger.cache import default_cache_path

# Of espeak-ng's voices these are understood best.
VOICES = ("en-us+f2", "en-us+f5", "en-us+klatt2", "en-us+anika")
FORMATS = ("wav", "flac", "mp3")
RATE = 16_000
CALLERS = 40

OPENINGS = ("Good morning.", "Hello, can you help me please?", "Good afternoon.", "Hello.")
CLOSINGS = ("Please call me back.", "What should I do now?", "Thank you.", "Please help me.")
# What callers want, by queue: what they say, and a line that sums it up.
WISHES = {
    "delivery": (
        ("My parcel has not arrived, and the driver left no message.", "Parcel missing."),
        ("The driver brought the package to the wrong house.", "Package at the wrong house."),
        ("The delivery is late, and I need the package on Friday.", "Delivery late."),
        ("I want the package delivered to my office.", "Deliver to the office."),
        ("The box was open, and half of my order is missing.", "Order incomplete."),
        ("When will the truck with my order be here?", "Asks when the order comes."),
        ("I was at home all day, and the driver did not ring the bell.", "Driver did not ring."),
        ("The package was left in the rain in front of the door.", "Package left in the rain."),
    ),
    "payment": (
        ("You took the money from my bank account two times.", "Charged twice."),
        ("My credit card was refused, and I cannot pay.", "Card refused."),
        ("The bill is too high, and I will not pay that much money.", "Disputes the bill."),
        ("I want to pay by credit card and not from my bank account.", "Pay by card."),
        ("I paid the bill last month, and you ask for the money again.", "Paid already."),
        ("When do I get my money back?", "Asks for the refund."),
        ("My bank says that you never got the money.", "Payment not received."),
        ("There is a mistake in the price on my bill.", "Wrong price on the bill."),
    ),
    "repair": (
        ("The washing machine is broken, and there is water on the floor.", "Machine leaks."),
        ("The engine makes a terrible noise and does not start.", "Engine fails."),
        ("The computer is broken, and the screen is black.", "Screen black."),
        ("The heating is broken, and the whole house is cold.", "Heating broken."),
        ("The machine is new, and it does not work.", "New machine fails."),
        ("There is smoke coming out of the engine.", "Smoke from the engine."),
        ("The door of the machine is broken and does not close.", "Door broken."),
        ("The light in the kitchen is broken again.", "Light broken again."),
    ),
    "appointment": (
        ("I want to see the doctor on Tuesday morning.", "Doctor, Tuesday morning."),
        ("I cannot come on Wednesday, can we meet next week?", "Move to next week."),
        ("Can I see the doctor on Monday afternoon?", "Doctor, Monday afternoon."),
        ("Please cancel our meeting on Thursday.", "Cancel Thursday."),
        ("I have a meeting with the doctor, and I will be late.", "Will be late."),
        ("Can we meet on Saturday and not on Sunday?", "Saturday, not Sunday."),
        ("At what time is the meeting with the doctor tomorrow?", "Asks for the time."),
        ("I am ill, and I need to see a doctor this week.", "Doctor this week."),
    ),
}


def spoken_calls() -> Iterator[dict[str, str]]:
    """One row a call; the recordings are made where they are not there yet."""
    folder = default_cache_path().parent / "call-recordings"
    for number in range(CALLERS):
        queue = tuple(WISHES)[number % len(WISHES)]
        wish, summary = WISHES[queue][number // len(WISHES) % len(WISHES[queue])]
        turn = number // len(WISHES)
        turn += turn // len(WISHES[queue])  # what is said again begins and ends in another way
        opening, closing = OPENINGS[turn % len(OPENINGS)], CLOSINGS[turn % len(CLOSINGS)]
        spoken = f"{opening} {wish}" if turn % 2 else f"{wish} {closing}"
        form = FORMATS[number % len(FORMATS)]
        name = f"call-{number + 1:02}"
        voice = VOICES[(number + turn) % len(VOICES)]
        yield {
            "recording": str(recorded(spoken, voice, folder / name, form=form)),
            "queue": queue,
            "summary": summary,
            "spoken": spoken,
            "caller": f"caller-{number}",
        }


def recorded(spoken: str, voice: str, place: Path, *, form: str = "wav") -> Path:
    """The sound file of a text, made once, with `place` as the beginning of its path. TaskError
    without espeak-ng."""
    from scipy.signal import resample_poly

    folder, key = place.parent, hashlib.sha256(f"{voice} {spoken}".encode()).hexdigest()[:6]
    path = folder / f"{place.name}-{key}.{form}"
    if path.is_file():
        return path
    program = shutil.which("espeak-ng")
    if program is None:
        raise TaskError(
            "the calls are spoken by espeak-ng, which is not installed",
            choices=("apt install espeak-ng", "dnf install espeak-ng", "brew install espeak-ng"),
            next_step="Install it, or take a task file with recordings of your own.",
        )
    try:
        import soundfile
    except ImportError as error:
        raise TaskError(
            "sound files need the package soundfile", next_step="pip install 'luthier[audio]'"
        ) from error
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        wide, made = Path(scratch) / "wide.wav", Path(scratch) / f"made.{form}"
        command = [program, "-v", voice, "-s", "150", "-w", str(wide), spoken]
        subprocess.run(command, check=True, capture_output=True)
        samples, rate = soundfile.read(wide, dtype="float32")
        samples = resample_poly(samples, RATE, rate)
        soundfile.write(made, samples.clip(-1, 1), RATE)
        os.replace(made, path)
    return path
