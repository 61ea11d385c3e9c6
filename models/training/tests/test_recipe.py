"""The whole recipe at toy scale, by its commands: generate, train, evaluate, export, pack."""

import json
import os
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

import numpy as np
import soundfile
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from training import checkpoint, evaluate, export, metrics, network
from training.audio import SAMPLE_RATE, SOURCES

ROOT = Path(__file__).parents[3]
SEPARATE = ROOT / "target/release/examples/separate"
STEPS = 60


def training(*arguments):
    """Runs a step; gives what it printed."""
    command = [sys.executable, "-m", "training", *map(str, arguments)]
    ended = subprocess.run(command, capture_output=True, text=True)
    if ended.returncode:
        raise AssertionError(f"{' '.join(command)}\n{ended.stdout}{ended.stderr}")
    return ended.stdout


def lines(run):
    return [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]


def validations(run):
    return [line["valid_l1"] for line in lines(run) if "valid_l1" in line]


class Recipe(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory()
        cls.root = Path(cls.folder.name)
        cls.data, cls.run_folder = cls.root / "data", cls.root / "run"
        cls.file = cls.root / "toy.safetensors"
        for split, songs in (("train", 4), ("valid", 2), ("test", 2)):
            training("generate", cls.data, "--split", split, "--songs", songs, "--seconds", 8, "--utterances", 3)
        training("train", cls.data, cls.run_folder, "--config", "tiny", "--steps", STEPS, "--device", "cpu")
        cls.exported = training("export", cls.run_folder, cls.file)

    @classmethod
    def tearDownClass(cls):
        cls.folder.cleanup()

    def assert_same_sound(self, one, other, source):
        first, second = (soundfile.read(folder / "test/00000" / f"{source}.flac")[0] for folder in (one, other))
        np.testing.assert_array_equal(first, second)

    def song(self, split, number):
        return self.data / split / f"{number:05d}"

    def test_stems_have_sound_and_add_up_to_a_mix_that_is_not_clipped(self):
        for split in ("train", "valid", "test"):
            for number in range(2):
                paths = [self.song(split, number) / f"{source}.flac" for source in SOURCES]
                stems = np.stack([soundfile.read(path, dtype="int16")[0] for path in paths]).astype(np.int32)
                self.assertEqual(stems.shape, (4, 8 * SAMPLE_RATE, 2))
                self.assertLessEqual(np.abs(stems.sum(0)).max(), 32_767)
                self.assertGreater(np.abs(stems.sum(0)).max(), 5_000)
                self.assertTrue((np.abs(stems).max((1, 2)) > 300).all(), paths)

    def test_a_song_is_the_same_whenever_it_is_made(self):
        again = self.root / "again"
        again.mkdir()
        (again / "voices").symlink_to(self.data / "voices")
        training("generate", again, "--split", "test", "--songs", 1, "--seconds", 8, "--processes", 1)
        for source in SOURCES:
            self.assert_same_sound(self.data, again, source)

    def test_songs_of_another_seed_are_not_added(self):
        with self.assertRaisesRegex(AssertionError, "another material.toml or seed"):
            training("generate", self.data, "--split", "valid", "--songs", 3, "--seed", 1)

    def test_the_manifest_tells_what_a_song_is_made_of(self):
        rows = [json.loads(line) for line in (self.data / "test/manifest.jsonl").read_text().splitlines()]
        self.assertEqual([row["song"] for row in rows], ["00000", "00001"])
        for row in rows:
            self.assertEqual(set(row["material"]), set(SOURCES))
            self.assertTrue(row["material"]["vocals"])
            choirs = {"FluidR3/53", "MuseScore_General/53"}
            self.assertLessEqual(set(row["material"]["vocals"]), {"awb", "drawn"} | choirs)

    def test_the_loss_falls(self):
        valid = validations(self.run_folder)
        self.assertLess(valid[-1], 0.95 * valid[0])

    def test_a_training_that_was_stopped_goes_on_as_if_it_had_not_been(self):
        whole, parts = self.root / "whole", self.root / "parts"
        common = ("--config", "tiny", "--device", "cpu", "--threads", 1)
        training("train", self.data, whole, *common, "--until", 6)
        training("train", self.data, parts, *common, "--until", 3)
        training("train", self.data, parts, *common, "--until", 6)
        one, other = checkpoint.load(whole), checkpoint.load(parts)
        self.assertEqual(one["step"], other["step"])
        for kind in ("model", "average"):
            for name, value in one[kind].items():
                torch.testing.assert_close(value, other[kind][name], rtol=0, atol=1e-6, msg=f"{kind} {name}")

    def test_a_training_goes_on_from_an_exported_file(self):
        further = self.root / "further"
        common = ("--config", "tiny", "--device", "cpu", "--steps", 2)
        training("train", self.data, further, "--start", self.file, *common)
        ended, began = validations(self.run_folder)[-1], validations(further)[0]
        self.assertAlmostEqual(began, ended, delta=1e-4)
        again = self.root / "further.safetensors"
        training("export", further, again)
        self.assertEqual(network.published(again)[1], STEPS + 2)

    def test_of_several_runs_the_mean_is_exported(self):
        runs, file = [self.root / "one", self.root / "other"], self.root / "mean.safetensors"
        common = ("--config", "tiny", "--device", "cpu", "--start", self.file)
        for steps, run in enumerate(runs, 2):
            training("train", self.data, run, *common, "--steps", steps)
        training("export", *runs, file)
        weights, steps = network.published(file)
        self.assertEqual(steps, STEPS + 2 + 3)
        one, other = (checkpoint.load(run)["average"] for run in runs)
        for name, weight in weights.items():
            expected = (one[name] + other[name]).float() / 2
            torch.testing.assert_close(weight, expected, rtol=1e-3, atol=1e-6, msg=name)

    def test_what_did_not_begin_alike_has_no_mean(self):
        runs = [checkpoint.load(self.run_folder) for _ in range(2)]
        runs[1]["before"] = 1
        with self.assertRaisesRegex(ValueError, "differ in their start"):
            export.mean(runs)

    def test_a_training_does_not_go_on_from_what_it_does_not_know(self):
        unknown = self.root / "unknown.safetensors"
        save_file(export.tensors(checkpoint.load(self.run_folder)), unknown)
        with self.assertRaisesRegex(AssertionError, "does not say that it was trained only on"):
            training("train", self.data, self.root / "none", "--config", "tiny", "--start", unknown)

    def estimates(self, model):
        mix = torch.from_numpy(evaluate.middle(self.song("test", 0), 2).sum(0))
        return evaluate.separator(model, "cpu")(mix.numpy())

    def test_the_file_is_the_trained_model(self):
        """Exactly, once its weights are rounded to 16 bits; and nearly, as it was trained."""
        contents = checkpoint.load(self.run_folder)
        trained = evaluate.load_model(checkpoint.path(self.run_folder))
        expected = self.estimates(trained)
        trained.load_state_dict({name: value.float() for name, value in export.tensors(contents).items()})
        loaded = self.estimates(evaluate.load_model(self.file))
        np.testing.assert_allclose(loaded, self.estimates(trained), rtol=0, atol=1e-6)
        self.assertGreater(metrics.sdr(expected, loaded), 50)

    def test_the_file_says_its_licence_and_data(self):
        with safe_open(self.file, framework="pt") as file:
            metadata, names = file.metadata(), list(file.keys())
            self.assertEqual({str(file.get_tensor(name).dtype) for name in names}, {"torch.float16"})
        self.assertEqual(metadata["klass"], "demucs.htdemucs.HTDemucs")
        self.assertEqual(metadata["licence"], "MIT")
        for words in ("FluidR3 (fluid-soundfont-gm: MIT)", "sonic-pi-samples: CC0", "festvox-us-slt-hts: EST-2003"):
            self.assertIn(words, metadata["data"])
        digest, path, size, _ = self.exported.split()
        self.assertEqual((len(digest), path, int(size)), (64, str(self.file), self.file.stat().st_size))

    def test_what_16_bits_do_not_hold_is_not_exported(self):
        contents = checkpoint.load(self.run_folder)
        next(iter(contents["average"].values())).fill_(1e6)
        with self.assertRaisesRegex(ValueError, "16 bits do not hold"):
            export.write(contents, self.root / "broken.safetensors")

    def test_evaluation_prints_figures_of_models_and_baselines(self):
        figures = self.root / "figures.json"
        printed = training("evaluate", self.data, self.file, "--seconds", 4, "--json", figures, "--device", "cpu")
        results = json.loads(figures.read_text())
        self.assertEqual(set(results), {"mixture", "filters", str(self.file)})
        for name, result in results.items():
            for measure in ("SI-SDR", "SDR"):
                for kind in ("median", "mean"):
                    row = result[measure][kind]
                    self.assertTrue(len(row) == 5 and np.isfinite(row).all())
                    self.assertIn(f"| {name} | " + " | ".join(f"{each:.2f}" for each in row), printed)

    def test_songs_may_be_wav_as_those_of_musdb18_hq_are(self):
        song, other = self.song("test", 0), self.root / "musdb/test/A song"
        other.mkdir(parents=True)
        for source in SOURCES:
            soundfile.write(other / f"{source}.wav", *soundfile.read(song / f"{source}.flac", dtype="int16"))
        np.testing.assert_array_equal(evaluate.middle(other, 2), evaluate.middle(song, 2))

    def test_a_pack_holds_what_another_machine_needs(self):
        pack, there = self.root / "pack", self.root / "there"
        there.mkdir()
        printed = training("pack", self.data, pack, "--mebibytes", 50)
        parts = [pack / Path(line.split()[0]).name for line in printed.splitlines()]
        self.assertTrue(all(part.stat().st_size <= 50 * 2**20 for part in parts))
        subprocess.run(f"cat {pack}/part-* | tar -x -C {there}", shell=True, check=True)
        # No Debian package can be seen, nor a synthesizer of speech.
        alone = {"STEMFLOW_MATERIAL": str(there / "root"), "LD_LIBRARY_PATH": str(there / "lib"), "PATH": "/nowhere"}
        command = [sys.executable, "-m", "training", "generate", "data", "--split", "test", "--songs", "1"]
        subprocess.run([*command, "--seconds", "8"], env=alone, cwd=there, check=True, capture_output=True)
        for source in SOURCES:
            self.assert_same_sound(self.data, there / "data", source)

    @unittest.skipUnless(SEPARATE.exists(), f"no {SEPARATE.relative_to(ROOT)}; cargo builds it")
    def test_stemflow_gives_the_same(self):
        song, ours = self.root / "song.wav", self.root / "ours"
        mix = evaluate.middle(self.song("test", 1), 4).sum(0)
        soundfile.write(song, mix.T, SAMPLE_RATE, subtype="FLOAT")
        libraries = str(Path(torch.__file__).parent / "lib")
        command = [SEPARATE, song, ours, "--model", self.file]
        subprocess.run(command, env={**os.environ, "LD_LIBRARY_PATH": libraries}, check=True, capture_output=True)
        theirs = evaluate.separator(evaluate.load_model(self.file), "cpu")(mix)
        for source, stem in zip(SOURCES, theirs):
            found, _ = soundfile.read(ours / f"{source}.wav", dtype="float32")
            np.testing.assert_allclose(found.T, stem, rtol=0, atol=1e-4)


if __name__ == "__main__":
    unittest.main()
