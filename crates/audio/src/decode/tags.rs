use symphonia::core::meta::{Metadata, StandardTag, Tag};

use crate::Tags;
use crate::tags::clean;

/// What a file says about its song. Where it says so twice, the later and longer form stands:
/// ID3v2 over ID3v1, a container's own tags over those around it.
pub(super) fn read(mut log: Metadata<'_>) -> Tags {
    let mut tags = Tags::default();
    loop {
        if let Some(revision) = log.current() {
            let of_tracks = revision.per_track.iter().map(|track| &track.metadata);
            let all = std::iter::once(&revision.media).chain(of_tracks);
            all.flat_map(|part| &part.tags).for_each(|tag| note(&mut tags, tag));
        }
        // The last revision stays in the log.
        if log.pop().is_none() {
            return tags;
        }
    }
}

fn note(tags: &mut Tags, tag: &Tag) {
    let Some(standard) = &tag.std else { return };
    let (field, value) = match standard {
        StandardTag::TrackTitle(title) => (&mut tags.title, title.to_string()),
        StandardTag::Artist(artist) => (&mut tags.artist, artist.to_string()),
        StandardTag::Album(album) => (&mut tags.album, album.to_string()),
        StandardTag::TrackNumber(number) => (&mut tags.track, number.to_string()),
        StandardTag::ReleaseDate(date) | StandardTag::RecordingDate(date) => {
            (&mut tags.date, date.to_string())
        }
        StandardTag::ReleaseYear(year) | StandardTag::RecordingYear(year) => {
            (&mut tags.date, year.to_string())
        }
        StandardTag::Genre(genre) => (&mut tags.genre, genre.to_string()),
        _ => return,
    };
    if let Some(value) = clean(&value) {
        *field = Some(value);
    }
}
