//! Any audio file to a file as the service makes them:
//! `encode SONG OUT.mp3|OUT.flac|OUT.wav [KBIT] [TITLE] [ARTIST]`.

use std::error::Error;
use std::fs::File;
use std::path::Path;

use audio::{Contract, Format, Song, StemWriter, Tags};

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [input, output, rest @ ..] = &arguments[..] else {
        return Err("usage: encode SONG OUT.mp3|OUT.flac|OUT.wav [KBIT] [TITLE] [ARTIST]".into());
    };
    let extension = Path::new(output).extension().unwrap_or_default().to_string_lossy();
    let bitrate = rest.first().map(|bitrate| bitrate.parse()).transpose()?;
    let format = Format::new(&extension, bitrate)?;

    let mut song = Song::open(File::open(input)?)?;
    let mut tags = song.tags().clone();
    tags = Tags { title: rest.get(1).cloned().or(tags.title), ..tags };
    tags = Tags { artist: rest.get(2).cloned().or(tags.artist), ..tags };

    // The writer wants to know the length, which only decoding tells.
    for block in song.by_ref() {
        block?;
    }
    let frames = song.facts().frames;
    let mut writer = StemWriter::new(format, frames, &tags, File::create(output)?)?;
    for block in Song::open(File::open(input)?)? {
        writer.write(&block?)?;
    }
    writer.finish()?;
    println!("{output}: {:?}", Contract { frames }.check(File::open(output)?)?);
    Ok(())
}
