"""The 80 tags of the embedded data set: 72 programs of General MIDI and 8 drums."""

from __future__ import annotations

from dataclasses import dataclass

# General MIDI level 1, programs 0 to 95: twelve families of eight. Every fourth is left out, which leaves 72.
_FAMILIES = (
    "Grand Piano, Bright Piano, Electric Grand, Honky-tonk, Electric Piano 1, Electric Piano 2, Harpsichord, Clavinet",
    "Celesta, Glockenspiel, Music Box, Vibraphone, Marimba, Xylophone, Tubular Bells, Dulcimer",
    "Drawbar Organ, Percussive Organ, Rock Organ, Church Organ, Reed Organ, Accordion, Harmonica, Bandoneon",
    "Nylon Guitar, Steel Guitar, Jazz Guitar, Clean Guitar, Muted Guitar, Overdriven Guitar, Distortion Guitar, Guitar Harmonics",
    "Acoustic Bass, Finger Bass, Pick Bass, Fretless Bass, Slap Bass 1, Slap Bass 2, Synth Bass 1, Synth Bass 2",
    "Violin, Viola, Cello, Contrabass, Tremolo Strings, Pizzicato Strings, Harp, Timpani",
    "Strings 1, Strings 2, Synth Strings 1, Synth Strings 2, Choir Aahs, Voice Oohs, Synth Voice, Orchestra Hit",
    "Trumpet, Trombone, Tuba, Muted Trumpet, French Horn, Brass Section, Synth Brass 1, Synth Brass 2",
    "Soprano Sax, Alto Sax, Tenor Sax, Baritone Sax, Oboe, English Horn, Bassoon, Clarinet",
    "Piccolo, Flute, Recorder, Pan Flute, Blown Bottle, Shakuhachi, Whistle, Ocarina",
    "Square Lead, Saw Lead, Calliope Lead, Chiff Lead, Charang Lead, Voice Lead, Fifths Lead, Bass Lead",
    "New Age Pad, Warm Pad, Polysynth Pad, Choir Pad, Bowed Pad, Metallic Pad, Halo Pad, Sweep Pad",
)
_LOW = {"Acoustic Bass", "Finger Bass", "Pick Bass", "Slap Bass 1", "Slap Bass 2", "Synth Bass 1", "Tuba", "Bassoon", "Cello"}
_HIGH = {"Glockenspiel", "Celesta", "Music Box", "Xylophone", "Piccolo", "Whistle", "Flute"}
_DRUMS = {
    "Bass Drum": 36,
    "Snare Drum": 38,
    "Closed Hi-Hat": 42,
    "Low Tom": 45,
    "Open Hi-Hat": 46,
    "Crash Cymbal": 49,
    "Ride Cymbal": 51,
    "Cowbell": 56,
}


@dataclass(frozen=True, kw_only=True)
class Instrument:
    """A tag, and how it is played: a program over a range of pitches, or one key of the drum channel."""

    tag: str
    program: int | None  # None: a drum
    lowest: int  # MIDI key, C4 = 60
    highest: int


def _instruments() -> tuple[Instrument, ...]:
    programs = [(number, name) for number, name in enumerate(", ".join(_FAMILIES).split(", ")) if number % 4 != 3]
    spans = {name: (28, 52) if name in _LOW else (67, 91) if name in _HIGH else (48, 76) for _, name in programs}
    tonal = [Instrument(tag=name, program=p, lowest=spans[name][0], highest=spans[name][1]) for p, name in programs]
    return (*tonal, *(Instrument(tag=tag, program=None, lowest=key, highest=key) for tag, key in _DRUMS.items()))


INSTRUMENTS = _instruments()
TAGS = tuple(i.tag for i in INSTRUMENTS)
