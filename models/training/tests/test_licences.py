"""All material is under a known permissive licence, and nothing else gets through."""

import os
import subprocess
import sys
import tempfile
import unittest

from training import licences, material

DEP5 = """Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/
Upstream-Name: drums

Files: *
Copyright: 2016 Someone
License: MIT

Files: etc/samples/kick.flac
 etc/samples/snare*.flac
Copyright: 2011 Someone else
License: CC0

Files: etc/samples/loop.flac
License: CC-BY-SA-4.0
"""
ALLOWED = ["MIT", "CC0"]


class Licences(unittest.TestCase):
    def test_all_material_is_permissive(self):
        rows = licences.collect()
        self.assertEqual({row["package"] for row in rows}, set(licences.used_packages()))
        self.assertIn("FluidR3 (fluid-soundfont-gm: MIT)", licences.statement(rows))

    def test_each_file_has_the_licence_of_its_last_stanza(self):
        parsed = licences.stanzas(DEP5)
        for file, licence in (("kick", "CC0"), ("snare_2", "CC0"), ("loop", "CC-BY-SA-4.0"), ("other", "MIT")):
            self.assertEqual(licences.licence_of(f"etc/samples/{file}.flac", parsed), licence)

    def test_a_licence_that_is_not_allowed_fails(self):
        with self.assertRaisesRegex(licences.UnknownLicence, "GPL-2 is not among"):
            licences.check("kits", {"licence": "GPL-2", "evidence": ["GPL"]}, "This is under the GPL", ALLOWED)

    def test_a_licence_that_the_copyright_file_does_not_give_fails(self):
        entry = {"licence": "MIT", "evidence": ["under the MIT license"]}
        with self.assertRaisesRegex(licences.UnknownLicence, "does not say"):
            licences.check("font", entry, "All rights reserved", ALLOWED)

    def test_a_licence_without_evidence_fails(self):
        with self.assertRaisesRegex(licences.UnknownLicence, "nothing says"):
            licences.check("font", {"licence": "MIT"}, "MIT", ALLOWED)

    def test_one_file_of_another_licence_fails(self):
        entry = {"licence": "CC0", "files": ["etc/samples/kick.flac", "etc/samples/loop.flac"]}
        with self.assertRaisesRegex(licences.UnknownLicence, "loop.flac is under CC-BY-SA-4.0"):
            licences.check("drums", entry, DEP5, ALLOWED)

    def test_a_package_that_the_list_does_not_name_fails(self):
        with self.assertRaisesRegex(licences.UnknownLicence, "gives it no licence"):
            licences.collect(["lmms-common"], read=lambda package: "")

    def test_the_step_fails_where_the_copyright_files_are_missing(self):
        with tempfile.TemporaryDirectory() as empty:
            command = [sys.executable, "-m", "training", "licences"]
            environment = {**os.environ, "STEMFLOW_MATERIAL": empty}
            ended = subprocess.run(command, env=environment, capture_output=True, text=True)
        self.assertEqual(ended.returncode, 1)
        self.assertIn("no copyright file", ended.stderr)


class Splits(unittest.TestCase):
    """What is tested on was never heard in training."""

    def assert_apart(self, parts):
        for one in material.SPLITS:
            for other in material.SPLITS:
                if one != other:
                    self.assertEqual(parts[one] & parts[other], set(), f"in {one} and {other}")

    def test_no_two_share_a_sample_of_a_soundfont(self):
        from training import soundfont

        for name, path in material.soundfonts():
            played = soundfont.samples(path)
            parts = {}
            for split in material.SPLITS:
                programs = {program for role in material.programs(split).values() for program in role}
                presets = [names for (bank, program, _), names in played.items() if bank == 0 and program in programs]
                parts[split] = set().union(*presets)
                strokes = [stroke for role in material.strokes(split).values() for stroke in role]
                if path == material.drum_font():
                    kits = [(soundfont.DRUM_BANK, each.kit, each.key) for each in strokes if each.kit is not None]
                    parts[split] |= set().union(*(played[kit] for kit in kits))
                self.assertTrue(parts[split], f"{name} plays nothing in {split}")
            self.assert_apart(parts)

    def test_no_two_share_a_program_a_stroke_or_a_voice(self):
        for listed in (material.programs, material.strokes):
            parts = {split: {each for role in listed(split).values() for each in role} for split in material.SPLITS}
            self.assert_apart(parts)
        self.assert_apart({split: {voice["name"] for voice in material.voices(split)} for split in material.SPLITS})


if __name__ == "__main__":
    unittest.main()
