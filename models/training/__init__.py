"""How the built-in models are made: music is synthesized, a network is trained on it, held against
other ways, and written as a file that Demucs 4.1 and Stemflow load.

In the order of the data:

- `material`, `licences`: what sounds are made from, and that its licences allow it
- `composer`, `basslines`: a seed becomes a song's notes
- `soundfont`, `fluid`, `synth`, `strings`, `struck`, `sustained`, `cymbals`, `drums`: notes become sound
- `voices`, `formants`, `singing`: and melodies are sung
- `effects`, `amplifier`, `mastering`, `arrange`: sounds become four stems and their mix
- `generate`: many songs, on all cores, as FLAC with a manifest
- `recordings`, `dataset`, `loss`, `network`, `replicas`, `checkpoint`, `train`: the network
- `metrics`, `baselines`, `evaluate`: how good it is
- `export`: the file
- `pack`: all that is needed to do it on a machine without network
"""
