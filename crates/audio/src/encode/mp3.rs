use std::io::{Seek, SeekFrom, Write};

use mp3lame_encoder::{
    Bitrate, BuildError, Builder, DualPcm, Encoder, FlushGap, Mode, Quality, VbrMode,
};

use super::{EncodeError, id3};
use crate::{CHANNELS, SAMPLE_RATE, Tags, Waveform};

/// Frames that LAME is given at a time.
const BLOCK: usize = 1 << 14;

/// LAME keeps up to this many bytes back for the end; from its header file.
const FLUSH_BYTES: usize = 7200;

/// MP3 by LAME.
///
/// In front stands an ID3 tag, then a frame without sound that declares how many frames the
/// encoder added at both ends. LAME leaves room for it and knows its content at the end.
pub(super) struct Mp3Writer<W> {
    out: W,
    encoder: Encoder,
    bytes: Vec<u8>,
    /// Where the declaring frame stands in `out`.
    declared_at: u64,
}

impl<W: Write + Seek> Mp3Writer<W> {
    /// A constant `bitrate` in kbit/s, or variable at quality 2.
    pub(super) fn new(bitrate: Option<u16>, tags: &Tags, mut out: W) -> Result<Self, EncodeError> {
        let encoder = encoder(bitrate).map_err(|error| EncodeError::Mp3(error.to_string()))?;
        out.write_all(&id3::tag(tags))?;
        let declared_at = out.stream_position()?;
        Ok(Self { out, encoder, bytes: Vec::new(), declared_at })
    }

    pub(super) fn write(&mut self, block: &Waveform) -> Result<(), EncodeError> {
        for (left, right) in block.left().chunks(BLOCK).zip(block.right().chunks(BLOCK)) {
            self.bytes.clear();
            self.bytes.reserve(mp3lame_encoder::max_required_buffer_size(left.len()));
            self.encoder
                .encode_to_vec(DualPcm { left, right }, &mut self.bytes)
                .map_err(|error| EncodeError::Mp3(error.to_string()))?;
            self.out.write_all(&self.bytes)?;
        }
        Ok(())
    }

    pub(super) fn finish(mut self) -> Result<W, EncodeError> {
        self.bytes.clear();
        self.bytes.reserve(FLUSH_BYTES);
        // The other flush, FlushNoGap, does not write out the last frames.
        self.encoder
            .flush_to_vec::<FlushGap>(&mut self.bytes)
            .map_err(|error| EncodeError::Mp3(error.to_string()))?;
        self.out.write_all(&self.bytes)?;

        self.bytes.clear();
        self.bytes.reserve(self.encoder.lame_tag_size());
        if self.encoder.lame_tag_encode_to_vec(&mut self.bytes).is_some() {
            self.out.seek(SeekFrom::Start(self.declared_at))?;
            self.out.write_all(&self.bytes)?;
            self.out.seek(SeekFrom::End(0))?;
        }
        self.out.flush()?;
        Ok(self.out)
    }
}

fn encoder(bitrate: Option<u16>) -> Result<Encoder, BuildError> {
    let builder = Builder::new()
        .ok_or(BuildError::NoMem)?
        .with_num_channels(CHANNELS as u8)?
        .with_sample_rate(SAMPLE_RATE)?
        .with_output_sample_rate(SAMPLE_RATE.try_into().ok())?
        .with_mode(Mode::JointStereo)?
        .with_quality(Quality::NearBest)?
        .with_to_write_vbr_tag(true)?;
    match bitrate {
        None => builder.with_vbr_mode(VbrMode::Mtrh)?.with_vbr_quality(Quality::NearBest)?,
        Some(rate) => builder.with_vbr_mode(VbrMode::Off)?.with_brate(constant(rate)?)?,
    }
    .build()
}

fn constant(kilobits: u16) -> Result<Bitrate, BuildError> {
    Ok(match kilobits {
        96 => Bitrate::Kbps96,
        112 => Bitrate::Kbps112,
        128 => Bitrate::Kbps128,
        160 => Bitrate::Kbps160,
        192 => Bitrate::Kbps192,
        224 => Bitrate::Kbps224,
        256 => Bitrate::Kbps256,
        320 => Bitrate::Kbps320,
        _ => return Err(BuildError::BadBRate),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Format;

    #[test]
    fn every_offered_rate_can_be_encoded_and_no_other() {
        for rate in Format::BITRATES {
            assert!(encoder(Some(rate)).is_ok(), "{rate}");
        }
        assert!(encoder(None).is_ok());
        assert!(encoder(Some(100)).is_err());
    }
}
