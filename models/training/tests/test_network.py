"""The network, its loss, its batches, and the measures, without any song."""

import unittest

import numpy as np
import torch

from training import baselines, dataset, export, loss, metrics, network
from training.audio import SOURCES

CONFIGS = ("tiny", "mini", "mini-gpu")
PARTED = torch.tensor([True])


class Measures(unittest.TestCase):
    def test_noise_of_a_tenth_is_20_db(self):
        rng = np.random.default_rng(0)
        stem, noise = rng.standard_normal((2, 2, 100_000))
        self.assertAlmostEqual(metrics.sdr(stem, stem + 0.1 * noise), 20, delta=0.2)
        self.assertAlmostEqual(metrics.si_sdr(stem, stem + 0.1 * noise), 20, delta=0.2)

    def test_only_si_sdr_forgives_another_level(self):
        stem = np.random.default_rng(0).standard_normal((2, 10_000))
        self.assertGreater(metrics.si_sdr(stem, 0.5 * stem), 90)
        self.assertAlmostEqual(metrics.sdr(stem, 0.5 * stem), 6.02, places=2)

    def test_filters_give_back_the_mix(self):
        mix = np.random.default_rng(0).standard_normal((2, 44_100)).astype(np.float32)
        self.assertGreater(metrics.sdr(mix, baselines.filters(mix).sum(0)), 60)

    def test_the_loss_is_zero_for_the_stems_alone(self):
        stems = torch.randn(1, 4, 2, 20_000, generator=torch.Generator().manual_seed(0))
        options = {"treble": 3.0, "spectral": 0.5}
        self.assertEqual(float(loss.total(stems, stems, PARTED, options)[0]), 0)
        self.assertGreater(float(loss.total(stems.roll(1, 1), stems, PARTED, options)[0]), 0.1)

    def test_of_a_backing_in_one_the_loss_asks_its_sum_alone(self):
        estimate = torch.randn(2, 4, 2, 20_000, generator=torch.Generator().manual_seed(0))
        stems, parted = loss.whole_backing(estimate), torch.tensor([False, False])
        options = {"treble": 3.0, "spectral": 0.5}
        self.assertEqual(float(loss.total(estimate, stems, parted, options)[0]), 0)
        self.assertGreater(float(loss.total(estimate, stems, torch.tensor([True, False]), options)[0]), 0.1)
        self.assertGreater(float(loss.total(estimate.roll(1, 1), stems, parted, options)[0]), 0.1)

    def test_what_may_be_of_either_of_two_stems_is_shared(self):
        noise = torch.Generator().manual_seed(0)
        sound = torch.randn(1, 1, 2, 20_000, generator=noise)
        first = (torch.rand(sound.shape, generator=noise) < 0.4).float()
        stems = sound * torch.cat([first, 1 - first], dim=1)
        shared, to_the_likelier = (sound * torch.tensor([share, 1 - share]).view(1, 2, 1, 1) for share in (0.4, 0))
        self.assertLess(loss.rms(shared - stems), 0.85 * loss.rms(to_the_likelier - stems))
        self.assertGreater((shared - stems).abs().mean(), 1.1 * (to_the_likelier - stems).abs().mean())

    def test_treble_weighs_what_is_above_2_khz(self):
        time, stems = torch.arange(44_100) / 44_100, torch.zeros(1, 4, 2, 44_100)
        low, high = (torch.sin(2 * torch.pi * hertz * time).expand_as(stems) for hertz in (100, 7_000))
        plain, treble = ({"treble": share, "spectral": 0} for share in (0, 3.0))
        for sound, more in ((low, 1.05), (high, 3.9)):
            raised = loss.total(sound, stems, PARTED, treble)[0] / loss.total(sound, stems, PARTED, plain)[0]
            self.assertAlmostEqual(float(raised), more, delta=0.1)


class Network(unittest.TestCase):
    def test_it_begins_near_a_quarter_of_the_mix(self):
        mix = torch.randn(1, 2, 66_150, generator=torch.Generator().manual_seed(0))
        for name in CONFIGS:
            model = network.build(network.load_config(name)).eval()
            model.use_train_segment = False
            with torch.no_grad():
                stems = model(mix)
            for stem in stems[0]:
                self.assertGreater(metrics.si_sdr(mix[0].numpy(), stem.numpy()), 3, name)

    def test_the_sizes_are_what_the_configs_say(self):
        for name, millions in (("mini", 2.93), ("mini-gpu", 7.3)):
            count = network.parameters(network.build(network.load_config(name)))
            self.assertAlmostEqual(count / 1e6, millions, delta=0.06)
            self.assertLess(2 * count, export.LARGEST)


    def test_a_grown_network_gives_nearly_what_it_gave(self):
        narrow, wide = network.load_config("tiny"), network.load_config("tiny")
        wide["network"] |= {"channels": 12, "bottom_channels": 64}
        old, new = network.build(narrow).eval(), network.build(wide).eval()
        mix = torch.randn(1, 2, 22_050, generator=torch.Generator().manual_seed(0))
        with torch.no_grad():
            given = old(mix)
            new.load_state_dict(network.grown(old.state_dict(), new))
            after = new(mix)
        self.assertGreater(metrics.sdr(given.numpy()[0, 0], after.numpy()[0, 0]), 15)
        with self.assertRaises(ValueError):
            network.grown(new.state_dict(), old)

    def test_what_has_no_smaller_form_cannot_be_grown(self):
        deep = network.load_config("tiny")
        deep["network"]["t_layers"] = 2
        old = network.build(network.load_config("tiny"))
        with self.assertRaisesRegex(ValueError, "cannot grow"):
            network.grown(old.state_dict(), network.build(deep))


AUGMENTATION = {"remix": 0.5, "speed": 0.5, "drop": 0.2, "apart": 0, "recorded": 0, "backing": 0} | {
    name: 0 for effects in dataset.EFFECTS.values() for name in effects
}


class FakeSongs:
    """Songs whose stems are constants: 1, 2, 3, 4."""

    lengths = [10_000, 10_000]

    def __len__(self):
        return 2

    def start(self, rng, song, count):
        return int(rng.integers(0, 10_000 - count))

    def stem(self, song, source, start, count):
        return np.full((2, count), source + 1, np.float32)


class FakeRecordings:
    """Constants too: 5, 6, 10."""

    def crop(self, rng, kind, count):
        return np.full((2, count), {"other": 5, "vocals": 6, "backing": 10}[kind], np.float32)


def fake_mixer(**options):
    return dataset.Mixer(FakeSongs(), FakeRecordings(), 1_000, AUGMENTATION | options)


class Batches(unittest.TestCase):
    def test_a_batch_depends_on_seed_and_step_alone(self):
        mixer = fake_mixer(**{name: 0.3 for name in AUGMENTATION})
        ahead = dataset.batches(mixer, 7, 3, 2, threads=2)
        for step in (3, 4, 5):
            for one, other in zip(next(ahead), dataset.batch(mixer, 7, step, 2)):
                torch.testing.assert_close(one, other, rtol=0, atol=0)
        ahead.close()
        self.assertFalse(torch.equal(dataset.batch(mixer, 7, 3, 2)[0], dataset.batch(mixer, 8, 3, 2)[0]))

    def test_augmentation_changes_level_and_sign_and_nothing_else(self):
        mixer = fake_mixer()
        signs, dropped = set(), 0
        for step in range(40):
            stems, parted = dataset.batch(mixer, 0, step, 1)
            self.assertTrue(parted.all())
            for source, stem in enumerate(stems[0]):
                value = float(stem[0, 0])
                self.assertTrue(torch.allclose(stem, stem[0, 0]))
                signs.add(np.sign(value))
                dropped += value == 0
                if value:
                    level = 20 * np.log10(abs(value) / (source + 1))
                    low, high = dataset.GAINS_DB[SOURCES[source]]
                    self.assertTrue(low - 0.01 < level < high + 0.01, level)
        self.assertEqual(signs, {-1, 0, 1})
        self.assertTrue(10 < dropped < 60)

    def test_a_recorded_backing_is_in_one_and_before_it_a_voice(self):
        mixer = fake_mixer(backing=1, drop=0)
        backing, other = (10 ** (dataset.GAINS_DB[kind][1] / 20) for kind in ("backing", "other"))
        loudest = 10 * backing + 3 * other + 0.01
        for step in range(20):
            stems, parted = dataset.batch(mixer, 0, step, 1)
            self.assertFalse(parted.any())
            self.assertTrue(0 < abs(float(stems[0, 0, 0, 0])) < loudest)
            self.assertTrue((stems[0, 1:3] == 0).all() and (stems[0, 3] != 0).all())

    def test_instruments_and_voices_may_be_recorded(self):
        mixer, rng = fake_mixer(recorded=1), np.random.default_rng(0)
        self.assertEqual(float(mixer._from_any(rng, 2, 1.0)[0, 0]), 5)
        self.assertEqual(float(mixer._from_any(rng, 1, 1.0)[0, 0]), 2)
        for _ in range(10):
            spoken = mixer._from_any(rng, 3, 1.0)
            self.assertEqual((spoken.shape, spoken.dtype), ((2, 1_000), np.dtype("float32")))
            self.assertTrue(0.2 * 6 < np.abs(spoken).max() < 2 * 6)

    def test_a_shout_is_as_loud_and_stronger_in_the_middle(self):
        noise = np.random.default_rng(0).standard_normal((44_100, 2)).astype(np.float32)
        for seed in range(8):
            shouted = dataset._shouted(noise, np.random.default_rng(seed))
            self.assertEqual((shouted.shape, shouted.dtype), (noise.shape, noise.dtype))
            self.assertAlmostEqual(float(shouted.std()), float(noise.std()), places=2)
            powers = [np.abs(np.fft.rfft(each[:, 0])) ** 2 for each in (noise, shouted)]
            middle, low = ([power[a:b].sum() for power in powers] for a, b in ((1_000, 3_000), (40, 300)))
            self.assertGreater(middle[1] / middle[0], 2 * low[1] / low[0], seed)

    def test_bright_drums_keep_their_kick(self):
        noise = np.random.default_rng(0).standard_normal((44_100, 2)).astype(np.float32)
        for seed in range(8):
            bright = dataset._bright(noise, np.random.default_rng(seed))
            powers = [np.abs(np.fft.rfft(each[:, 0])) ** 2 for each in (noise, bright)]
            kick, cymbals = ([power[a:b].sum() for power in powers] for a, b in ((40, 200), (4_000, 12_000)))
            self.assertAlmostEqual(kick[1] / kick[0], 1, delta=0.05)
            self.assertGreater(cymbals[1] / cymbals[0], 1.1, seed)

    def test_two_songs_apart_are_one_on_each_side(self):
        songs = FakeSongs()
        songs.stem = lambda song, source, start, count: np.full((2, count), 1.0 - 2 * song, np.float32)
        mixer, rng, sides = fake_mixer(), np.random.default_rng(0), set()
        mixer.songs = songs
        for _ in range(40):
            left, right = mixer._apart(rng, 2)[:, 0]
            sides.add((np.sign(left), np.sign(right)))
            self.assertTrue(0.5 <= abs(left) <= 1.5 and 0.5 <= abs(right) <= 1.5)
        self.assertEqual(sides, {(1, 1), (1, -1), (-1, 1), (-1, -1)})


if __name__ == "__main__":
    unittest.main()
