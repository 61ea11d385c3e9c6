"""Speech synthesizers' words, taken apart so that they can be sung.

A voice is a list of utterances. WORLD (M. Morise et al., WORLD: A Vocoder-Based High-Quality Speech
Synthesis System, IEICE E99-D, 2016) gives for every 5 ms the pitch, the spectral envelope and the
aperiodicity; both are kept on a mel scale that goes up to 22 kHz, which speech at 16 kHz does not: the
top is added here.
"""

import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
from scipy import signal

from . import material
from .audio import SAMPLE_RATE

FRAME_MS = 5.0
FRAME_SECONDS = FRAME_MS / 1000
BANDS = 256

LINES = (
    "I was walking home alone in the morning light", "Hold me now and never let me go away",
    "All the stars are falling down on me tonight", "We could run, we could fly, we could leave it all behind",
    "Show me where you are, show me who you want to be", "Under the silver moon I hear you calling my name",
    "Nobody saw the river rise and nobody heard it fall", "Oh, lay your weary hands on mine and stay",
    "The last train left the station and the snow came in", "Money in my pocket, got the city on my mind",
    "Over the harbour, over the hills, over the sleeping town", "Every small and silent thing is singing in the rain",
    "Fire in the sky, thunder in the valley", "Take what you need and leave the door ajar",
    "Step into the circle, feel the floor begin to move", "Why do you cry, why do you turn away",
)
CONSONANTS = "b d f g h j k l m n p r s t v w z ch sh st tr".split()
VOWELS = "a e i o u ay ee oh oo".split()


@dataclass
class Utterance:
    pitch: np.ndarray  # [T] Hz, 0 where nothing is voiced
    envelope: np.ndarray  # [T, BANDS] logarithm of the power
    aperiodicity: np.ndarray  # [T, BANDS] 0 to 1
    syllables: np.ndarray  # [S, 3] frames: begin, loudest, end


def mel(frequency):
    """D. O'Shaughnessy, Speech Communication (1987)."""
    return 1127 * np.log1p(np.asarray(frequency) / 700)


GRID = 700 * np.expm1(np.linspace(0, mel(SAMPLE_RATE / 2), BANDS) / 1127)  # Hz of each band


def _nonsense(rng):
    return "".join(rng.choice(CONSONANTS) + rng.choice(VOWELS) for _ in range(rng.integers(1, 4)))


def texts(rng, count):
    """Lines of verse, then syllables without sense: they meet what no line holds."""
    lines = [LINES[index] for index in rng.permutation(len(LINES))[: (count + 1) // 2]]
    while len(lines) < count:
        lines.append(" ".join(_nonsense(rng) for _ in range(6)))
    return lines


def speak(voice, text, path):
    """Has a speech synthesizer say a text, into a WAV file."""
    if voice["command"] == "flite":
        subprocess.run(["flite", "-voice", voice["name"], "-t", text, "-o", path], check=True, capture_output=True)
        return
    script = f'(voice_{voice["name"]})\n(utt.save.wave (utt.synth (Utterance Text "{text}")) "{path}")\n'
    with tempfile.NamedTemporaryFile("w", suffix=".scm") as file:
        file.write(script)
        file.flush()
        subprocess.run(["festival", "-b", file.name], check=True, capture_output=True, timeout=120)


def _on_grid(values, rate):
    """[T, bins] up to rate / 2 -> [T, BANDS]; bands above keep the highest value."""
    bins = np.linspace(0, rate / 2, values.shape[1])
    place = np.interp(np.minimum(GRID, 0.93 * rate / 2), bins, np.arange(len(bins)))
    lower = np.minimum(place.astype(int), len(bins) - 2)
    weight = place - lower
    return values[:, lower] * (1 - weight) + values[:, lower + 1] * weight


def _add_top(envelope, aperiodicity, voiced, rate):
    """What a band-limited voice has above its band: vowels fall by 9 dB an octave, hisses by little."""
    edge = 0.93 * rate / 2
    top, below = GRID > edge, (GRID > 0.75 * edge) & (GRID <= edge)
    octaves = np.log2(GRID[top] / edge)[None]
    level = envelope[:, below].mean(1, keepdims=True)
    beyond = np.maximum(0, np.log2(GRID[top] / 10_000))[None]
    envelope[:, top] = level - octaves * np.where(voiced, 2.0, 0.4)[:, None] - 3 * beyond
    aperiodicity[:, top] = np.where(voiced, 0.85, 1.0)[:, None]


def _syllables(envelope, pitch):
    """[S, 3]: a syllable is a peak of the loudness below 4 kHz of what is voiced."""
    loudness = np.log(np.exp(envelope[:, GRID < 4_000]).sum(1) + 1e-9)
    window = np.hanning(15) / np.hanning(15).sum()
    smooth = np.convolve(np.where(pitch > 0, loudness, loudness.min()), window, "same")
    peaks = [peak for peak in signal.find_peaks(smooth, distance=22, prominence=0.4)[0] if pitch[peak] > 0]
    found = []
    for number, peak in enumerate(peaks):
        begin = peaks[number - 1] + np.argmin(smooth[peaks[number - 1] : peak]) if number else 0
        last = number == len(peaks) - 1
        end = len(smooth) if last else peak + np.argmin(smooth[peak : peaks[number + 1]])
        found.append((max(begin, peak - 50), peak, min(end, peak + 60)))
    return np.array(found, np.int32).reshape(-1, 3)


def analyse(path):
    """A recorded utterance -> Utterance, or None where too few syllables are found."""
    import pyworld

    sound, rate = soundfile.read(path, always_2d=True)
    sound = sound[:, 0]
    heard = np.flatnonzero(np.abs(sound) > 0.01 * np.abs(sound).max())
    sound = np.ascontiguousarray(sound[max(0, heard[0] - rate // 20) : heard[-1] + rate // 10])
    sound *= 0.7 / np.abs(sound).max()
    pitch, times = pyworld.dio(sound, rate, f0_floor=60, f0_ceil=500, frame_period=FRAME_MS)
    pitch = pyworld.stonemask(sound, pitch, times, rate)
    envelope = _on_grid(np.log(pyworld.cheaptrick(sound, pitch, times, rate) + 1e-12), rate)
    aperiodicity = _on_grid(pyworld.d4c(sound, pitch, times, rate), rate)
    if rate < SAMPLE_RATE:
        _add_top(envelope, aperiodicity, pitch > 0, rate)
    syllables = _syllables(envelope, pitch)
    if len(syllables) < 3:
        return None
    return Utterance(pitch.astype(np.float32), envelope.astype(np.float16), aperiodicity.astype(np.float16), syllables)


def make(voice, count):
    """`count` utterances of a voice of `material.toml`, always the same."""
    rng = np.random.default_rng([count, *voice["name"].encode()])
    found = []
    with tempfile.TemporaryDirectory() as folder:
        for number, text in enumerate(texts(rng, count)):
            path = str(Path(folder, f"{number}.wav"))
            speak(voice, text, path)
            found.append(analyse(path))
    return [utterance for utterance in found if utterance]


def save(path, utterances):
    fields = vars(utterances[0])
    parts = {f"{number} {name}": getattr(each, name) for number, each in enumerate(utterances) for name in fields}
    partial = Path(f"{path}.partial.npz")
    np.savez_compressed(partial, **parts)
    partial.rename(path)


def load(path):
    with np.load(path) as parts:
        numbers = sorted({int(name.split()[0]) for name in parts.files})
        fields = Utterance.__annotations__
        return [Utterance(**{name: parts[f"{number} {name}"] for name in fields}) for number in numbers]


def ensure(folder, count):
    """Makes the voices that the folder does not hold yet; they do not depend on the songs."""
    folder.mkdir(parents=True, exist_ok=True)
    missing = [voice for voice in material.voices() if not file(folder, voice).exists()]
    material.require(material.missing_packages(missing))
    for voice in missing:
        save(file(folder, voice), make(voice, count))


def file(folder, voice):
    return Path(folder, f"{voice['name']}.npz")
