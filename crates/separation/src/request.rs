use serde::{Deserialize, Serialize};
use serde_json::Value;
use workflow::{JobId, Lane};

use crate::catalogue::{Catalogue, Model};

/// What a client asks for beside the song; all of it may be left out.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Request {
    /// The model's name.
    pub model: Option<String>,
    /// Which of the model's sources; all if empty.
    pub stems: Vec<String>,
    /// The form of the stems' files: `mp3`, `flac` or `wav`.
    pub format: Option<String>,
    /// Constant bit rate of MP3 files in kbit/s; variable bit rate of high quality if absent.
    pub bitrate: Option<u16>,
    /// The part of a segment that it shares with the next.
    pub overlap: Option<f64>,
    /// How many times the song is separated with a shift, the results averaged.
    pub shifts: Option<u32>,
    /// Whether the song comes before others, or after them.
    pub lane: Option<Lane>,
    /// The song's file name, for those who look at the job.
    pub name: Option<String>,
    /// Where to tell that the job has ended.
    pub callback: Option<Value>,
}

/// What is to be done with a song: a [`Request`] with nothing left open.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Spec {
    /// The model that separates it.
    pub model: Model,
    /// The stems that are wanted, in the order of the model's sources.
    pub stems: Vec<String>,
    /// The form of their files.
    pub format: Format,
    /// Constant bit rate of MP3 files in kbit/s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bitrate: Option<u16>,
    /// The part of a segment that it shares with the next.
    pub overlap: f64,
    /// How often it is separated, each time a little shifted, to take the mean; 0 is once, as it
    /// is.
    pub shifts: u32,
    /// Whether it comes before other songs, or after them. Does not change the result.
    #[serde(default)]
    pub lane: Lane,
    /// The song's file name. Does not change the result.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Where to tell that the job has ended: in the job's record by itself, not the stages' business.
    #[serde(skip)]
    pub callback: Option<Value>,
}

/// A form that stems can have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// MPEG-1 layer III.
    #[default]
    Mp3,
    /// FLAC, 24 bits.
    Flac,
    /// WAV, 32-bit float.
    Wav,
}

impl Format {
    /// The end of a file's name, without the dot.
    pub fn extension(self) -> &'static str {
        match self {
            Self::Mp3 => "mp3",
            Self::Flac => "flac",
            Self::Wav => "wav",
        }
    }

    /// What HTTP calls it.
    pub fn media_type(self) -> &'static str {
        match self {
            Self::Mp3 => "audio/mpeg",
            Self::Flac => "audio/flac",
            Self::Wav => "audio/wav",
        }
    }
}

/// An option that cannot be had; each message says what can.
#[derive(Debug, thiserror::Error, PartialEq)]
#[allow(missing_docs, reason = "each message says it all")]
pub enum RequestError {
    #[error("unknown model `{name}`: use one of {known}")]
    Model { name: String, known: String },
    #[error("unknown stem `{stem}`: `{model}` gives {known}")]
    Stem { stem: String, model: String, known: String },
    #[error("unknown format `{0}`: use mp3, flac or wav")]
    Format(String),
    #[error("bitrate is {0}: use one of 96, 112, 128, 160, 192, 224, 256, 320, with format mp3")]
    Bitrate(u16),
    #[error("overlap is {0}: use a number from 0 to 0.9")]
    Overlap(f64),
    #[error("shifts is {0}: use a number from 0 to {MAX_SHIFTS}")]
    Shifts(u32),
}

const BITRATES: [u16; 8] = [96, 112, 128, 160, 192, 224, 256, 320];
const DEFAULT_OVERLAP: f64 = 0.25;
const MAX_SHIFTS: u32 = 10;

/// The name of a stem as models know it: the system before this one wrote `base` for `bass`.
pub fn canonical_stem(name: &str) -> &str {
    if name == "base" { "bass" } else { name }
}

impl Request {
    /// Settles what was left open, and refuses what cannot be had.
    pub fn resolve(self, catalogue: &Catalogue) -> Result<Spec, RequestError> {
        let model = find_model(self.model.as_deref(), catalogue)?.clone();
        let stems = find_stems(&self.stems, &model)?;
        let format = find_format(self.format.as_deref())?;
        if let Some(bitrate) = self.bitrate
            && (format != Format::Mp3 || !BITRATES.contains(&bitrate))
        {
            return Err(RequestError::Bitrate(bitrate));
        }
        let overlap = self.overlap.unwrap_or(DEFAULT_OVERLAP);
        if !(0.0..=0.9).contains(&overlap) {
            return Err(RequestError::Overlap(overlap));
        }
        let shifts = self.shifts.unwrap_or(0);
        if shifts > MAX_SHIFTS {
            return Err(RequestError::Shifts(shifts));
        }
        let Self { bitrate, lane, name, callback, .. } = self;
        let lane = lane.unwrap_or_default();
        Ok(Spec { model, stems, format, bitrate, overlap, shifts, lane, name, callback })
    }
}

fn find_model<'a>(name: Option<&str>, catalogue: &'a Catalogue) -> Result<&'a Model, RequestError> {
    let Some(name) = name else { return Ok(&catalogue.models()[0]) };
    catalogue.find(name).ok_or_else(|| RequestError::Model {
        name: name.to_owned(),
        known: catalogue.models().iter().map(|m| m.name.as_str()).collect::<Vec<_>>().join(", "),
    })
}

fn find_stems(wanted: &[String], model: &Model) -> Result<Vec<String>, RequestError> {
    let wanted: Vec<&str> = wanted.iter().map(|stem| canonical_stem(stem)).collect();
    for stem in &wanted {
        if !model.sources.iter().any(|source| source == stem) {
            return Err(RequestError::Stem {
                stem: (*stem).to_owned(),
                model: model.name.clone(),
                known: model.sources.join(", "),
            });
        }
    }
    let is_wanted = |source: &&String| wanted.is_empty() || wanted.contains(&source.as_str());
    Ok(model.sources.iter().filter(is_wanted).cloned().collect())
}

fn find_format(name: Option<&str>) -> Result<Format, RequestError> {
    match name {
        None | Some("mp3") => Ok(Format::Mp3),
        Some("flac") => Ok(Format::Flac),
        Some("wav") => Ok(Format::Wav),
        Some(other) => Err(RequestError::Format(other.to_owned())),
    }
}

impl Spec {
    /// The name of the job that does this to the song of that digest: the same song and the same
    /// options have the same name.
    pub fn job_id(&self, song_digest: &str) -> JobId {
        let Self { model, stems, format, bitrate, overlap, shifts, .. } = self;
        let stems = stems.join(",");
        let format = format.extension();
        let bitrate = bitrate.unwrap_or(0);
        JobId::of(format!(
            "stemflow 1\n{song_digest}\n{}\n{stems}\n{format} {bitrate}\n{overlap} {shifts}",
            model.sha256
        ))
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn resolve(json: &str) -> Result<Spec, String> {
        let models = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models");
        let catalogue = Catalogue::read(&models).unwrap();
        let request: Request = serde_json::from_str(json).unwrap();
        request.resolve(&catalogue).map_err(|error| error.to_string())
    }

    #[test]
    fn an_empty_request_is_for_all_stems_of_the_first_model() {
        let spec = resolve("{}").unwrap();
        assert_eq!(spec.model.name, "mini");
        assert_eq!(spec.stems, ["drums", "bass", "other", "vocals"]);
        assert_eq!((spec.format, spec.overlap), (Format::Mp3, 0.25));
    }

    #[test]
    fn what_cannot_be_had_is_refused_with_what_can() {
        for (json, part) in [
            (r#"{"model": "nope"}"#, "use one of mini"),
            (r#"{"stems": ["piano"]}"#, "`mini` gives drums, bass, other, vocals"),
            (r#"{"format": "aac"}"#, "use mp3, flac or wav"),
            (r#"{"bitrate": 7}"#, "bitrate is 7"),
            (r#"{"bitrate": 192, "format": "wav"}"#, "with format mp3"),
            (r#"{"overlap": 1.0}"#, "overlap is 1"),
            (r#"{"shifts": 11}"#, "from 0 to 10"),
        ] {
            let error = resolve(json).unwrap_err();
            assert!(error.contains(part), "{json}: {error}");
        }
    }

    #[test]
    fn only_what_changes_the_result_changes_the_name() {
        let name = |json| resolve(json).unwrap().job_id("digest");
        let plain = name("{}");
        assert_eq!(
            plain,
            name(
                r#"{"name": "a.mp3", "callback": {"url": "x"}, "format": "mp3", "lane": "batch"}"#
            )
        );
        assert_eq!(
            name(r#"{"stems": ["vocals", "base"]}"#),
            name(r#"{"stems": ["bass", "vocals", "vocals"]}"#)
        );
        assert_ne!(plain, name(r#"{"stems": ["vocals"]}"#));
        assert_ne!(plain, name(r#"{"overlap": 0.5}"#));
        assert_ne!(plain, name(r#"{"shifts": 1}"#));
        assert_ne!(plain, resolve("{}").unwrap().job_id("another song"));
    }
}
