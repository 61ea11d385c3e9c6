"""What becomes sound sounds as it was written."""

import tempfile
import unittest
from dataclasses import replace
from pathlib import Path

import numpy as np

from training import amplifier, audio, composer, cymbals, drums, effects, fluid, formants, generate, mastering
from training import material, metrics, singing, soundfont, strings, struck, sustained, synth, voices
from training.composer import Note
from training.recordings import Recordings

RATE = audio.SAMPLE_RATE


def pitch(sound, low=60, high=1_000):
    """The strongest period of a steady sound, in Hz."""
    mono = sound.mean(1) if sound.ndim == 2 else sound
    spectrum = np.fft.rfft(mono, 2 * len(mono))
    likeness = np.fft.irfft(np.abs(spectrum) ** 2)
    lags = np.arange(int(RATE / high), int(RATE / low))
    return RATE / lags[np.argmax(likeness[lags])]


def cents(sound, key, low=60):
    return abs(1200 * np.log2(pitch(sound, low) / audio.hertz(key)))


def treble(sound, hertz):
    """The share of the energy above."""
    spectrum = np.abs(np.fft.rfft(sound.mean(1))) ** 2
    return spectrum[np.fft.rfftfreq(len(sound), 1 / RATE) > hertz].sum() / spectrum.sum()


class Composing(unittest.TestCase):
    def test_notes_lie_within_the_song_and_its_scale(self):
        for seed in range(20):
            song = composer.Song(np.random.default_rng(seed), 20)
            scale = {(song.tonic + step) % 12 for step in song.scale}
            parts = [song.chords(), song.pads(), song.arpeggio(), song.lead()]
            for note in (note for part in parts for note in part):
                self.assertIn(note.key % 12, scale)
                self.assertTrue(0 <= note.start < song.bars * song.bar and note.seconds > 0)
            self.assertTrue(all(28 <= note.key < 60 for note in song.bass()))
            hits = song.drums()
            self.assertEqual(hits, sorted(hits, key=lambda hit: hit.start))

    def test_a_second_voice_keeps_its_distance_within_the_scale(self):
        song = composer.Song(np.random.default_rng(0), 20)
        steps = sorted({(song.tonic + step) % 12 for step in song.scale})
        phrase = [Note(0.0, 1.0, 60 + step, 100) for step in steps]
        for degrees in (2, -2, -3):
            for note, other in zip(phrase, song.harmony(phrase, degrees)):
                self.assertEqual(steps.index(other.key % 12), (steps.index(note.key % 12) + degrees) % 7)
                self.assertTrue(0 < (other.key - note.key) * np.sign(degrees) < 8)


class Instruments(unittest.TestCase):
    def test_a_preset_plays_the_key_that_is_written(self):
        for name, path in material.soundfonts():
            sound = fluid.fluid(path).render([Note(0.1, 1.0, 57, 100)], RATE, program=73)
            self.assertEqual(sound.shape, (RATE, 2))
            self.assertLess(np.abs(sound[: audio.frames(0.09)]).max(), 1e-3, name)
            self.assertLess(cents(sound[audio.frames(0.4) : audio.frames(0.8)], 57), 30, name)

    def test_a_preset_sounds_the_same_whatever_was_played_before(self):
        notes = [Note(0.21 * number, 0.3, 50 + number, 90) for number in range(4)]
        for name, path in material.soundfonts():
            first = fluid.fluid(path).render(notes, RATE + 1, program=26)
            fluid.fluid(path).render([Note(0.1, 0.8, 60, 120)], 10_007, program=48)
            again = fluid.fluid(path).render(notes, RATE + 1, program=26)
            np.testing.assert_array_equal(first, again, name)

    def test_a_synthesizer_plays_the_key_that_is_written(self):
        for wave in ("saw", "square", "triangle", "sine"):
            sound = synth.wave(wave, np.full(RATE, float(audio.hertz(45))), np.random.default_rng(0))
            self.assertLess(cents(sound, 45), 10, wave)
            self.assertLess(np.abs(sound).max(), 1.3, wave)

    def test_a_string_plays_the_key_that_is_written_until_it_is_damped(self):
        for seed in range(12):
            for kind, key in (("bass", 45), ("guitar", 57)):
                rng = np.random.default_rng(seed)
                string = strings.draw_string(rng, kind)
                sound = strings.pluck(string, key, 0.5, 0.9, rng)
                self.assertLess(cents(sound[: audio.frames(0.3)], key), 40, string)
                self.assertLess(np.abs(sound[-100:]).max(), 0.02 * np.abs(sound).max(), string)

    def test_who_plucks_harder_plucks_brighter(self):
        rng = np.random.default_rng(0)
        string = replace(strings.draw_string(rng, "bass"), click=0.0)
        soft, hard = (treble(strings.pluck(string, 40, 0.5, strength, rng), 400) for strength in (0.3, 1.0))
        self.assertGreater(hard, 1.2 * soft)

    def test_a_bent_string_rises_to_its_key(self):
        rng = np.random.default_rng(0)
        string = replace(strings.draw_string(rng, "lead"), bend=200.0, vibrato=0.0, tension=0.0, ring=2.0, click=0.0)
        begins = []
        for _ in range(12):
            sound = strings.pluck(string, 64, 1.0, 0.8, rng)
            self.assertLess(cents(sound[audio.frames(0.5) : audio.frames(0.8)], 64, 0.6 * audio.hertz(64)), 25)
            begins.append(cents(sound[: audio.frames(0.05)], 64, 0.6 * audio.hertz(64)))
        self.assertTrue(min(begins) < 40 and max(begins) > 100, begins)

    def test_what_is_blown_or_bowed_plays_the_key_that_is_written_until_it_is_let_go(self):
        for seed in range(6):
            for kind, players, key in (("wind", 1, 62), ("bowed", 1, 57), ("bowed", 4, 64)):
                rng = np.random.default_rng(seed)
                played = replace(sustained.draw_instrument(rng, kind, players), breath=0.0, body=())
                sound = sustained.play(played, key, 1.0, 0.8, rng)
                held = sound[audio.frames(0.6) : audio.frames(0.9)]
                self.assertLess(cents(held, key, 0.6 * audio.hertz(key)), 60, played)
                self.assertLess(np.abs(sound[-100:]).max(), 0.05 * np.abs(sound).max(), played)

    def test_who_blows_harder_is_brighter(self):
        rng = np.random.default_rng(0)
        played = replace(sustained.draw_instrument(rng, "wind"), breath=0.0, dark=400.0, bright=3_000.0)
        soft, loud = (treble(sustained.play(played, 60, 0.5, strength, rng), 900) for strength in (0.2, 1.0))
        self.assertGreater(loud, 1.3 * soft)

    def test_an_organ_has_the_pitches_of_its_stops(self):
        for seed in range(8):
            rng = np.random.default_rng(seed)
            organ = replace(sustained.draw_instrument(rng, "organ"), click=0.0)
            spectrum = np.abs(np.fft.rfft(sustained.play(organ, 69, 1.1, 0.8, rng)[RATE // 10 :][:RATE].mean(1)))
            loud = np.flatnonzero(spectrum > 0.1 * spectrum.max())
            self.assertLess(np.abs((loud + 110) % 220 - 110).max(), 3, organ)

    def test_what_is_struck_plays_the_key_that_is_written_until_it_is_damped(self):
        for seed in range(12):
            rng = np.random.default_rng(seed)
            drawn = struck.draw_instrument(rng)
            piano = replace(drawn, ratios=None, stiffness=1e-4, pickup=0.0, knock=0.0, pedal=False, ring=1.0)
            sound = struck.strike(piano, 57, 0.8, rng)
            self.assertLess(cents(sound[: audio.frames(0.3)], 57, 0.6 * audio.hertz(57)), 20, piano)
            held = struck._damped(sound, piano, 0.3)
            self.assertLess(np.abs(held[-100:]).max(), 0.02 * np.abs(held).max(), piano)

    def test_every_instrument_that_is_struck_sounds_and_dies(self):
        for seed in range(20):
            rng = np.random.default_rng(seed)
            sound = struck.strike(struck.draw_instrument(rng), 64, 0.9, rng)
            self.assertGreater(np.abs(sound).max(), 0.3, seed)
            self.assertLess(np.abs(sound[-100:]).max(), 0.2 * np.abs(sound).max(), seed)

    def test_an_amplifier_adds_overtones_and_its_cabinet_ends_them(self):
        tone = audio.stereo(np.sin(2 * np.pi * 220 * audio.times(RATE)))
        for seed in range(8):
            sound = amplifier.amplify(tone, np.random.default_rng(seed), True)
            self.assertEqual(sound.shape, tone.shape)
            self.assertGreater(treble(sound, 300), 0.02, seed)
            self.assertLess(treble(sound, 9_000), 0.01, seed)

    def test_a_saw_has_few_aliases(self):
        frequency = 3_000.7
        sound = synth.wave("saw", np.full(RATE, frequency), np.random.default_rng(0))
        spectrum = np.abs(np.fft.rfft(sound * np.hanning(RATE)))
        harmonics = np.arange(1, int(RATE / 2 / frequency) + 1) * frequency
        near = np.abs(np.arange(len(spectrum))[:, None] - harmonics).min(1) < 8
        self.assertGreater(20 * np.log10(spectrum[near].max() / spectrum[~near].max()), 24)

    def test_every_stroke_can_be_heard(self):
        rng = np.random.default_rng(1)
        for role in composer_roles():
            self.assertGreater(audio.active_level(drums.synthesize(role, rng)), 0.01, role)
        for split in material.SPLITS:
            for stroke in (stroke for role in material.strokes(split).values() for stroke in role):
                for layer in drums.recorded(stroke):
                    self.assertAlmostEqual(float(np.abs(layer).max()), 1, places=3, msg=stroke.name())
                    self.assertGreater(len(layer), 400, stroke.name())


def composer_roles():
    return ("kick", "snare", "rim", "clap", "hat", "open", "ride", "crash", "tom", "perc")


def plain_singer(seed, utterances):
    singer = singing.Singer(np.random.default_rng(seed), "plain", utterances)
    singer.vibrato_cents = singer.falls = singer.roughness = 0.0
    return singer


def held(singer, key):
    """Half a second of a note."""
    begin, sound = singer.sing([Note(1.0, 2.0, key, 100)])
    return sound[audio.frames(1.9 - begin) : audio.frames(2.4 - begin)]


class Cymbals(unittest.TestCase):
    def test_a_crash_rings_and_a_closed_hat_does_not(self):
        for seed in range(5):
            for role, rings in (("hat", False), ("ride", True), ("crash", True)):
                stroke = cymbals.stroke(role, np.random.default_rng(seed), 2.5)
                self.assertEqual(stroke.shape, (audio.frames(2.5), 2))
                self.assertAlmostEqual(float(np.abs(stroke).max()), 1, places=5)
                later = stroke[audio.frames(0.5) : audio.frames(0.8)].std() / stroke[: audio.frames(0.1)].std()
                self.assertEqual(later > 0.03, rings, (role, seed, later))

    def test_its_treble_dies_first(self):
        change = []
        for seed in range(15):
            wash = cymbals._wash(audio.frames(1.5), 0.5, np.random.default_rng(seed))
            change.append(treble(wash[-audio.frames(0.3) :], 8_000) / treble(wash[: audio.frames(0.3)], 8_000))
        self.assertLess(max(change), 1)
        self.assertLess(np.median(change), 0.5)

    def test_two_microphones_hear_it_each_in_its_own_way(self):
        likeness = [np.corrcoef(cymbals.stroke("crash", np.random.default_rng(seed), 1).T)[0, 1] for seed in range(5)]
        self.assertLess(max(likeness), 0.999)
        self.assertGreater(min(likeness), 0.3)


class Singing(unittest.TestCase):
    def test_a_singer_holds_the_key_that_is_written(self):
        utterances = voices.make(material.voices("train")[0], 2)
        self.assertGreaterEqual(len(utterances), 1)
        for key in (52, 60, 67):
            self.assertLess(cents(held(plain_singer(key, utterances), key), key), 60, key)

    def test_a_drawn_voice_holds_the_key_that_is_written(self):
        for seed in range(8):
            for key in (50, 64):
                singer = plain_singer(seed, formants.speak(np.random.default_rng(seed)))
                # Three periods may be nearer to whole frames than one, and so more alike.
                self.assertLess(cents(held(singer, key), key, 0.6 * audio.hertz(key)), 60, (seed, key))

    def test_who_speaks_low_may_sing_an_octave_above(self):
        rng = np.random.default_rng(0)
        raised = [singing._raised(45, rng) - 45 for _ in range(100)]
        self.assertTrue(15 < raised.count(0) < 45)
        self.assertTrue(12 < max(raised) <= 15)
        self.assertEqual({singing._raised(62, rng) for _ in range(50)}, {62})

    def test_singers_stand_in_the_middle_more_often_than_not(self):
        rng = np.random.default_rng(0)
        lead = plain_singer(0, formants.speak(rng))
        middles = [singing._layers(rng, lead, {}, False)[0] for _ in range(200)]
        places = np.array([abs(place) for _, _, _, place, _ in middles])
        self.assertTrue(100 < (places < 0.16).sum() < 170)
        self.assertLess(places.max(), 0.91)

    def test_a_growl_is_an_octave_below(self):
        key, levels = 62, []
        for roughness in (0.0, 0.9):
            singer = plain_singer(3, formants.speak(np.random.default_rng(3)))
            singer.roughness = roughness
            spectrum = np.abs(np.fft.rfft(held(singer, key)))
            below, at = (round(audio.hertz(each) * 0.5) for each in (key - 12, key))
            levels.append(spectrum[below - 4 : below + 5].max() / spectrum[at - 4 : at + 5].max())
        self.assertGreater(levels[1], 3 * levels[0])

    def test_a_throat_rings_where_its_formants_are(self):
        throat = replace(formants.draw_throat(np.random.default_rng(0)), ring=0.0, bandwidth=1.0)
        centers = formants.VOWELS[4] * throat.scale[:3]
        power = formants._tube(formants.VOWELS[4:5], throat)[0]
        self.assertAlmostEqual(power[0], 1, places=6)
        for center in centers:
            band = np.argmin(np.abs(voices.GRID - center))
            self.assertLessEqual(abs(band - 3 + np.argmax(power[band - 3 : band + 4]) - band), 1, center)

    def test_what_a_throat_says_is_of_syllables_with_a_voice_in_them(self):
        for seed in range(12):
            for utterance in formants.speak(np.random.default_rng(seed)):
                begins, loudest, ends = utterance.syllables.T
                self.assertTrue((begins <= loudest).all() and (loudest < ends).all())
                np.testing.assert_array_equal(begins[1:], ends[:-1])
                self.assertTrue((utterance.pitch[loudest] > 50).all())
                self.assertTrue((utterance.pitch == 0).any())
                self.assertTrue(np.isfinite(utterance.envelope).all())
                self.assertTrue(((utterance.aperiodicity >= 0) & (utterance.aperiodicity <= 1)).all())

    def test_voices_are_the_same_after_they_were_stored(self):
        made = voices.make(material.voices("train")[0], 1)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "voice.npz")
            voices.save(path, made)
            for before, after in zip(made, voices.load(path)):
                for name in vars(before):
                    np.testing.assert_array_equal(getattr(before, name), getattr(after, name))


class Mastering(unittest.TestCase):
    def stems(self):
        rng = np.random.default_rng(3)
        return 0.4 * rng.standard_normal((4, RATE, 2)).astype(np.float32) * np.linspace(0, 2, RATE)[:, None]

    def test_the_mastered_mix_is_the_sum_of_the_mastered_stems(self):
        """A chain that is given the mix as its only stem does the same as one that is given all stems."""
        stems = self.stems().astype(np.float32)
        silence = np.zeros_like(stems[:3])
        for seed in range(6):
            apart = mastering.master(stems, np.random.default_rng(seed))
            alone = np.concatenate([stems.sum(0, keepdims=True), silence])
            whole = mastering.master(alone, np.random.default_rng(seed))
            # They may differ in one factor: stems that are louder than the mix are turned down with it.
            self.assertGreater(metrics.si_sdr(whole.sum(0), apart.sum(0)), 80)
            self.assertLessEqual(np.abs(apart).max(), mastering.CEILING + 1e-4)

    def test_a_limiter_keeps_under_its_ceiling_and_leaves_what_is_below(self):
        mix = self.stems().sum(0)
        limited = mix * mastering.limiter(mix)[:, None]
        self.assertLessEqual(np.abs(limited).max(), mastering.CEILING + 1e-4)
        quiet = mix * 0.9 * mastering.CEILING / np.abs(mix).max()
        np.testing.assert_allclose(mastering.limiter(quiet), 1, atol=1e-6)

    def test_effects_keep_the_length_and_stay_finite(self):
        rng, sound = np.random.default_rng(5), self.stems()[0].astype(np.float32)
        for effect, rest in (
            (effects.random_eq, (rng,)), (effects.compress, (rng, -12, 4)), (effects.drive, (12,)),
            (effects.chorus, (rng,)), (effects.echo, (rng, 0.2)), (effects.reverb, (rng, -12)),
            (effects.pan, (0.5,)), (effects.width, (0.3,)), (effects.double, (rng,)),
            (effects.tremolo, (rng, 0.4)), (effects.overheads, (rng,)),
        ):
            result = effect(sound, *rest)
            self.assertEqual(result.shape, sound.shape, effect)
            self.assertTrue(np.isfinite(result).all(), effect)

    def test_overheads_hear_cymbals_apart_and_the_kick_in_the_middle(self):
        noise = np.random.default_rng(0).standard_normal(RATE)
        for seed in range(6):
            for edges, apart in (([40, 100], False), ([8_000, 12_000], True)):
                sound = audio.stereo(effects.butterworth(noise, edges, "band", 4))
                heard = effects.overheads(sound, np.random.default_rng(seed))
                side, middle = np.abs(heard[:, 0] - heard[:, 1]).mean(), np.abs(heard.sum(1)).mean()
                self.assertEqual(side > 0.1 * middle, apart, (seed, edges))


class Recorded(unittest.TestCase):
    def test_a_crop_is_of_a_recording_and_has_sound(self):
        recordings = Recordings()
        for kind in material.RECORDED:
            self.assertAlmostEqual(sum(material.recordings(kind).values()), 1)
            crops = [recordings.crop(np.random.default_rng(seed), kind, 4_410) for seed in range(20)]
            self.assertEqual({(crop.shape, crop.dtype) for crop in crops}, {((2, 4_410), np.dtype("float32"))})
            self.assertGreater(np.median([np.abs(crop).max() for crop in crops]), 0.05)


class Storing(unittest.TestCase):
    def test_stems_add_up_within_16_bits(self):
        with self.assertRaises(ValueError):
            generate.quantize(np.full((4, 10, 2), 0.5, np.float32))
        whole = generate.quantize(np.full((4, 10, 2), 0.24, np.float32))
        self.assertEqual(whole.dtype, np.int16)

    def test_a_soundfont_that_is_none_is_refused(self):
        with tempfile.NamedTemporaryFile() as file:
            file.write(b"RIFF" + bytes(40))
            file.flush()
            with self.assertRaises(ValueError):
                soundfont.samples(file.name)


if __name__ == "__main__":
    unittest.main()
