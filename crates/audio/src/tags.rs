use serde::{Deserialize, Serialize};

/// Characters of a tag that are kept: tags travel in small records.
const MAX_CHARACTERS: usize = 256;

/// What a song says about itself; it travels from the upload to every stem.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Tags {
    /// The name of the song.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// Who plays it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub artist: Option<String>,
    /// What it was released on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub album: Option<String>,
    /// Which track of the album it is: `7` or `7/12`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub track: Option<String>,
    /// When it was released: a year or a longer date.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub date: Option<String>,
    /// Its kind of music.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub genre: Option<String>,
}

impl Tags {
    /// How many [`Tags::fields`] there are.
    pub(crate) const FIELDS: usize = 6;

    /// Title, artist, album, track, date, genre: the order in which file formats name them.
    pub(crate) fn fields(&self) -> [Option<&str>; Self::FIELDS] {
        [&self.title, &self.artist, &self.album, &self.track, &self.date, &self.genre]
            .map(Option::as_deref)
    }

    /// The tags of one stem of the song: `stem` is added to the title.
    pub fn for_stem(&self, stem: &str) -> Self {
        let title = match &self.title {
            Some(title) => format!("{title} ({stem})"),
            None => stem.to_owned(),
        };
        Self { title: Some(title), ..self.clone() }
    }
}

/// A tag as it may be kept: one line, no control characters, not too long; `None` if nothing is
/// left.
pub(crate) fn clean(value: &str) -> Option<String> {
    let line: String = value.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    let short: String = line.trim().chars().take(MAX_CHARACTERS).collect();
    (!short.is_empty()).then_some(short)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stem_is_named_in_its_title() {
        let song =
            Tags { title: Some("Lagom".into()), artist: Some("Å".into()), ..Tags::default() };
        let vocals = song.for_stem("vocals");
        assert_eq!(vocals.title.as_deref(), Some("Lagom (vocals)"));
        assert_eq!(vocals.artist, song.artist);
        assert_eq!(Tags::default().for_stem("bass").title.as_deref(), Some("bass"));
    }

    #[test]
    fn tags_are_one_clean_short_line() {
        assert_eq!(clean(" a\nb\0 ").as_deref(), Some("a b"));
        assert_eq!(clean(" \0\u{1}"), None);
        assert_eq!(clean(&"é".repeat(1000)).map(|tag| tag.chars().count()), Some(256));
    }
}
